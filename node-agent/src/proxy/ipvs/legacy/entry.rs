//! Rules of the old tables as the kernel reads them: one entry each, its matches, its target.
//!
//! Promise: pure. The bytes are those of `struct ipt_entry`, `ip6t_entry` and the `xt_*` structures
//! (`include/uapi/linux/netfilter/x_tables.h` and its neighbours) on machines of 64 bits.

/// Text in the comment of all rules of ours: by it they are known again.
pub(super) const TAG: &str = "steersman";

/// Size of `struct xt_entry_match` and `xt_entry_target` before their data.
const HEADER_BYTES: usize = 32;
/// Structures in a table are aligned to this.
const ALIGNMENT: usize = 8;
/// Size of `struct xt_comment_info`.
const COMMENT_BYTES: usize = 256;
/// Size of the names of matches and targets, with the zero byte.
const NAME_BYTES: usize = 29;
/// `XT_CONTINUE` is for targets that are modules; a standard target holds `-verdict - 1`.
const VERDICT_DROP: i32 = -1;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const RANDOM_FULLY: u32 = 1 << 4;
/// `IPT_ICMP_PORT_UNREACHABLE` and `IP6T_ICMP6_PORT_UNREACH`.
const PORT_UNREACHABLE: [u32; 2] = [3, 4];
/// `IPT_TCP_RESET` and `IP6T_TCP_RESET`.
const TCP_RESET: [u32; 2] = [7, 6];
/// `XT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 1 << 3;
/// `IPSET_FLAG_MAP_SKBMARK`.
const MAP_MARK: u32 = 1 << 8;
/// `IPSET_INVALID_ID`.
const NO_SET: u16 = u16::MAX;
/// `IPSET_INV_MATCH`.
const INVERTED: u8 = 1;
/// `IPT_INV_PROTO`, `IP6T_INV_PROTO`.
const INVERTED_PROTOCOL: u8 = 0x40;
/// `IP6T_F_PROTO`.
const V6_HAS_PROTOCOL: u8 = 1;

/// Where the fields of an entry are; the families differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Whether it is IPv6's.
    pub(super) v6: bool,
    /// Size of an entry before its matches.
    pub(super) entry: usize,
    in_interface: usize,
    in_interface_mask: usize,
    protocol: usize,
    flags: usize,
    inverted: usize,
    /// Where the offset of the target is; that of the next entry follows.
    pub(super) target_offset: usize,
}

/// `struct ipt_entry`.
pub(super) const V4: Layout = Layout {
    v6: false,
    entry: 112,
    in_interface: 16,
    in_interface_mask: 48,
    protocol: 80,
    flags: 82,
    inverted: 83,
    target_offset: 88,
};

/// `struct ip6t_entry`.
pub(super) const V6: Layout = Layout {
    v6: true,
    entry: 168,
    in_interface: 64,
    in_interface_mask: 96,
    protocol: 128,
    flags: 131,
    inverted: 132,
    target_offset: 140,
};

/// Which of a set's dimensions are read from the packet's source instead of its destination.
pub(super) type Sources = [bool; 3];

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// Packet's addresses and port are in a set (by its number), or are not.
    Set { index: u16, dimensions: u8, sources: Sources, inverted: bool },
    /// Mark under a mask is a value, or is not.
    Mark { value: u32, mask: u32, inverted: bool },
    /// Came in through a device, or through one whose name begins so; at most one in a rule.
    In { name: String, prefix: bool, inverted: bool },
    /// Is not ICMP; not together with `Tcp`.
    NotIcmp,
    /// Is TCP.
    Tcp,
    /// Begins a connection.
    New,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The packet is gone.
    Drop,
    /// The sender hears of it by ICMP.
    Reject,
    /// The sender's connection is reset; only with `Match::Tcp`. Unlike ICMP this also ends a connection whose first
    /// packet is still being sent.
    Reset,
    /// Bits are set in the mark.
    Mark(u32),
    /// The mark becomes that of the set's element.
    MarkOf(u16),
    /// Source becomes the address of the device through which it leaves, its port any.
    Masquerade,
}

