//! Arguments of plugins (`pluginConfig`), with upstream's defaults and checks.
//!
//! Promise: what is not given has upstream's default; what is unknown, of another type or out of range is a fault.

use super::faults::Faults;
use crate::plugins::args::{
    DefaultPreemptionArgs, DefaultingType, DynamicResourcesArgs, InterPodAffinityArgs, NodeAffinityArgs,
    NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, PodTopologySpreadArgs, ResourceSpec,
    ScoringStrategy, ScoringStrategyType, UtilizationShapePoint, VolumeBindingArgs,
};
use component::args::duration;
use objects::validity::qualified_name;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Devices have at least this long to become ready.
const LEAST_BINDING_TIMEOUT: Duration = Duration::from_secs(1);

/// The arguments of all plugins of a profile that take some.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    /// Of DefaultPreemption.
    pub default_preemption: DefaultPreemptionArgs,
    /// Of DynamicResources.
    pub dynamic_resources: DynamicResourcesArgs,
    /// Of InterPodAffinity.
    pub inter_pod_affinity: InterPodAffinityArgs,
    /// Of NodeAffinity.
    pub node_affinity: NodeAffinityArgs,
    /// Of NodeResourcesBalancedAllocation.
    pub balanced_allocation: NodeResourcesBalancedAllocationArgs,
    /// Of NodeResourcesFit.
    pub fit: NodeResourcesFitArgs,
    /// Of PodTopologySpread.
    pub topology_spread: PodTopologySpreadArgs,
    /// Of VolumeBinding.
    pub volume_binding: VolumeBindingArgs,
}

impl Args {
    /// Takes in the arguments of one plugin, given at `path`. False when the plugin takes none.
    pub(super) fn set(&mut self, plugin: &str, given: &Value, path: &str, faults: &mut Faults) -> bool {
        match plugin {
            "DefaultPreemption" => read(&mut self.default_preemption, plugin, given, path, faults),
            "DynamicResources" => read(&mut self.dynamic_resources, plugin, given, path, faults),
            "InterPodAffinity" => read(&mut self.inter_pod_affinity, plugin, given, path, faults),
            "NodeAffinity" => read(&mut self.node_affinity, plugin, given, path, faults),
            "NodeResourcesBalancedAllocation" => {
                read(&mut self.balanced_allocation, plugin, given, path, faults);
            }
            "NodeResourcesFit" => read(&mut self.fit, plugin, given, path, faults),
            "PodTopologySpread" => read(&mut self.topology_spread, plugin, given, path, faults),
            "VolumeBinding" => read(&mut self.volume_binding, plugin, given, path, faults),
            _ => return false,
        }
        true
    }

    /// Name and arguments of every plugin that takes some, as a file holds them.
    pub(super) fn all(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("DefaultPreemption", written(&self.default_preemption, "DefaultPreemption")),
            ("DynamicResources", written(&self.dynamic_resources, "DynamicResources")),
            ("InterPodAffinity", written(&self.inter_pod_affinity, "InterPodAffinity")),
            ("NodeAffinity", written(&self.node_affinity, "NodeAffinity")),
            (
                "NodeResourcesBalancedAllocation",
                written(&self.balanced_allocation, "NodeResourcesBalancedAllocation"),
            ),
            ("NodeResourcesFit", written(&self.fit, "NodeResourcesFit")),
            ("PodTopologySpread", written(&self.topology_spread, "PodTopologySpread")),
            ("VolumeBinding", written(&self.volume_binding, "VolumeBinding")),
        ]
    }
}

/// Arguments that can say what is wrong with them.
trait Checked: Serialize + DeserializeOwned {
    fn check(&mut self, path: &str, faults: &mut Faults);
}

fn read<A: Checked>(args: &mut A, plugin: &str, given: &Value, path: &str, faults: &mut Faults) {
    let mut given = given.clone();
    strip_nulls(&mut given);
    if given.is_null() {
        return;
    }
    if let Some(fields) = given.as_object_mut() {
        let (kind, want) = (fields.remove("kind"), format!("{plugin}Args"));
        if let Some(kind) = kind.filter(|kind| *kind != want.as_str()) {
            return faults.invalid(path, kind, format!("args for plugin {plugin} have to be of kind {want}"));
        }
        if let Some(version) =
            fields.remove("apiVersion").filter(|version| *version != super::file::API_VERSION)
        {
            return faults.invalid(path, version, format!("has to be {}", super::file::API_VERSION));
        }
    }
    match serde_json::from_value::<A>(given.clone()) {
        Err(error) => faults.wrong(path, error),
        Ok(mut read) => {
            // The types of the API take any field; what they do not give back they did not know.
            let known = serde_json::to_value(&read).expect("arguments have a JSON form");
            match unknown_field(&given, &known, path) {
                Some(field) => faults.forbidden(field, "unknown field"),
                None => {
                    read.check(path, faults);
                    *args = read;
                }
            }
        }
    }
}

