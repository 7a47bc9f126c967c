//! The expressions that rules are made of, as bytes for the kernel.
//!
//! Promise: pure; the names and numbers are those of `linux/netfilter/nf_tables.h`, stable kernel ABI.

use std::time::Duration;

use crate::netlink::Writer;

/// A register of four bytes; longer values take several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u32);

/// `NFT_REG32_00`; register 0 is the verdict.
const FIRST_REGISTER: u32 = 8;

/// One step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads bytes of the network header.
    Network { offset: u32, length: u32, into: Register },
    /// Loads bytes of the transport header.
    Transport { offset: u32, length: u32, into: Register },
    /// Loads the protocol number behind the network header.
    Protocol { into: Register },
    /// Loads the packet mark.
    Mark { into: Register },
    /// Sets the packet mark.
    SetMark { from: Register },
    /// Loads the name of the interface that the packet came in through, 16 bytes filled up with zeros.
    InterfaceIn { into: Register },
    /// Loads the conntrack state as a bit set.
    State { into: Register },
    /// Loads the conntrack status as a bit set.
    Status { into: Register },
    /// Loads the destination that the connection's first packet came with, before any translation.
    OriginalDestination { v6: bool, into: Register },
    /// Loads the destination port that it came with.
    OriginalPort { into: Register },
    /// Loads the type of the packet's source (or destination) address in the routing table.
    AddressType { source: bool, into: Register },
    /// Loads a random number of `offset..offset + modulus`.
    Random { modulus: u32, offset: u32, into: Register },
    /// Loads a constant.
    Constant { value: Vec<u8>, into: Register },
    /// `register = register & mask ^ xor`.
    Bits { register: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// Goes on if the register has this value (or has not).
    Compare { register: Register, equal: bool, value: Vec<u8> },
    /// Goes on if the set has the key.
    InSet { set: String, key: Register },
    /// Goes on if the map has the key, with its value in `into`.
    Lookup { map: String, key: Register, into: Register },
    /// Takes the verdict that the map has for the key; goes on if it has none.
    LookupVerdict { map: String, key: Register },
    /// Puts a key with its value into a map, or makes the one there young again.
    Remember { map: String, key: Register, value: Register, timeout: Duration },
    /// A verdict.
    Verdict(Verdict),
    /// Translates the destination to the address and port in two registers.
    Dnat { v6: bool, address: Register, port: Register },
    /// Translates the source to an address of this node, and to any free port.
    Masquerade,
    /// Answers with ICMP "port unreachable".
    Reject { v6: bool },
    /// Answers with a TCP reset.
    Reset,
}

/// What becomes of the packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    Drop,
    /// Go on in another chain, then come back.
    Jump(String),
    /// Go on in another chain.
    Goto(String),
    Return,
}

impl Verdict {
    const fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    /// The verdict of a code and chain; `None` for one that we never use.
    pub(super) fn of(code: i32, chain: Option<&str>) -> Option<Self> {
        match (code, chain) {
            (0, None) => Some(Self::Drop),
            (-3, Some(chain)) => Some(Self::Jump(chain.to_owned())),
            (-4, Some(chain)) => Some(Self::Goto(chain.to_owned())),
            (-5, None) => Some(Self::Return),
            _ => None,
        }
    }

    /// Writes the inside of an `NFTA_DATA_*` attribute.
    pub(super) fn write(&self, data: &mut Writer<'_>) {
        data.nested(DATA_VERDICT, |verdict| {
            verdict.be32(1, self.code() as u32);
            if let Self::Jump(chain) | Self::Goto(chain) = self {
                verdict.text(2, chain);
            }
        });
    }
}

/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;

