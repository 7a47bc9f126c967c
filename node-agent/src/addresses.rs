//! What packets carry: address families, ranges of addresses, transport protocols.
//!
//! Promise: plain data; what is written is what the API writes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Both, in the order in which they are worked on.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address. An IPv4 address in IPv6 clothes is IPv6, as for the kernel.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// `0.0.0.0` or `::`.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// A range of addresses such as `10.0.0.0/8`. Bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address range such as 10.0.0.0/8 or fd00::/64")]
pub struct CidrError(String);

impl Cidr {
    /// The range around an address; `prefix` counts as at most the address's bits.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(Family::of(&address).bits());
        let network = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        };
        Self { network, prefix }
    }

    /// One address.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        Self::new(address, Family::of(&address).bits())
    }

    /// Every address of a family.
    #[must_use]
    pub fn all(family: Family) -> Self {
        Self::new(family.unspecified(), 0)
    }

    /// Whether an address lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.family() == Family::of(&address) && Self::new(address, self.prefix).network == self.network
    }

    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(&self.network)
    }

    /// The first address.
    #[must_use]
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.network {
            IpAddr::V4(network) => IpAddr::V4(
                (u32::from(network) | u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0)).into(),
            ),
            IpAddr::V6(network) => IpAddr::V6(
                (u128::from(network) | u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0)).into(),
            ),
        }
    }

    /// Bits that all addresses of the range share.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, prefix) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > Family::of(&address).bits() {
            return Err(wrong());
        }
        Ok(Self::new(address, prefix))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Protocols of Services and of network policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The protocol of an API field; TCP if it is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "TCP" | "" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The number in IP headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// The bytes of an address, as in packets.
#[must_use]
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let table = [
            ("10.1.2.3/8", "10.0.0.0/8", "10.255.255.255"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255"),
            ("1.2.3.4/32", "1.2.3.4/32", "1.2.3.4"),
            ("fd00:1::5/64", "fd00:1::/64", "fd00:1::ffff:ffff:ffff:ffff"),
            ("::/0", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ];
        for (text, shown, last) in table {
            let range: Cidr = text.parse().unwrap();
            assert_eq!((range.to_string().as_str(), range.last().to_string().as_str()), (shown, last));
            assert!(range.contains(range.network()) && range.contains(range.last()));
        }
        for wrong in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert!(!"10.0.0.0/8".parse::<Cidr>().unwrap().contains("11.0.0.0".parse().unwrap()));
        assert!(!"0.0.0.0/0".parse::<Cidr>().unwrap().contains("::".parse().unwrap()));
    }
}