/// The bytes of a rule.
pub(super) fn rule(layout: &Layout, matches: &[Match], target: Target) -> Vec<u8> {
    let mut entry = vec![0; layout.entry];
    comment(&mut entry);
    for condition in matches {
        match condition {
            Match::Set { index, dimensions, sources, inverted } => {
                let mut flags = if *inverted { INVERTED } else { 0 };
                for (dimension, _) in sources.iter().enumerate().filter(|(_, source)| **source) {
                    flags |= 2 << dimension;
                }
                part(&mut entry, "set", 1, &set(*index, *dimensions, flags));
            }
            Match::Mark { value, mask, inverted } => {
                let inverted = [u8::from(*inverted), 0, 0, 0];
                part(&mut entry, "mark", 1, &[value.to_ne_bytes(), mask.to_ne_bytes(), inverted].concat());
            }
            Match::In { name, prefix, inverted } => interface(layout, &mut entry, name, *prefix, *inverted),
            Match::NotIcmp => {
                let icmp = if layout.v6 { nix::libc::IPPROTO_ICMPV6 } else { nix::libc::IPPROTO_ICMP };
                protocol(layout, &mut entry, icmp, INVERTED_PROTOCOL);
            }
            Match::Tcp => protocol(layout, &mut entry, nix::libc::IPPROTO_TCP, 0),
            Match::New => part(&mut entry, "state", 0, &STATE_NEW.to_ne_bytes()),
        }
    }
    let target_at = entry.len() as u16;
    write_target(layout, &mut entry, target);
    let next = entry.len() as u16;
    entry[layout.target_offset..layout.target_offset + 2].copy_from_slice(&target_at.to_ne_bytes());
    entry[layout.target_offset + 2..layout.target_offset + 4].copy_from_slice(&next.to_ne_bytes());
    entry
}

/// Whether an entry is one of our rules.
pub(super) fn is_ours(layout: &Layout, entry: &[u8]) -> bool {
    let Some(first) = entry.get(layout.entry..layout.entry + HEADER_BYTES + TAG.len() + 1) else {
        return false;
    };
    first[2..].starts_with(b"comment\0") && first[HEADER_BYTES..] == *[TAG.as_bytes(), &[0]].concat()
}

fn write_target(layout: &Layout, entry: &mut Vec<u8>, target: Target) {
    match target {
        Target::Drop => part(entry, "", 0, &VERDICT_DROP.to_ne_bytes()),
        Target::Reject => part(entry, "REJECT", 0, &PORT_UNREACHABLE[usize::from(layout.v6)].to_ne_bytes()),
        Target::Reset => part(entry, "REJECT", 0, &TCP_RESET[usize::from(layout.v6)].to_ne_bytes()),
        Target::Mark(bits) => part(entry, "MARK", 2, &[bits.to_ne_bytes(), bits.to_ne_bytes()].concat()),
        Target::MarkOf(index) => {
            let (none, map) = (set(NO_SET, 0, 0), set(index, 2, 0));
            let rest = [MAP_MARK.to_ne_bytes(), u32::MAX.to_ne_bytes()];
            part(entry, "SET", 3, &[none, none, map, rest[0], rest[1]].concat());
        }
        Target::Masquerade if layout.v6 => {
            // struct nf_nat_range: flags, two addresses, two ports.
            let mut range = [0; 40];
            range[..4].copy_from_slice(&RANDOM_FULLY.to_ne_bytes());
            part(entry, "MASQUERADE", 0, &range);
        }
        Target::Masquerade => {
            // struct nf_nat_ipv4_multi_range_compat: one range of flags, two addresses, two ports.
            let mut range = [0; 20];
            range[..4].copy_from_slice(&1u32.to_ne_bytes());
            range[4..8].copy_from_slice(&RANDOM_FULLY.to_ne_bytes());
            part(entry, "MASQUERADE", 0, &range);
        }
    }
}