fn written(args: &impl Serialize, plugin: &str) -> Value {
    let mut value = serde_json::to_value(args).expect("arguments have a JSON form");
    value["apiVersion"] = super::file::API_VERSION.into();
    value["kind"] = format!("{plugin}Args").into();
    value
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// The path of a field in `given` that is not in `known`; empty lists and objects may be left out.
fn unknown_field(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(known) => unknown_field(value, known, &path),
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(at, (given, known))| unknown_field(given, known, &format!("{path}[{at}]"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Upstream's minCandidateNodesPercentage where only the other is given.
const DEFAULT_CANDIDATES_PERCENTAGE: i32 = 10;
/// Upstream's minCandidateNodesAbsolute where only the other is given.
const DEFAULT_CANDIDATES: i32 = 100;

impl Checked for DefaultPreemptionArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        let percentage = format!("{path}.minCandidateNodesPercentage");
        let absolute = format!("{path}.minCandidateNodesAbsolute");
        if (self.min_candidate_nodes_percentage, self.min_candidate_nodes_absolute) == (None, None) {
            return;
        }
        let share = *self.min_candidate_nodes_percentage.get_or_insert(DEFAULT_CANDIDATES_PERCENTAGE);
        let count = *self.min_candidate_nodes_absolute.get_or_insert(DEFAULT_CANDIDATES);
        if !(0..=100).contains(&share) {
            faults.invalid(&percentage, share, "not in valid range [0, 100]");
        }
        if count < 0 {
            faults.invalid(&absolute, count, "not in valid range [0, inf)");
        }
        if (share, count) == (0, 0) {
            faults.invalid(percentage, share, "cannot be zero at the same time as minCandidateNodesAbsolute");
            faults.invalid(absolute, count, "cannot be zero at the same time as minCandidateNodesPercentage");
        }
    }
}

impl Checked for DynamicResourcesArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        for (field, time) in
            [("filterTimeout", &self.filter_timeout), ("bindingTimeout", &self.binding_timeout)]
        {
            if let Err(why) = duration(time) {
                faults.wrong(format!("{path}.{field}"), why);
            }
        }
        if duration(&self.binding_timeout).is_ok_and(|time| time < LEAST_BINDING_TIMEOUT) {
            let (path, value) = (format!("{path}.bindingTimeout"), format!("{:?}", self.binding_timeout));
            faults.invalid(path, value, "must be at least 1 second");
        }
    }
}

impl Checked for InterPodAffinityArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        let weight = self.hard_pod_affinity_weight;
        if !(0..=100).contains(&weight) {
            faults.invalid(format!("{path}.hardPodAffinityWeight"), weight, "not in valid range [0, 100]");
        }
    }
}

impl Checked for NodeAffinityArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        let Some(added) = &self.added_affinity else { return };
        let required = added.required_during_scheduling_ignored_during_execution.iter();
        let terms = required.flat_map(|selector| &selector.node_selector_terms);
        let preferred = added.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for term in terms.chain(preferred.map(|wish| &wish.preference)) {
            let expressions = term.match_expressions.iter().chain(&term.match_fields).flatten();
            for expression in expressions {
                let known = ["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"];
                if !known.contains(&expression.operator.as_str()) {
                    let path = format!("{path}.addedAffinity");
                    faults.not_supported(path, &expression.operator, &known);
                }
            }
        }
    }
}

impl Checked for NodeResourcesBalancedAllocationArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        let mut seen = BTreeSet::new();
        self.resources = or_cpu_and_memory(std::mem::take(&mut self.resources), Self::default().resources);
        for (at, resource) in self.resources.iter().enumerate() {
            let path = format!("{path}.resources[{at}]");
            if !seen.insert(&resource.name) {
                faults.duplicate(format!("{path}.name"), &resource.name);
            }
            if resource.weight != 1 {
                faults.invalid(format!("{path}.weight"), resource.weight, "must be 1");
            }
        }
    }
}

impl Checked for NodeResourcesFitArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        for (at, name) in self.ignored_resources.iter().enumerate() {
            for problem in qualified_name(name) {
                faults.invalid(format!("{path}.ignoredResources[{at}]"), format!("{name:?}"), problem);
            }
        }
        for (at, group) in self.ignored_resource_groups.iter().enumerate() {
            let path = format!("{path}.ignoredResourceGroups[{at}]");
            if group.contains('/') {
                faults.invalid(&path, format!("{group:?}"), "resource group name can't contain '/'");
            }
            for problem in qualified_name(group) {
                faults.invalid(&path, format!("{group:?}"), problem);
            }
        }
        check_strategy(&mut self.scoring_strategy, &format!("{path}.scoringStrategy"), faults);
    }
}

