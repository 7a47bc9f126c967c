//! The numbers that layouts of tables name: types of keys, hooks, a priority.
//!
//! Promise: hooks and priorities are those of `linux/netfilter.h` and `linux/netfilter_ipv4.h`, stable kernel ABI; types
//! are nft's own, by which it shows our sets.

use crate::addresses::Family;

/// Types, each with the bytes of a value.
pub(crate) const INET_PROTOCOL: (u32, u32) = (12, 1);
pub(crate) const INET_SERVICE: (u32, u32) = (13, 2);
pub(crate) const MARK: (u32, u32) = (19, 4);

pub(crate) const PREROUTING: u32 = 0;
pub(crate) const INPUT: u32 = 1;
pub(crate) const FORWARD: u32 = 2;
pub(crate) const OUTPUT: u32 = 3;
pub(crate) const POSTROUTING: u32 = 4;

/// The priority of the translation of sources.
pub(crate) const SOURCE: i32 = 100;

/// The type of a family's addresses.
pub(crate) const fn address_type(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (7, 4),
        Family::V6 => (8, 16),
    }
}