/// A match or a target: size, name, revision, data.
fn part(entry: &mut Vec<u8>, name: &str, revision: u8, data: &[u8]) {
    let size = (HEADER_BYTES + data.len()).next_multiple_of(ALIGNMENT);
    let start = entry.len();
    entry.resize(start + size, 0);
    let part = &mut entry[start..];
    part[..2].copy_from_slice(&(size as u16).to_ne_bytes());
    part[2..2 + name.len()].copy_from_slice(name.as_bytes());
    part[2 + NAME_BYTES] = revision;
    part[HEADER_BYTES..HEADER_BYTES + data.len()].copy_from_slice(data);
}

fn comment(entry: &mut Vec<u8>) {
    let mut text = [0; COMMENT_BYTES];
    text[..TAG.len()].copy_from_slice(TAG.as_bytes());
    part(entry, "comment", 0, &text);
}

/// `struct xt_set_info`.
fn set(index: u16, dimensions: u8, flags: u8) -> [u8; 4] {
    let [low, high] = index.to_ne_bytes();
    [low, high, dimensions, flags]
}

fn interface(layout: &Layout, entry: &mut [u8], name: &str, prefix: bool, inverted: bool) {
    let name = &name.as_bytes()[..name.len().min(15)];
    entry[layout.in_interface..layout.in_interface + name.len()].copy_from_slice(name);
    // A whole name is compared with its zero byte.
    let compared = name.len() + usize::from(!prefix);
    entry[layout.in_interface_mask..layout.in_interface_mask + compared].fill(0xff);
    // IPT_INV_VIA_IN
    entry[layout.inverted] |= u8::from(inverted);
}

fn protocol(layout: &Layout, entry: &mut [u8], protocol: i32, inverted: u8) {
    entry[layout.protocol..layout.protocol + 2].copy_from_slice(&(protocol as u16).to_ne_bytes());
    entry[layout.inverted] |= inverted;
    if layout.v6 {
        entry[layout.flags] |= V6_HAS_PROTOCOL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_the_sizes_that_the_kernel_checks() {
        for layout in [V4, V6] {
            let set = Match::Set { index: 3, dimensions: 2, sources: [false, true, false], inverted: true };
            let bytes = rule(&layout, &[set, Match::NotIcmp], Target::Reject);
            let at = |offset: usize| usize::from(u16::from_ne_bytes([bytes[offset], bytes[offset + 1]]));
            assert_eq!(at(layout.target_offset), layout.entry + 288 + 40);
            assert_eq!(at(layout.target_offset + 2), bytes.len());
            assert_eq!(bytes.len() % ALIGNMENT, 0);
            let set = layout.entry + 288;
            assert_eq!(&bytes[set + 32..set + 36], [3, 0, 2, 1 | 4]);
            assert!(is_ours(&layout, &bytes) && !is_ours(&layout, &bytes[..layout.entry + 10]));
            assert!(!is_ours(&layout, &vec![0; 600]));
        }
    }

    #[test]
    fn targets_have_their_data() {
        let data = |target| {
            let bytes = rule(&V4, &[], target);
            bytes[V4.entry + 288 + HEADER_BYTES..].to_vec()
        };
        assert_eq!(data(Target::Drop)[..4], (-1i32).to_ne_bytes());
        assert_eq!(data(Target::Mark(0x4000)), [0, 0x40, 0, 0, 0, 0x40, 0, 0]);
        assert_eq!(data(Target::MarkOf(5)).len(), 24);
        assert_eq!(data(Target::MarkOf(5))[8..12], [5, 0, 2, 0]);
        assert_eq!(data(Target::Masquerade).len(), 24);
    }
}
