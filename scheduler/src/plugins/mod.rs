//! The plugins, one file each, and the table in which configuration finds them by name.
//!
//! The order is upstream's default order: filters are asked in it, and a node is refused by the first that says no.

pub mod args;
mod default_binder;
mod default_preemption;
mod dynamic_resources;
mod gang_scheduling;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources_balanced;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

pub use default_binder::DefaultBinder;
pub use default_preemption::DefaultPreemption;
pub use dynamic_resources::DynamicResources;
pub use gang_scheduling::{GANG_WAIT, GangScheduling};
pub use image_locality::ImageLocality;
pub use inter_pod_affinity::InterPodAffinity;
pub use node_affinity::NodeAffinity;
pub use node_declared_features::NodeDeclaredFeatures;
pub use node_name::NodeNameFilter;
pub use node_ports::NodePorts;
pub use node_resources_balanced::BalancedAllocation;
pub use node_resources_fit::{NodeResourcesFit, ScoredResource, Strategy};
pub use node_unschedulable::NodeUnschedulable;
pub use node_volume_limits::NodeVolumeLimits;
pub(crate) use pod_topology_spread::{Constraint, HOSTNAME};
pub use pod_topology_spread::{Defaults, PodTopologySpread, Skew, skews};
pub use priority_sort::PrioritySort;
pub use scheduling_gates::SchedulingGates;
pub use taint_toleration::TaintToleration;
pub use volume_binding::VolumeBinding;
pub use volume_restrictions::VolumeRestrictions;
pub use volume_zone::VolumeZone;

use crate::framework::{Enabled, Plugin, Points};

/// One row: a plugin with its default arguments, and the weight it has in the default profile.
struct Row {
    plugin: fn() -> Box<dyn Plugin>,
    weight: i64,
}

const TABLE: &[Row] = &[
    Row { plugin: || Box::new(SchedulingGates), weight: 0 },
    Row { plugin: || Box::new(PrioritySort), weight: 0 },
    Row { plugin: || Box::new(NodeUnschedulable), weight: 0 },
    Row { plugin: || Box::new(NodeNameFilter), weight: 0 },
    Row { plugin: || Box::new(TaintToleration), weight: 3 },
    Row { plugin: || Box::new(NodeAffinity::default()), weight: 2 },
    Row { plugin: || Box::new(NodePorts), weight: 0 },
    Row { plugin: || Box::new(NodeResourcesFit::default()), weight: 1 },
    Row { plugin: || Box::new(VolumeRestrictions), weight: 0 },
    Row { plugin: || Box::new(NodeVolumeLimits), weight: 0 },
    Row { plugin: || Box::new(VolumeBinding::default()), weight: 0 },
    Row { plugin: || Box::new(VolumeZone), weight: 0 },
    Row { plugin: || Box::new(PodTopologySpread::default()), weight: 2 },
    Row { plugin: || Box::new(InterPodAffinity::default()), weight: 2 },
    Row { plugin: || Box::<DynamicResources>::default(), weight: 2 },
    Row { plugin: || Box::<DefaultPreemption>::default(), weight: 0 },
    Row { plugin: || Box::new(BalancedAllocation::default()), weight: 1 },
    Row { plugin: || Box::new(ImageLocality), weight: 1 },
    Row { plugin: || Box::new(DefaultBinder), weight: 0 },
    Row { plugin: || Box::new(NodeDeclaredFeatures), weight: 0 },
    Row { plugin: || Box::new(GangScheduling), weight: 0 },
];

/// The plugins of the default profile, in order, with upstream's weights.
pub fn defaults() -> Vec<Enabled> {
    TABLE
        .iter()
        .map(|row| Enabled { plugin: (row.plugin)(), weight: row.weight, points: Points::ALL })
        .collect()
}

#[cfg(test)]
pub(crate) mod fixtures;
