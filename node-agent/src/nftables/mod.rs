//! Tables of ours in nf_tables, whatever they are for: what they are made of, how they differ from what the kernel has,
//! and the way into the kernel.
//!
//! Promise: no program is called. A change is one transaction: a packet sees the state before or the state after, and
//! what the kernel refuses changes nothing.

pub(crate) mod codec;
pub(crate) mod conditions;
pub(crate) mod edits;
pub(crate) mod expression;
mod found;
mod kernel;
pub(crate) mod numbers;

pub(crate) use codec::{Data, Element, Hook, SetForm, Transaction, Value};
pub(crate) use edits::{Chain, Edits, Table};
pub(crate) use expression::{Expression, Register, Verdict};
pub(crate) use kernel::{Kernel, refused};
