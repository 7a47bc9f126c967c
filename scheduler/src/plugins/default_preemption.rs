//! Makes room for a pod by evicting pods of lower priority, if the pod may do that at all.

use crate::framework::{Plugin, Preempt, Verdict};
use crate::preempt::{Attempt, Room, Rooms};

/// Upstream's DefaultPreemption.
#[derive(Debug)]
pub struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn preempt(&self) -> Option<&dyn Preempt> {
        Some(self)
    }
}

impl Preempt for DefaultPreemption {
    fn make_room(&self, attempt: &Attempt<'_>, rooms: &dyn Rooms) -> Room {
        if attempt.pod.never_preempts() {
            let why = "not eligible due to preemptionPolicy=Never.".to_owned();
            return Room::None { why, promise_is_void: false };
        }
        if waits_for_victims(attempt) {
            let why = "not eligible due to a terminating pod on the nominated node.".to_owned();
            return Room::None { why, promise_is_void: false };
        }
        rooms.find(attempt)
    }
}

/// True while victims of an earlier attempt are on their way out of a node that is still worth waiting for.
fn waits_for_victims(attempt: &Attempt<'_>) -> bool {
    let cluster = attempt.cluster;
    let Some(node) = cluster.promised_to(&attempt.pod.uid).and_then(|name| cluster.node(name)) else {
        return false;
    };
    let place = cluster.position(&node.name);
    let mut told = attempt.failure.rejections.iter();
    let hopeless = told.any(|(at, _, verdict)| Some(at) == place && matches!(verdict, Verdict::Never(_)));
    !hopeless && node.pods.iter().any(|pod| pod.priority < attempt.pod.priority && pod.is_preempted())
}
