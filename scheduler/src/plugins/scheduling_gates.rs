//! Holds a pod back while `spec.schedulingGates` names anything. Such a pod is never tried.

use crate::framework::{Gate, Plugin, Verdict, Wakeup};
use crate::pod::PodInfo;

/// Upstream's SchedulingGates.
#[derive(Debug)]
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn wakeups(&self) -> &'static [Wakeup] {
        &[Wakeup::OwnGates]
    }

    fn gate(&self) -> Option<&dyn Gate> {
        Some(self)
    }
}

impl Gate for SchedulingGates {
    fn admit(&self, pod: &PodInfo) -> Verdict {
        let gates: Vec<&str> = pod.scheduling_gates().collect();
        if gates.is_empty() {
            return Verdict::Fits;
        }
        Verdict::Never(format!("waiting for scheduling gates: [{}]", gates.join(" ")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::pod;
    use serde_json::json;

    #[test]
    fn holds_back_until_the_last_gate_is_gone() {
        let gated = pod("p", json!({"schedulingGates": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(
            SchedulingGates.admit(&gated),
            Verdict::Never("waiting for scheduling gates: [a b]".into())
        );
        assert_eq!(SchedulingGates.admit(&pod("p", json!({}))), Verdict::Fits);
    }
}
