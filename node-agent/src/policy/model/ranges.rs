//! Ranges of addresses: blocks with exceptions, as the fewest ranges that do not overlap.
//!
//! Promise: pure; the same addresses give the same ranges, however they were written.

use std::net::IpAddr;

use crate::addresses::{Cidr, Family};

/// First and last address of a range; both of one family.
pub type Range = (IpAddr, IpAddr);

/// A block of addresses and those in it that do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) within: Cidr,
    pub(super) except: Vec<Cidr>,
}

/// The addresses of all blocks together, in order.
pub(super) fn of_blocks(blocks: &[Block]) -> Vec<Range> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        let ours = blocks.iter().filter(|block| block.within.family() == family);
        let left = merge(ours.flat_map(left_of).collect());
        all.extend(left.into_iter().map(|(first, last)| (address(family, first), address(family, last))));
    }
    all
}

/// Ranges of ports, merged where they touch or overlap.
pub(super) fn of_ports(ranges: impl IntoIterator<Item = (u16, u16)>) -> Vec<(u16, u16)> {
    let numbers = ranges.into_iter().map(|(first, last)| (first.into(), last.into())).collect();
    merge(numbers).into_iter().map(|(first, last)| (first as u16, last as u16)).collect()
}

/// What is left of a block without its exceptions.
fn left_of(block: &Block) -> Vec<(u128, u128)> {
    let (mut next, end) = bounds(block.within);
    let mut left = Vec::new();
    let same_family = block.except.iter().filter(|hole| hole.family() == block.within.family());
    for (first, last) in merge(same_family.map(|hole| bounds(*hole)).collect()) {
        if last < next || first > end {
            continue;
        }
        if first > next {
            left.push((next, first - 1));
        }
        match last.checked_add(1) {
            Some(behind) if behind <= end => next = behind,
            _ => return left,
        }
    }
    left.push((next, end));
    left
}

fn merge(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn bounds(range: Cidr) -> (u128, u128) {
    (number(range.network()), number(range.last()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4((number as u32).into()),
        Family::V6 => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(blocks: &[(&str, &[&str])]) -> Vec<String> {
        let block = |(within, except): &(&str, &[&str])| Block {
            within: within.parse().unwrap(),
            except: except.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let blocks: Vec<Block> = blocks.iter().map(block).collect();
        of_blocks(&blocks).iter().map(|(first, last)| format!("{first}-{last}")).collect()
    }

    #[test]
    fn blocks_become_ranges() {
        type Blocks = &'static [(&'static str, &'static [&'static str])];
        let table: &[(Blocks, &[&str])] = &[
            (&[("10.0.0.0/8", &[])], &["10.0.0.0-10.255.255.255"]),
            (&[("10.0.0.0/24", &["10.0.0.0/25"])], &["10.0.0.128-10.0.0.255"]),
            (&[("10.0.0.0/24", &["10.0.0.128/25"])], &["10.0.0.0-10.0.0.127"]),
            (
                &[("10.0.0.0/24", &["10.0.0.4/32", "10.0.0.5/32"])],
                &["10.0.0.0-10.0.0.3", "10.0.0.6-10.0.0.255"],
            ),
            (&[("10.0.0.0/24", &["10.0.0.0/24"])], &[]),
            (&[("10.0.0.0/24", &["11.0.0.0/24", "fd00::/64"])], &["10.0.0.0-10.0.0.255"]),
            // An exception of one block holds for that block only.
            (&[("10.0.0.0/24", &["10.0.0.7/32"]), ("10.0.0.7/32", &[])], &["10.0.0.0-10.0.0.255"]),
            (
                &[("0.0.0.0/0", &["0.0.0.0/1"]), ("::/0", &["8000::/1"])],
                &["128.0.0.0-255.255.255.255", "::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ),
            (&[("::/0", &[])], &["::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]),
        ];
        for (blocks, expected) in table {
            assert_eq!(shown(blocks), *expected, "{blocks:?}");
        }
    }

    #[test]
    fn ranges_of_ports_are_merged() {
        assert_eq!(of_ports([(80, 90), (85, 100), (101, 101), (200, 200)]), [(80, 101), (200, 200)]);
        assert_eq!(of_ports([(0, 65535), (5, 6)]), [(0, 65535)]);
    }
}
