//! Conditions that rules begin with: a rule goes on only where they hold.
//!
//! Promise: pure.

use super::expression::{Expression, Register};

/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const NEW: u32 = 1 << 3;

pub(crate) fn compare(register: Register, equal: bool, value: &[u8]) -> Expression {
    Expression::Compare { register, equal, value: value.to_vec() }
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