/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEMENT: u16 = 1;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_L4PROTO: u32 = 16;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_DESTINATION_PORT: u32 = 12;
const CT_DESTINATION_V4: u32 = 20;
const CT_DESTINATION_V6: u32 = 22;
const ORIGINAL_DIRECTION: u8 = 0;
const FIB_ADDRESS_TYPE: u32 = 3;
const NUMGEN_RANDOM: u32 = 1;
const DYNSET_UPDATE: u32 = 1;
const DNAT: u32 = 1;
const RANDOM_FULLY: u32 = 1 << 4;
const REJECT_ICMP: u32 = 0;
const REJECT_RESET: u32 = 1;
const PORT_UNREACHABLE_V4: u8 = 3;
const PORT_UNREACHABLE_V6: u8 = 4;

impl Expression {
    /// The kernel's name for it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Network { .. } | Self::Transport { .. } => "payload",
            Self::Protocol { .. } | Self::Mark { .. } | Self::SetMark { .. } | Self::InterfaceIn { .. } => {
                "meta"
            }
            Self::State { .. }
            | Self::Status { .. }
            | Self::OriginalDestination { .. }
            | Self::OriginalPort { .. } => "ct",
            Self::AddressType { .. } => "fib",
            Self::Random { .. } => "numgen",
            Self::Constant { .. } | Self::Verdict(_) => "immediate",
            Self::Bits { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::InSet { .. } | Self::Lookup { .. } | Self::LookupVerdict { .. } => "lookup",
            Self::Remember { .. } => "dynset",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reject { .. } | Self::Reset => "reject",
        }
    }

    /// Appends it to the list `NFTA_RULE_EXPRESSIONS`.
    pub(crate) fn write(&self, list: &mut Writer<'_>) {
        list.nested(LIST_ELEMENT, |element| {
            element.text(1, self.name());
            element.nested(2, |body| self.write_body(body));
        });
    }

    fn write_body(&self, body: &mut Writer<'_>) {
        match self {
            Self::Network { offset, length, into } => payload(body, NETWORK_HEADER, *offset, *length, *into),
            Self::Transport { offset, length, into } => {
                payload(body, TRANSPORT_HEADER, *offset, *length, *into)
            }
            Self::Protocol { into } => load(body, META_L4PROTO, *into),
            Self::Mark { into } => load(body, META_MARK, *into),
            Self::InterfaceIn { into } => load(body, META_IIFNAME, *into),
            Self::State { into } => load(body, CT_STATE, *into),
            Self::Status { into } => load(body, CT_STATUS, *into),
            Self::OriginalDestination { v6, into } => {
                load(body, if *v6 { CT_DESTINATION_V6 } else { CT_DESTINATION_V4 }, *into);
                body.u8(3, ORIGINAL_DIRECTION);
            }
            Self::OriginalPort { into } => {
                load(body, CT_DESTINATION_PORT, *into);
                body.u8(3, ORIGINAL_DIRECTION);
            }
            Self::SetMark { from } => {
                body.be32(2, META_MARK);
                register(body, 3, *from);
            }
            Self::AddressType { source, into } => {
                register(body, 1, *into);
                body.be32(2, FIB_ADDRESS_TYPE);
                body.be32(3, if *source { 1 } else { 2 });
            }
            Self::Random { modulus, offset, into } => {
                register(body, 1, *into);
                body.be32(2, *modulus);
                body.be32(3, NUMGEN_RANDOM);
                body.be32(4, *offset);
            }
            Self::Constant { value, into } => {
                register(body, 1, *into);
                data(body, 2, value);
            }
            Self::Bits { register: both, mask, xor } => {
                register(body, 1, *both);
                register(body, 2, *both);
                body.be32(3, mask.len() as u32);
                data(body, 4, mask);
                data(body, 5, xor);
            }
            Self::Compare { register: from, equal, value } => {
                register(body, 1, *from);
                body.be32(2, if *equal { EQUAL } else { NOT_EQUAL });
                data(body, 3, value);
            }
            Self::InSet { set, key } => lookup(body, set, *key, None),
            Self::Lookup { map, key, into } => lookup(body, map, *key, Some(FIRST_REGISTER + into.0)),
            Self::LookupVerdict { map, key } => lookup(body, map, *key, Some(0)),
            Self::Remember { map, key, value, timeout } => {
                body.text(1, map);
                body.be32(3, DYNSET_UPDATE);
                register(body, 4, *key);
                register(body, 5, *value);
                body.be64(6, timeout.as_millis() as u64);
            }
            Self::Verdict(verdict) => {
                body.be32(1, 0);
                body.nested(2, |data| verdict.write(data));
            }
            Self::Dnat { v6, address, port } => {
                body.be32(1, DNAT);
                body.be32(2, if *v6 { nix::libc::AF_INET6 } else { nix::libc::AF_INET } as u32);
                register(body, 3, *address);
                register(body, 5, *port);
            }
            Self::Masquerade => body.be32(1, RANDOM_FULLY),
            Self::Reset => {
                body.be32(1, REJECT_RESET);
                body.u8(2, 0);
            }
            Self::Reject { v6 } => {
                body.be32(1, REJECT_ICMP);
                body.u8(2, if *v6 { PORT_UNREACHABLE_V6 } else { PORT_UNREACHABLE_V4 });
            }
        }
    }
}

