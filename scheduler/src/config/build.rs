//! The plugins themselves, made from their arguments.

use super::args::Args;
use crate::framework::Plugin;
use crate::plugins::{
    self, BalancedAllocation, DefaultPreemption, DynamicResources, InterPodAffinity, NodeAffinity,
    NodeResourcesFit, PodTopologySpread, VolumeBinding,
};

/// The plugin of this name; `None`: there is none.
pub(super) fn plugin(name: &str, args: &Args) -> Option<Box<dyn Plugin>> {
    Some(match name {
        "DefaultPreemption" => Box::new(DefaultPreemption::new(&args.default_preemption)),
        "DynamicResources" => Box::new(DynamicResources::new(&args.dynamic_resources)),
        "InterPodAffinity" => Box::new(InterPodAffinity::new(&args.inter_pod_affinity)),
        "NodeAffinity" => Box::new(NodeAffinity::new(&args.node_affinity)),
        "NodeResourcesBalancedAllocation" => Box::new(BalancedAllocation::new(&args.balanced_allocation)),
        "NodeResourcesFit" => Box::new(NodeResourcesFit::new(&args.fit)),
        "PodTopologySpread" => Box::new(PodTopologySpread::new(&args.topology_spread)),
        "VolumeBinding" => Box::new(VolumeBinding::new(&args.volume_binding)),
        _ => {
            let all = plugins::defaults().into_iter().map(|enabled| enabled.plugin);
            return all.into_iter().find(|plugin| plugin.name() == name);
        }
    })
}
