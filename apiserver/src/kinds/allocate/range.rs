//! A range of addresses in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range such as `10.96.0.0/16`, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: u128,
    prefix: u32,
    v4: bool,
}

/// Why a text is no usable range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("{0:?} is not an address range such as 10.96.0.0/16")]
    Form(String),
    #[error("the range {0} has fewer than four addresses")]
    TooSmall(String),
}

impl Cidr {
    /// The first and last address that a Service may have, as numbers. The network's own address and, for IPv4,
    /// the broadcast address are nobody's.
    pub(super) fn usable(&self) -> (u128, u128) {
        // Upstream never uses more than 65536 addresses of an IPv6 range.
        let size = 1_u128 << (self.bits() - self.prefix).min(if self.v4 { 32 } else { 16 });
        let last = self.network + size - 1;
        (self.network + 1, if self.v4 { last - 1 } else { last })
    }

    /// The address of the `kubernetes` Service.
    pub fn first(&self) -> IpAddr {
        self.address(self.network + 1)
    }

    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        if self.v4 { "IPv4" } else { "IPv6" }
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let (first, last) = self.usable();
        ip.is_ipv4() == self.v4 && (first..=last).contains(&self.number(ip))
    }

    pub(super) fn number(&self, ip: IpAddr) -> u128 {
        match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        }
    }

    pub(super) fn address(&self, number: u128) -> IpAddr {
        if self.v4 {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
        } else {
            IpAddr::V6(Ipv6Addr::from(number))
        }
    }

    fn bits(&self) -> u32 {
        if self.v4 { 32 } else { 128 }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let form = || CidrError::Form(text.to_owned());
        let (ip, prefix) = text.split_once('/').ok_or_else(form)?;
        let ip: IpAddr = ip.parse().map_err(|_| form())?;
        let prefix: u32 = prefix.parse().map_err(|_| form())?;
        let mut cidr = Self { network: 0, prefix, v4: ip.is_ipv4() };
        if prefix > cidr.bits() {
            return Err(form());
        }
        if cidr.bits() - prefix < 2 {
            return Err(CidrError::TooSmall(text.to_owned()));
        }
        let host = cidr.bits() - prefix;
        let mask = if host >= 128 { 0 } else { u128::MAX << host };
        cidr.network = cidr.number(ip) & mask;
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(self.network), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_ends() {
        let cidr: Cidr = "10.96.0.7/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.96.0.0/16");
        assert_eq!(cidr.first().to_string(), "10.96.0.1");
        assert!(cidr.contains("10.96.255.254".parse().unwrap()));
        assert!(!cidr.contains("10.96.255.255".parse().unwrap()));
        assert!(!cidr.contains("10.97.0.1".parse().unwrap()));
        let v6: Cidr = "fd00::/108".parse().unwrap();
        assert_eq!(v6.first().to_string(), "fd00::1");
        assert!("10.96.0.0".parse::<Cidr>().is_err());
        assert!("10.96.0.0/31".parse::<Cidr>().is_err());
    }
}
