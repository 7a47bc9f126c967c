//! Orders the active queue: higher priority first, then who has been queued longer.

use crate::framework::{Order, Plugin, Rank};
use crate::pod::PodInfo;
use jiff::Timestamp;

/// Upstream's PrioritySort.
#[derive(Debug)]
pub struct PrioritySort;

impl Plugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn order(&self) -> Option<&dyn Order> {
        Some(self)
    }
}

impl Order for PrioritySort {
    fn rank(&self, pod: &PodInfo, since: Timestamp) -> Rank {
        (-i64::from(pod.priority), since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::pod;
    use serde_json::json;

    #[test]
    fn priority_goes_before_age() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let rank = |priority, second| PrioritySort.rank(&pod("p", json!({"priority": priority})), at(second));
        assert!(rank(10, 5) < rank(0, 1));
        assert!(rank(10, 1) < rank(10, 2));
        assert!(rank(i32::MAX, 9) < rank(i32::MIN, 1));
    }
}
