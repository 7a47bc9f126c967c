//! How full each node is, in one short row a node: what most filters and scores look at when every node is asked, one
//! row after the other, without a step to the node itself.
//!
//! Promise: a gauge says what the [`NodeInfo`] at its place says, of the resources that every node has.

use super::{Counting, NodeInfo, Resource, Scored};
use crate::pod::PodInfo;
use objects::resources::Resources;

/// How full one node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    room: Basic,
    requested: Basic,
    for_scoring: Scored,
    cordoned: bool,
    tainted: bool,
}

/// The resources that every node has, as in [`Resources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Basic {
    milli_cpu: i64,
    memory: i64,
    ephemeral: i64,
    pods: i64,
}

impl Gauge {
    /// The gauge of a node.
    pub(super) fn of(node: &NodeInfo) -> Self {
        Self {
            room: Basic::of(&node.allocatable),
            requested: Basic::of(&node.requested),
            for_scoring: node.requested_for_scoring,
            cordoned: node.is_cordoned(),
            tainted: !node.taints().is_empty(),
        }
    }

    /// True when all that a pod requests is on the gauge.
    pub fn shows_all_of(pod: &PodInfo) -> bool {
        pod.requests.scalars.is_empty()
    }

    /// True when the node has room for such a pod.
    #[inline]
    pub fn has_room_for(&self, pod: &PodInfo) -> bool {
        let Self { room, requested, .. } = self;
        let wanted = &pod.requests;
        let enough = |wanted: i64, requested: i64, room: i64| wanted <= 0 || wanted <= room - requested;
        requested.pods < room.pods
            && enough(wanted.milli_cpu, requested.milli_cpu, room.milli_cpu)
            && enough(wanted.memory, requested.memory, room.memory)
            && enough(wanted.ephemeral, requested.ephemeral, room.ephemeral)
    }

    /// What [`NodeInfo::with_pod`] answers for such a pod, of each of the nodes at these places: calls `each` with its
    /// number among them, what it has and what would be taken of it. Skips those that are left out.
    pub fn each_with_pod(
        gauges: &[Self],
        places: &[u32],
        resource: &Resource,
        pod: &PodInfo,
        counting: Counting,
        each: impl FnMut(usize, i64, i64),
    ) {
        let (real, scored) = (&pod.requests, pod.requests_for_scoring);
        let gauges = places.iter().map(|at| &gauges[*at as usize]);
        match (resource, counting) {
            (Resource::Cpu, Counting::NonZero) => {
                tell(
                    gauges,
                    |gauge| (gauge.room.milli_cpu, gauge.for_scoring.milli_cpu + scored.milli_cpu),
                    each,
                );
            }
            (Resource::Memory, Counting::NonZero) => {
                tell(gauges, |gauge| (gauge.room.memory, gauge.for_scoring.memory + scored.memory), each);
            }
            (Resource::Cpu, Counting::Real) => {
                tell(
                    gauges,
                    |gauge| (gauge.room.milli_cpu, gauge.requested.milli_cpu + real.milli_cpu),
                    each,
                );
            }
            (Resource::Memory, Counting::Real) => {
                tell(gauges, |gauge| (gauge.room.memory, gauge.requested.memory + real.memory), each);
            }
            (Resource::Ephemeral, _) => {
                tell(
                    gauges,
                    |gauge| (gauge.room.ephemeral, gauge.requested.ephemeral + real.ephemeral),
                    each,
                );
            }
            // The pod asks for none.
            (Resource::Scalar(_), _) => {}
        }
    }

    /// `spec.unschedulable`.
    pub fn is_cordoned(&self) -> bool {
        self.cordoned
    }

    /// True when there is a taint.
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }
}

/// The loop of [`Gauge::each_with_pod`], one for each resource, so that it does not look which.
fn tell<'a>(
    gauges: impl Iterator<Item = &'a Gauge>,
    amounts: impl Fn(&Gauge) -> (i64, i64),
    mut each: impl FnMut(usize, i64, i64),
) {
    for (number, (room, used)) in gauges.map(amounts).enumerate().filter(|(_, (room, _))| *room != 0) {
        each(number, room, used);
    }
}

impl Basic {
    fn of(resources: &Resources) -> Self {
        let Resources { milli_cpu, memory, ephemeral, pods, .. } = *resources;
        Self { milli_cpu, memory, ephemeral, pods }
    }
}
