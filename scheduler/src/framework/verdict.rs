//! What a plugin says about one node (or about one pod before any node is looked at).
//!
//! Keeps two things apart that upstream calls Unschedulable and UnschedulableAndUnresolvable: a refusal that
//! other pods leaving could cure (`Later`), and one that only a change of the node or the pod can (`Never`).
//! Preemption looks at `Later` nodes only. Reasons are the texts users see in `FailedScheduling`.

use std::borrow::Cow;

/// The answer to "may this pod run here".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Fits,
    /// Not now; evicting pods from the node may help.
    Later(Why),
    /// Not while node and pod stay as they are; evicting pods does not help.
    Never(Why),
}

impl Verdict {
    /// True for [`Verdict::Fits`].
    pub fn fits(&self) -> bool {
        matches!(self, Self::Fits)
    }

    /// The reasons of a refusal; empty when it fits.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Fits => &[],
            Self::Later(why) | Self::Never(why) => why.reasons(),
        }
    }
}

/// One reason, as upstream words it: `Insufficient cpu`.
pub type Reason = Cow<'static, str>;

/// One or more reasons. One is the rule, and costs no allocation when its text is static.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The usual single reason.
    One(Reason),
    /// Several at once: NodeResourcesFit names every resource that is short.
    Many(Vec<Reason>),
}

impl Why {
    /// All reasons, in the order the plugin gave them.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::One(reason) => std::slice::from_ref(reason),
            Self::Many(reasons) => reasons,
        }
    }
}

impl From<&'static str> for Why {
    fn from(reason: &'static str) -> Self {
        Self::One(Cow::Borrowed(reason))
    }
}

impl From<String> for Why {
    fn from(reason: String) -> Self {
        Self::One(Cow::Owned(reason))
    }
}

impl From<Vec<Reason>> for Why {
    fn from(mut reasons: Vec<Reason>) -> Self {
        match reasons.len() {
            1 => Self::One(reasons.remove(0)),
            _ => Self::Many(reasons),
        }
    }
}
