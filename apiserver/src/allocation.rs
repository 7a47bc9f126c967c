//! Addresses and ports that an object takes when it is written.

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::ApiResult;

/// What is taken.
#[derive(Debug, Default)]
pub(crate) struct Allocations {}

/// What a write has taken; given back unless the write succeeds.
#[derive(Debug)]
#[must_use = "dropping a claim gives back what it took"]
pub(crate) struct Claim {}

impl Allocations {
    pub(crate) fn claim_new(&self, _kind: &Kind, _object: &mut Value, _dry_run: bool) -> ApiResult<Claim> {
        Ok(Claim {})
    }

    pub(crate) fn claim_update(
        &self,
        _kind: &Kind,
        _object: &mut Value,
        _old: &Value,
        _dry_run: bool,
    ) -> ApiResult<Claim> {
        Ok(Claim {})
    }

    pub(crate) fn release(&self, _kind: &Kind, _object: &Value) {}
}

impl Claim {
    /// The write has succeeded.
    pub(crate) fn keep(self) {}
}
