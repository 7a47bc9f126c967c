//! Disruption budgets, as far as choosing victims needs them.

use crate::pod::PodInfo;
use objects::labels::Selector;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A PodDisruptionBudget: whom it protects and how many of them may go now.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The namespace whose pods it protects.
    pub namespace: String,
    /// Which of them. An empty selector protects none here, as upstream has it for preemption.
    pub selector: Selector,
    /// `status.disruptionsAllowed`.
    pub allowed: i32,
    /// `status.disruptedPods`: names whose disruption is already counted in `allowed`.
    pub disrupted: BTreeSet<String>,
}

/// Parts `pods` (most important first) into those whose eviction breaks a budget and the others, keeping the order.
/// Each pod taken uses up the budgets that cover it.
pub(super) fn split(pods: &[Arc<PodInfo>], budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    pods.iter().cloned().partition(|pod| {
        let mut violates = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            if budget.covers(pod) {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}

impl Budget {
    fn covers(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.namespace()
            && !pod.labels().is_empty()
            && !self.selector.is_everything()
            && self.selector.matches(pod.labels())
            && !self.disrupted.contains(pod.name())
    }
}