fn register(body: &mut Writer<'_>, kind: u16, number: Register) {
    body.be32(kind, FIRST_REGISTER + number.0);
}

fn load(body: &mut Writer<'_>, key: u32, into: Register) {
    register(body, 1, into);
    body.be32(2, key);
}

fn payload(body: &mut Writer<'_>, base: u32, offset: u32, length: u32, into: Register) {
    register(body, 1, into);
    body.be32(2, base);
    body.be32(3, offset);
    body.be32(4, length);
}

fn data(body: &mut Writer<'_>, kind: u16, value: &[u8]) {
    body.nested(kind, |data| data.attribute(DATA_VALUE, value));
}

fn lookup(body: &mut Writer<'_>, set: &str, key: Register, into: Option<u32>) {
    body.text(1, set);
    register(body, 2, key);
    if let Some(into) = into {
        body.be32(3, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Batch;

    fn bytes(expression: &Expression) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.message(0, 0, |body| expression.write(body));
        batch.bytes()[16..].to_vec()
    }

    #[test]
    #[cfg(target_endian = "little")]
    #[rustfmt::skip]
    fn a_comparison() {
        let compare = Expression::Compare { register: Register(1), equal: false, value: vec![6] };
        assert_eq!(bytes(&compare), [
            44, 0, 1, 0x80,
                8, 0, 1, 0, b'c', b'm', b'p', 0,
                32, 0, 2, 0x80,
                    8, 0, 1, 0, 0, 0, 0, 9,
                    8, 0, 2, 0, 0, 0, 0, 1,
                    12, 0, 3, 0x80,
                        5, 0, 1, 0, 6, 0, 0, 0,
        ]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    #[rustfmt::skip]
    fn a_verdict_with_a_chain() {
        assert_eq!(bytes(&Expression::Verdict(Verdict::Goto("abc".to_owned()))), [
            56, 0, 1, 0x80,
                14, 0, 1, 0, b'i', b'm', b'm', b'e', b'd', b'i', b'a', b't', b'e', 0, 0, 0,
                36, 0, 2, 0x80,
                    8, 0, 1, 0, 0, 0, 0, 0,
                    24, 0, 2, 0x80,
                        20, 0, 2, 0x80,
                            8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfc,
                            8, 0, 2, 0, b'a', b'b', b'c', 0,
        ]);
    }

    #[test]
    fn verdicts_are_read_as_written() {
        for verdict in
            [Verdict::Drop, Verdict::Return, Verdict::Goto("a".to_owned()), Verdict::Jump("b".to_owned())]
        {
            let chain = match &verdict {
                Verdict::Goto(chain) | Verdict::Jump(chain) => Some(chain.as_str()),
                _ => None,
            };
            assert_eq!(Verdict::of(verdict.code(), chain), Some(verdict));
        }
        assert_eq!(Verdict::of(1, None), None);
    }
}
