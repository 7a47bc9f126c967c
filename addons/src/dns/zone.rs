//! The cluster's domain and how names in it are built and taken apart.
//!
//! Promise: pure. Labels are compared in lower case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// Seconds that answers may be kept (CoreDNS's default of the kubernetes plug-in).
pub const DEFAULT_TTL: u32 = 5;

/// What is answered for names such as `10-0-0-1.default.pod.cluster.local`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pods {
    /// They do not exist.
    Disabled,
    /// The address in the name, whether or not a pod has it; the specification asks for it.
    #[default]
    Insecure,
    /// The address, if a pod of that namespace has it.
    Verified,
}

/// The domain that is answered for.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Such as `cluster.local.`, in lower case.
    pub name: Name,
    /// Seconds that answers may be kept.
    pub ttl: u32,
    /// What pods' names mean.
    pub pods: Pods,
}

impl Default for Zone {
    /// Upstream's `cluster.local`.
    fn default() -> Self {
        Self::new(&Name::from_ascii("cluster.local.").expect("a valid name"))
    }
}

impl Zone {
    /// A zone with CoreDNS's defaults.
    #[must_use]
    pub fn new(name: &Name) -> Self {
        let mut name = name.to_lowercase();
        name.set_fqdn(true);
        Self { name, ttl: DEFAULT_TTL, pods: Pods::default() }
    }

    /// The labels before the zone's own; `None` for names outside. `labels` are in lower case.
    pub(super) fn inside<'a, 'b>(&self, labels: &'a [&'b [u8]]) -> Option<&'a [&'b [u8]]> {
        let own = self.name.iter();
        let (inside, suffix) = labels.split_at_checked(labels.len().checked_sub(own.len())?)?;
        own.zip(suffix).all(|(own, label)| own == *label).then_some(inside)
    }

    /// The name of these labels in the zone; `None` if it would be too long.
    pub(super) fn below(&self, labels: &[&[u8]]) -> Option<Name> {
        let mut name = Name::new();
        for label in labels.iter().copied().chain(self.name.iter()) {
            name = name.append_label(label).ok()?;
        }
        name.set_fqdn(true);
        Some(name)
    }
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for. `labels` are in lower case.
pub(super) fn reverse(labels: &[&[u8]]) -> Option<IpAddr> {
    match labels {
        [numbers @ .., b"in-addr", b"arpa"] if numbers.len() == 4 => {
            let mut octets = [0; 4];
            for (octet, label) in octets.iter_mut().zip(numbers.iter().rev()) {
                *octet = decimal(label)?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        [digits @ .., b"ip6", b"arpa"] if digits.len() == 32 => {
            let mut value = 0_u128;
            for label in digits.iter().rev() {
                let [digit] = label else { return None };
                value = value << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(Ipv6Addr::from(value).into())
        }
        _ => None,
    }
}

/// The address that a pod's label stands for: `10-0-0-1`, or `fd00--1`.
pub(super) fn dashed(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    let four = text.split('-').count() == 4 && !text.contains("--");
    if four { text.replace('-', ".").parse().ok() } else { text.replace('-', ":").parse().ok() }
}

/// A number as it is written in names: no sign, no leading zero.
fn decimal(label: &[u8]) -> Option<u8> {
    let plain = label == b"0" || (!label.starts_with(b"0") && label.iter().all(u8::is_ascii_digit));
    std::str::from_utf8(label).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Vec<&[u8]> {
        name.split('.').map(str::as_bytes).collect()
    }

    #[test]
    fn names_are_inside_or_outside() {
        let zone = Zone::new(&Name::from_ascii("Cluster.Local").unwrap());
        let inside = |name: &str| zone.inside(&labels(name)).map(<[&[u8]]>::len);
        assert_eq!(inside("web.n.svc.cluster.local"), Some(3));
        assert_eq!(inside("cluster.local"), Some(0));
        assert_eq!(inside("local"), None);
        assert_eq!(inside("a.cluster.localx"), None);
        assert_eq!(inside("a.xcluster.local"), None);
        assert_eq!(zone.below(&[b"a", b"svc"]).unwrap().to_string(), "a.svc.cluster.local.");
    }

    #[test]
    fn reverse_names_are_read() {
        let of = |name: &str| reverse(&labels(name)).map(|address| address.to_string());
        assert_eq!(of("10.0.96.10.in-addr.arpa").as_deref(), Some("10.96.0.10"));
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(of(six).as_deref(), Some("fd00::1"));
        for wrong in ["0.96.10.in-addr.arpa", "256.0.96.10.in-addr.arpa", "01.0.96.10.in-addr.arpa", "arpa"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dashed_addresses_are_read() {
        let of = |label: &str| dashed(label.as_bytes()).map(|address| address.to_string());
        assert_eq!(of("10-0-0-1").as_deref(), Some("10.0.0.1"));
        assert_eq!(of("fd00--1").as_deref(), Some("fd00::1"));
        assert_eq!(of("fd00-1-2-3-4-5-6-7").as_deref(), Some("fd00:1:2:3:4:5:6:7"));
        assert_eq!(of("web"), None);
        assert_eq!(of("10-0-0-999"), None);
    }
}
