//! Conditions that rules begin with: a rule goes on only where they hold.
//!
//! Promise: pure.

use super::expression::{Expression, Register};
use crate::addresses::{Cidr, Family, octets};

/// `NF_CT_STATE_BIT` of `IP_CT_ESTABLISHED`, `IP_CT_RELATED`, `IP_CT_NEW`.
const ESTABLISHED: u32 = 1 << 1;
const RELATED: u32 = 1 << 2;
const NEW: u32 = 1 << 3;

pub(crate) fn compare(register: Register, equal: bool, value: &[u8]) -> Expression {
    Expression::Compare { register, equal, value: value.to_vec() }
}

/// Loads the packet's source or destination address.
pub(crate) const fn address(family: Family, source: bool, into: Register) -> Expression {
    let (offset, length) = match (family, source) {
        (Family::V4, true) => (12, 4),
        (Family::V4, false) => (16, 4),
        (Family::V6, true) => (8, 16),
        (Family::V6, false) => (24, 16),
    };
    Expression::Network { offset, length, into }
}

/// The source (or destination) lies in the range.
pub(crate) fn of_cidr(range: Cidr, source: bool) -> Vec<Expression> {
    let into = Register(0);
    let load = address(range.family(), source, into);
    let network = octets(range.network());
    let mask: Vec<u8> = (0..network.len() as u32)
        .map(|at| !(0xff_u8.checked_shr(u32::from(range.prefix()).saturating_sub(8 * at)).unwrap_or(0)))
        .collect();
    match range.prefix() {
        0 => Vec::new(),
        prefix if prefix == range.family().bits() => vec![load, compare(into, true, &network)],
        _ => vec![
            load,
            Expression::Bits { register: into, xor: vec![0; mask.len()], mask },
            compare(into, true, &network),
        ],
    }
}

/// The packet begins a connection.
pub(crate) fn state_is_new() -> Vec<Expression> {
    let into = Register(0);
    [vec![Expression::State { into }], unless_bits(into, NEW)].concat()
}

/// Ends the rule unless one of the bits is set.
pub(crate) fn unless_bits(register: Register, bits: u32) -> Vec<Expression> {
    let zero = 0_u32.to_ne_bytes();
    vec![
        Expression::Bits { register, mask: bits.to_ne_bytes().to_vec(), xor: zero.to_vec() },
        compare(register, false, &zero),
    ]
}

/// The packet is not of a connection that both sides have seen, nor about one.
pub(crate) fn unless_established() -> Vec<Expression> {
    let into = Register(0);
    let zero = 0_u32.to_ne_bytes();
    let mask = (ESTABLISHED | RELATED).to_ne_bytes().to_vec();
    vec![
        Expression::State { into },
        Expression::Bits { register: into, mask, xor: zero.to_vec() },
        compare(into, true, &zero),
    ]
}

/// The packet's source is no address of this node.
pub(crate) fn unless_local_source() -> Vec<Expression> {
    let into = Register(0);
    let local = u32::from(nix::libc::RTN_LOCAL).to_ne_bytes();
    vec![Expression::AddressType { source: true, into }, compare(into, false, &local)]
}