fn check_strategy(strategy: &mut ScoringStrategy, path: &str, faults: &mut Faults) {
    let given = std::mem::take(&mut strategy.resources);
    strategy.resources = or_cpu_and_memory(given, ScoringStrategy::default().resources);
    for (at, resource) in strategy.resources.iter().enumerate() {
        if !(1..=100).contains(&resource.weight) {
            let why = format!("resource weight of {} not in valid range (0, 100]", resource.name);
            faults.invalid(format!("{path}.resources[{at}].weight"), resource.weight, why);
        }
    }
    let shape = format!("{path}.requestedToCapacityRatio.shape");
    match &strategy.requested_to_capacity_ratio {
        Some(ratio) => check_shape(&ratio.shape, &shape, faults),
        None if strategy.kind == ScoringStrategyType::RequestedToCapacityRatio => {
            check_shape(&[], &shape, faults);
        }
        None => {}
    }
}

/// Upstream takes a missing weight for 1, and cannot tell it from 0.
fn or_cpu_and_memory(mut given: Vec<ResourceSpec>, default: Vec<ResourceSpec>) -> Vec<ResourceSpec> {
    if given.is_empty() {
        return default;
    }
    for resource in given.iter_mut().filter(|resource| resource.weight == 0) {
        resource.weight = 1;
    }
    given
}

fn check_shape(shape: &[UtilizationShapePoint], path: &str, faults: &mut Faults) {
    if shape.is_empty() {
        return faults.required(path, "at least one point must be specified");
    }
    if let Some(at) = (1..shape.len()).find(|at| shape[at - 1].utilization >= shape[*at].utilization) {
        let why = "values must be sorted in increasing order";
        faults.invalid(format!("{path}[{at}].utilization"), shape[at].utilization, why);
    }
    for (at, point) in shape.iter().enumerate() {
        if !(0..=100).contains(&point.utilization) {
            let path = format!("{path}[{at}].utilization");
            faults.invalid(path, point.utilization, "not in valid range [0, 100]");
        }
        if !(0..=10).contains(&point.score) {
            faults.invalid(format!("{path}[{at}].score"), point.score, "not in valid range [0, 10]");
        }
    }
}

impl Checked for PodTopologySpreadArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        let kind = format!("{path}.defaultingType");
        if self.defaulting_type == DefaultingType::System && !self.default_constraints.is_empty() {
            faults.invalid(kind, "\"System\"", "when .defaultConstraints are not empty");
        }
        let mut seen = BTreeSet::new();
        for (at, constraint) in self.default_constraints.iter().enumerate() {
            let path = format!("{path}.defaultConstraints[{at}]");
            if constraint.max_skew <= 0 {
                faults.invalid(format!("{path}.maxSkew"), constraint.max_skew, "not in valid range (0, inf)");
            }
            let key = &constraint.topology_key;
            if key.is_empty() {
                faults.required(format!("{path}.topologyKey"), "can not be empty");
            }
            for problem in qualified_name(key).into_iter().filter(|_| !key.is_empty()) {
                faults.invalid(format!("{path}.topologyKey"), format!("{key:?}"), problem);
            }
            let otherwise = &constraint.when_unsatisfiable;
            let known = ["DoNotSchedule", "ScheduleAnyway"];
            if otherwise.is_empty() {
                faults.required(format!("{path}.whenUnsatisfiable"), "can not be empty");
            } else if !known.contains(&otherwise.as_str()) {
                faults.not_supported(format!("{path}.whenUnsatisfiable"), otherwise, &known);
            }
            if constraint.label_selector.is_some() {
                let why = "constraint must not define a selector, as they deduced for each pod";
                faults.forbidden(format!("{path}.labelSelector"), why);
            }
            if !seen.insert((key, otherwise)) {
                faults.duplicate(&path, &format!("{{{key}, {otherwise}}}"));
            }
        }
    }
}

impl Checked for VolumeBindingArgs {
    fn check(&mut self, path: &str, faults: &mut Faults) {
        if self.bind_timeout_seconds < 0 {
            let why = "invalid BindTimeoutSeconds, should not be a negative value";
            faults.invalid(format!("{path}.bindTimeoutSeconds"), self.bind_timeout_seconds, why);
        }
        if self.shape.is_some() {
            let why =
                "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
            faults.forbidden(format!("{path}.shape"), why);
        }
    }
}
