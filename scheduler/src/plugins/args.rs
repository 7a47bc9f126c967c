//! The arguments that configuration can give to plugins, under upstream's names and with its defaults
//! (`kubescheduler.config.k8s.io/v1`). Plain data: what may not be said is refused where configuration is read.

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::{Deserialize, Serialize};

macro_rules! arguments {
    ($($item:item)*) => {
        $(
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
            $item
        )*
    };
}

arguments! {
    /// Of DefaultPreemption. Where neither is given every node is looked at; with one of them the search ends where
    /// upstream's does, and the other has upstream's default.
    #[derive(Default)]
    pub struct DefaultPreemptionArgs {
        /// The least share of the nodes that eviction may help to find candidates on, in percent; 10 if only the other
        /// is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub min_candidate_nodes_percentage: Option<i32>,
        /// The least number of candidates to find; 100 if only the other is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub min_candidate_nodes_absolute: Option<i32>,
    }

    /// Of InterPodAffinity.
    pub struct InterPodAffinityArgs {
        /// What another pod's required affinity for the incoming pod is worth, 0 to 100.
        pub hard_pod_affinity_weight: i32,
        /// Leave out the wishes of pods that are there already.
        pub ignore_preferred_terms_of_existing_pods: bool,
    }

    /// Of NodeAffinity.
    #[derive(Default)]
    pub struct NodeAffinityArgs {
        /// Holds for every pod of the profile, in addition to its own affinity.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub added_affinity: Option<NodeAffinity>,
    }

    /// Of NodeResourcesBalancedAllocation.
    pub struct NodeResourcesBalancedAllocationArgs {
        /// The resources to balance; CPU and memory unless said otherwise. Their weights must be 1.
        pub resources: Vec<ResourceSpec>,
    }

    /// Of NodeResourcesFit.
    #[derive(Default)]
    pub struct NodeResourcesFitArgs {
        /// Extended resources that the filter leaves out.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub ignored_resources: Vec<String>,
        /// The same by the part of their name before the `/`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub ignored_resource_groups: Vec<String>,
        /// How nodes are scored.
        pub scoring_strategy: ScoringStrategy,
    }

    /// How NodeResourcesFit scores.
    pub struct ScoringStrategy {
        /// Which of the three strategies.
        #[serde(rename = "type")]
        pub kind: ScoringStrategyType,
        /// Which resources count; CPU and memory, equally, unless said otherwise.
        pub resources: Vec<ResourceSpec>,
        /// The curve of [`ScoringStrategyType::RequestedToCapacityRatio`].
        #[serde(skip_serializing_if = "Option::is_none")]
        pub requested_to_capacity_ratio: Option<RequestedToCapacityRatioParam>,
    }

    /// A resource and what it counts.
    #[derive(Default)]
    pub struct ResourceSpec {
        /// `cpu`, `memory`, `ephemeral-storage` or any other.
        pub name: String,
        /// 1 to 100; 0 means 1.
        pub weight: i64,
    }

    /// The curve of a score over the utilisation of a node.
    #[derive(Default)]
    pub struct RequestedToCapacityRatioParam {
        /// Its points, in order of utilisation.
        pub shape: Vec<UtilizationShapePoint>,
    }

    /// A point of a curve.
    #[derive(Copy, Default)]
    pub struct UtilizationShapePoint {
        /// 0 to 100 percent.
        pub utilization: i32,
        /// 0 to 10.
        pub score: i32,
    }

    /// Of PodTopologySpread.
    #[derive(Default)]
    pub struct PodTopologySpreadArgs {
        /// With `List`: the constraints of pods that have none. Without label selectors, which come from the services
        /// and the owner of the pod.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub default_constraints: Vec<TopologySpreadConstraint>,
        /// Whose defaults hold for pods that have no constraints.
        pub defaulting_type: DefaultingType,
    }

    /// Of VolumeBinding.
    pub struct VolumeBindingArgs {
        /// How long binding and provisioning may take before the pod is tried again.
        pub bind_timeout_seconds: i64,
        /// Scores nodes by how much of their storage would be used (upstream: gate StorageCapacityScoring).
        #[serde(skip_serializing_if = "Option::is_none")]
        pub shape: Option<Vec<UtilizationShapePoint>>,
    }

    /// Of DynamicResources.
    pub struct DynamicResourcesArgs {
        /// How long the search on one node may take, as Go writes durations; 0 for no limit. The search counts its steps,
        /// so that its answer does not depend on the machine.
        pub filter_timeout: String,
        /// How long devices may take to become ready before the pod is tried again.
        pub binding_timeout: String,
    }
}

/// The strategies of [`ScoringStrategy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScoringStrategyType {
    /// The emptiest node is best.
    #[default]
    LeastAllocated,
    /// The fullest node is best.
    MostAllocated,
    /// By a curve.
    RequestedToCapacityRatio,
}

/// Whose default constraints PodTopologySpread takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultingType {
    /// Hosts with a skew of 3 and zones with one of 5, as a wish.
    #[default]
    System,
    /// Those listed.
    List,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

impl Default for NodeResourcesBalancedAllocationArgs {
    fn default() -> Self {
        Self { resources: cpu_and_memory() }
    }
}

impl Default for ScoringStrategy {
    fn default() -> Self {
        let kind = ScoringStrategyType::default();
        Self { kind, resources: cpu_and_memory(), requested_to_capacity_ratio: None }
    }
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        Self { bind_timeout_seconds: 600, shape: None }
    }
}

impl Default for DynamicResourcesArgs {
    fn default() -> Self {
        Self { filter_timeout: "10s".to_owned(), binding_timeout: "600s".to_owned() }
    }
}

fn cpu_and_memory() -> Vec<ResourceSpec> {
    ["cpu", "memory"].map(|name| ResourceSpec { name: name.to_owned(), weight: 1 }).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_said_is_as_upstream_has_it() {
        let fit: NodeResourcesFitArgs =
            serde_json::from_value(json!({"scoringStrategy": {"type": "MostAllocated"}})).unwrap();
        assert_eq!(fit.scoring_strategy.kind, ScoringStrategyType::MostAllocated);
        assert_eq!(fit.scoring_strategy.resources, cpu_and_memory());
        assert_eq!(
            serde_json::to_value(InterPodAffinityArgs::default()).unwrap(),
            json!({"hardPodAffinityWeight": 1, "ignorePreferredTermsOfExistingPods": false})
        );
        assert_eq!(
            serde_json::from_value::<DefaultPreemptionArgs>(json!({})).unwrap(),
            DefaultPreemptionArgs {
                min_candidate_nodes_percentage: None,
                min_candidate_nodes_absolute: None
            }
        );
        assert_eq!(serde_json::from_value::<VolumeBindingArgs>(json!({})).unwrap().bind_timeout_seconds, 600);
        assert!(serde_json::from_value::<VolumeBindingArgs>(json!({"bindTimeout": 1})).is_err());
        let spread: PodTopologySpreadArgs =
            serde_json::from_value(json!({"defaultingType": "List"})).unwrap();
        assert_eq!(spread.defaulting_type, DefaultingType::List);
    }
}
