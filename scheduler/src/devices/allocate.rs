//! Gives the devices of a node to the requests of claims: the first way in which every request gets all it asks for.
//!
//! Searches depth first over requests, alternatives and devices, in order, with the constraints of each claim; a search
//! that takes more steps than it is allowed is given up. Pools whose slices are not all there are left out. A device that
//! allows it is given to several requests while enough of its capacity is left.

use super::counters::Counters;
use super::shares::{Shares, Taken, is_shared, share_id};
use super::{DeviceId, Devices};
use component::informers::Key;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, CapacityRequirements, Device, DeviceAllocationConfiguration, DeviceAllocationResult,
    DeviceAttribute, DeviceConstraint, DeviceRequestAllocationResult, DeviceSelector, DeviceToleration,
    ResourceClaim, ResourceSlice,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use objects::affinity;
use objects::quantity::Quantity;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Devices looked at in one search for each second that it may take: a rate that is reached everywhere.
const STEPS_A_SECOND: usize = 10_000;

/// What was found: an allocation for each claim, in order.
pub(crate) type Given = Vec<AllocationResult>;

/// The search for some claims, prepared once a pod.
#[derive(Debug)]
pub(crate) struct Allocator<'a> {
    devices: &'a Devices,
    claims: Vec<Arc<ResourceClaim>>,
    wants: Vec<Want>,
    /// Devices that others have for themselves.
    in_use: FxHashSet<DeviceId>,
    /// What others have of the rest.
    shares: Shares,
    /// What those leave of what devices share.
    counters: Counters,
    /// After so many steps a search is given up.
    steps: usize,
    /// Slices of pools that are all there, by what they are usable on.
    slices: Vec<&'a Arc<ResourceSlice>>,
}

/// One request of one claim.
#[derive(Debug)]
struct Want {
    claim: usize,
    /// In order of preference; one unless it lists alternatives.
    alternatives: Vec<Alternative>,
}

#[derive(Debug)]
struct Alternative {
    /// `REQUEST` or `REQUEST/ALTERNATIVE`.
    name: String,
    /// `None`: all there are.
    count: Option<usize>,
    selectors: Vec<String>,
    tolerations: Vec<DeviceToleration>,
    admin: bool,
    class: String,
    /// How much of a device it asks for.
    capacity: Option<CapacityRequirements>,
}

impl<'a> Allocator<'a> {
    /// Prepares the search for these claims, for which there is that much time on each node; zero: no limit. What the
    /// claims `given_back` hold is free.
    ///
    /// # Errors
    ///
    /// Names a class that does not exist.
    pub(crate) fn new(
        devices: &'a Devices,
        claims: Vec<Arc<ResourceClaim>>,
        given_back: &[Key],
        limit: Duration,
    ) -> Result<Self, String> {
        let mut wants = Vec::new();
        for (claim, object) in claims.iter().enumerate() {
            for request in object.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten()) {
                let mut alternatives = Vec::new();
                if let Some(exactly) = &request.exactly {
                    let mut alternative = Alternative::new(
                        devices,
                        &request.name,
                        &exactly.device_class_name,
                        (exactly.allocation_mode.as_deref(), exactly.count),
                        (exactly.selectors.as_deref(), exactly.tolerations.as_deref()),
                    )?;
                    alternative.admin = exactly.admin_access == Some(true);
                    alternative.capacity = exactly.capacity.clone();
                    alternatives.push(alternative);
                }
                for sub in request.first_available.iter().flatten() {
                    let mut alternative = Alternative::new(
                        devices,
                        &format!("{}/{}", request.name, sub.name),
                        &sub.device_class_name,
                        (sub.allocation_mode.as_deref(), sub.count),
                        (sub.selectors.as_deref(), sub.tolerations.as_deref()),
                    )?;
                    alternative.capacity = sub.capacity.clone();
                    alternatives.push(alternative);
                }
                wants.push(Want { claim, alternatives });
            }
        }
        let own = claims.iter().map(|claim| Key::of(&**claim));
        let keys: Vec<_> = own.chain(given_back.iter().cloned()).collect();
        let (in_use, shares) = devices.in_use(&keys);
        let slices = complete(devices);
        let counters = Counters::of(&slices, |id| in_use.contains(id) || shares.has(id));
        let milliseconds = usize::try_from(limit.as_millis()).unwrap_or(usize::MAX);
        let steps =
            if limit.is_zero() { usize::MAX } else { milliseconds.saturating_mul(STEPS_A_SECOND / 1000) };
        Ok(Self { devices, claims, wants, in_use, shares, counters, steps, slices })
    }

    /// The claims, in the order of what [`Self::on`] answers.
    pub(crate) fn claims(&self) -> &[Arc<ResourceClaim>] {
        &self.claims
    }

    /// Gives devices of a node to all claims.
    ///
    /// # Errors
    ///
    /// There are too few, or the search took too long.
    pub(crate) fn on(&self, node: &ObjectMeta) -> Result<Given, &'static str> {
        let usable: Vec<Usable<'_>> = self.slices.iter().flat_map(|slice| usable(slice, node)).collect();
        let (counters, taken) = (self.counters.clone(), FxHashSet::default());
        let shares = self.shares.clone();
        let mut search = Search { all: self, usable, counters, taken, shares, chosen: Vec::new(), steps: 0 };
        if search.request(0) {
            return Ok(self.results(&search, node));
        }
        Err(if search.steps > self.steps {
            "timed out trying to allocate devices"
        } else {
            "cannot allocate all claims"
        })
    }

    fn results(&self, search: &Search<'_>, node: &ObjectMeta) -> Given {
        let mut given: Vec<AllocationResult> =
            self.claims.iter().map(|_| AllocationResult::default()).collect();
        for (claim, result) in given.iter_mut().enumerate() {
            let mine = || search.chosen.iter().filter(move |chosen| chosen.want.claim == claim);
            let results = mine().enumerate().map(|(at, chosen)| DeviceRequestAllocationResult {
                share_id: is_shared(chosen.on.device).then(|| share_id(&self.claims[claim], at)),
                consumed_capacity: chosen.consumed(),
                request: chosen.alternative.name.clone(),
                driver: chosen.on.slice.spec.driver.clone(),
                pool: chosen.on.slice.spec.pool.name.clone(),
                device: chosen.on.device.name.clone(),
                admin_access: chosen.alternative.admin.then_some(true),
                binding_conditions: chosen.on.device.binding_conditions.clone(),
                binding_failure_conditions: chosen.on.device.binding_failure_conditions.clone(),
                tolerations: Some(chosen.alternative.tolerations.clone()).filter(|list| !list.is_empty()),
            });
            let config = self.config(claim, mine().map(|chosen| chosen.alternative));
            result.devices = Some(DeviceAllocationResult {
                results: Some(results.collect()),
                config: Some(config).filter(|config| !config.is_empty()),
            });
            result.node_selector = node_selector(mine().map(|chosen| chosen.on), node);
        }
        given
    }

    /// The configuration of the classes, then that of the claim.
    fn config<'s>(
        &self,
        claim: usize,
        chosen: impl Iterator<Item = &'s Alternative>,
    ) -> Vec<DeviceAllocationConfiguration> {
        let mut config = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for alternative in chosen {
            if names.contains(&alternative.name.as_str()) {
                continue;
            }
            names.push(&alternative.name);
            let class = self.devices.class(&alternative.class);
            for from in class.into_iter().flat_map(|class| class.spec.config.iter().flatten()) {
                config.push(DeviceAllocationConfiguration {
                    source: "FromClass".to_owned(),
                    requests: Some(vec![alternative.name.clone()]),
                    opaque: from.opaque.clone(),
                });
            }
        }
        let own = self.claims[claim].spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
        for from in own {
            let requests = from.requests.as_deref().unwrap_or_default();
            let meant = requests.is_empty()
                || names.iter().any(|name| requests.iter().any(|request| covers(request, name)));
            if meant {
                config.push(DeviceAllocationConfiguration {
                    source: "FromClaim".to_owned(),
                    requests: from.requests.clone(),
                    opaque: from.opaque.clone(),
                });
            }
        }
        config
    }
}

impl Alternative {
    fn new(
        devices: &Devices,
        name: &str,
        class: &str,
        (mode, count): (Option<&str>, Option<i64>),
        (selectors, tolerations): (Option<&[DeviceSelector]>, Option<&[DeviceToleration]>),
    ) -> Result<Self, String> {
        let Some(found) = devices.class(class) else {
            return Err(format!("request {name}: device class {class} does not exist"));
        };
        let selectors = found.spec.selectors.iter().flatten().chain(selectors.unwrap_or_default());
        let expression = |selector: &DeviceSelector| selector.cel.as_ref().map(|cel| cel.expression.clone());
        Ok(Self {
            name: name.to_owned(),
            count: (mode != Some("All")).then(|| usize::try_from(count.unwrap_or(1)).unwrap_or(0)),
            selectors: selectors.filter_map(expression).collect(),
            tolerations: tolerations.unwrap_or_default().to_vec(),
            admin: false,
            class: class.to_owned(),
            capacity: None,
        })
    }
}

/// The newest generation of a pool, and its slices.
type Pool<'a> = (i64, Vec<&'a Arc<ResourceSlice>>);

/// The slices of the newest generation of each pool that has all of them.
pub(super) fn complete(devices: &Devices) -> Vec<&Arc<ResourceSlice>> {
    let mut pools: FxHashMap<(&str, &str), Pool<'_>> = FxHashMap::default();
    for slice in devices.slices.values() {
        let pool = &slice.spec.pool;
        let (generation, slices) =
            pools.entry((&slice.spec.driver, &pool.name)).or_insert_with(|| (pool.generation, Vec::new()));
        if pool.generation > *generation {
            (*generation, *slices) = (pool.generation, Vec::new());
        }
        if pool.generation == *generation {
            slices.push(slice);
        }
    }
    let all = |slices: &Vec<&Arc<ResourceSlice>>| {
        slices
            .first()
            .is_some_and(|slice| i64::try_from(slices.len()) == Ok(slice.spec.pool.resource_slice_count))
    };
    let mut found: Vec<_> = pools.into_values().map(|(_, slices)| slices).filter(all).flatten().collect();
    found.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    found
}

/// A device that can be used on the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usable<'a> {
    pub(super) slice: &'a Arc<ResourceSlice>,
    pub(super) at: usize,
    device: &'a Device,
}

impl Usable<'_> {
    pub(super) fn id(&self) -> DeviceId {
        (self.slice.spec.driver.clone(), self.slice.spec.pool.name.clone(), self.device.name.clone())
    }

    fn selector(&self) -> Option<&NodeSelector> {
        self.device.node_selector.as_ref().or(self.slice.spec.node_selector.as_ref())
    }

    fn is_local(&self) -> bool {
        self.device.node_name.is_some()
            || self.slice.spec.node_name.is_some()
            || self.device.binds_to_node == Some(true)
    }
}

/// The devices of a slice that can be used on the node.
pub(super) fn usable<'a>(
    slice: &'a Arc<ResourceSlice>,
    node: &ObjectMeta,
) -> impl Iterator<Item = Usable<'a>> {
    let reaches = |name: Option<&String>, all: Option<bool>, selector: Option<&NodeSelector>| {
        all == Some(true)
            || name.is_some_and(|name| Some(name) == node.name.as_ref())
            || selector.is_some_and(|selector| affinity::selector_matches(selector, node))
    };
    let spec = &slice.spec;
    let each = spec.per_device_node_selection == Some(true);
    let whole = !each && reaches(spec.node_name.as_ref(), spec.all_nodes, spec.node_selector.as_ref());
    let devices = spec.devices.as_deref().unwrap_or_default().iter().enumerate();
    let usable = devices.filter(move |(_, device)| {
        whole || (each && reaches(device.node_name.as_ref(), device.all_nodes, device.node_selector.as_ref()))
    });
    usable.map(move |(at, device)| Usable { slice, at, device }).collect::<Vec<_>>().into_iter()
}

struct Search<'a> {
    all: &'a Allocator<'a>,
    usable: Vec<Usable<'a>>,
    counters: Counters,
    taken: FxHashSet<DeviceId>,
    shares: Shares,
    chosen: Vec<Chosen<'a>>,
    steps: usize,
}

struct Chosen<'a> {
    want: &'a Want,
    alternative: &'a Alternative,
    on: Usable<'a>,
    /// Of each capacity.
    taken: Taken,
    /// Whether nobody else has a share of the device, so that it draws on the counters for all.
    first: bool,
}

impl Chosen<'_> {
    /// What is told of a share.
    fn consumed(&self) -> Option<BTreeMap<String, ApiQuantity>> {
        let told = |(name, amount): (&String, &Quantity)| (name.clone(), ApiQuantity(amount.to_string()));
        let is_told = is_shared(self.on.device) && !self.taken.is_empty();
        is_told.then(|| self.taken.iter().map(told).collect())
    }
}

impl<'a> Search<'a> {
    /// Finds devices for the requests from this one on.
    fn request(&mut self, at: usize) -> bool {
        let all = self.all;
        let Some(want) = all.wants.get(at) else { return true };
        want.alternatives.iter().any(|alternative| match alternative.count {
            Some(count) => self.devices(at, want, alternative, count, 0),
            None => {
                // One that is given out several times, and has too little left, is not one of all.
                let has_room = |device: &usize| {
                    let on = &self.usable[*device];
                    all.shares.taken_by(&on.id(), on.device, alternative.capacity.as_ref()).is_some()
                };
                let wanted: Vec<usize> = (0..self.usable.len())
                    .filter(|device| self.suits(alternative, *device) && has_room(device))
                    .collect();
                let before = self.chosen.len();
                let found =
                    !wanted.is_empty() && wanted.iter().all(|device| self.take(want, alternative, *device));
                let done = found && self.request(at + 1);
                if !done {
                    self.drop_to(before);
                }
                done
            }
        })
    }

    /// Finds that many more devices for a request, from this place on.
    fn devices(
        &mut self,
        at: usize,
        want: &'a Want,
        alternative: &'a Alternative,
        count: usize,
        from: usize,
    ) -> bool {
        if count == 0 {
            return self.request(at + 1);
        }
        for device in from..self.usable.len() {
            self.steps += 1;
            if self.steps > self.all.steps {
                return false;
            }
            if self.suits(alternative, device) && self.take(want, alternative, device) {
                if self.devices(at, want, alternative, count - 1, device + 1) {
                    return true;
                }
                self.drop_to(self.chosen.len() - 1);
            }
        }
        false
    }

    fn suits(&self, alternative: &Alternative, device: usize) -> bool {
        let on = &self.usable[device];
        let matches = &self.all.devices.matches;
        alternative.selectors.iter().all(|selector| matches.of(selector, on.slice)[on.at])
            && on.device.taints.iter().flatten().all(|taint| {
                !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
                    || alternative.tolerations.iter().any(|toleration| {
                        let of = |field: &Option<String>, own: &str| {
                            field.as_deref().is_none_or(|text| text.is_empty() || text == own)
                        };
                        let value = toleration.operator.as_deref() == Some("Exists")
                            || toleration.value.as_deref().unwrap_or_default()
                                == taint.value.as_deref().unwrap_or_default();
                        of(&toleration.key, &taint.key) && of(&toleration.effect, &taint.effect) && value
                    })
            })
    }

    /// Gives a device, or a share of it, to a request, if it is free and no constraint is against it.
    fn take(&mut self, want: &'a Want, alternative: &'a Alternative, device: usize) -> bool {
        let on = self.usable[device];
        let id = on.id();
        if !alternative.admin && (self.all.in_use.contains(&id) || self.taken.contains(&id)) {
            return false;
        }
        let Some(taken) = self.shares.taken_by(&id, on.device, alternative.capacity.as_ref()) else {
            return false;
        };
        let first = !self.shares.has(&id);
        if !alternative.admin && first && !self.counters.suffice(on.slice, on.device) {
            return false;
        }
        let constraints = self.all.claims[want.claim]
            .spec
            .devices
            .iter()
            .flat_map(|devices| devices.constraints.iter().flatten());
        let chosen = Chosen { want, alternative, on, taken, first };
        if !constraints.into_iter().all(|constraint| self.keeps(constraint, &chosen)) {
            return false;
        }
        if !alternative.admin {
            if first {
                self.counters.take(on.slice, on.device);
            }
            if is_shared(on.device) {
                self.shares.take(id, &chosen.taken);
            } else {
                self.taken.insert(id);
            }
        }
        self.chosen.push(chosen);
        true
    }

    fn drop_to(&mut self, length: usize) {
        while self.chosen.len() > length {
            let Some(Chosen { alternative, on, taken, first, .. }) = self.chosen.pop() else { return };
            if alternative.admin {
                continue;
            }
            if first {
                self.counters.give_back(on.slice, on.device);
            }
            if is_shared(on.device) {
                self.shares.give_back(&on.id(), &taken);
            } else {
                self.taken.remove(&on.id());
            }
        }
    }

    fn keeps(&self, constraint: &DeviceConstraint, new: &Chosen<'_>) -> bool {
        let requests = constraint.requests.as_deref().unwrap_or_default();
        let meant = |chosen: &Chosen<'_>| {
            requests.is_empty() || requests.iter().any(|request| covers(request, &chosen.alternative.name))
        };
        if !meant(new) {
            return true;
        }
        let mut others =
            self.chosen.iter().filter(|other| other.want.claim == new.want.claim && meant(other));
        if let Some(name) = &constraint.match_attribute {
            let Some(own) = attribute(&new.on, name) else { return false };
            return others.next().is_none_or(|other| attribute(&other.on, name) == Some(own));
        }
        if let Some(name) = &constraint.distinct_attribute {
            let Some(own) = attribute(&new.on, name) else { return false };
            return others.all(|other| attribute(&other.on, name) != Some(own));
        }
        true
    }
}

/// The attribute of a fully qualified name; in the driver's own domain it may be published without it.
fn attribute<'a>(on: &Usable<'a>, name: &str) -> Option<&'a DeviceAttribute> {
    let attributes = on.device.attributes.as_ref()?;
    attributes.get(name).or_else(|| {
        let (domain, short) = name.split_once('/')?;
        attributes.get(short).filter(|_| domain == on.slice.spec.driver)
    })
}

/// True when `request` names the request, or the whole of which it is an alternative.
fn covers(request: &str, name: &str) -> bool {
    request == name || name.split('/').next() == Some(request)
}

/// Where an allocation can be used: on its node if any device is there only, else where all its devices are.
fn node_selector<'a>(
    chosen: impl Iterator<Item = Usable<'a>> + Clone,
    node: &ObjectMeta,
) -> Option<NodeSelector> {
    let mut terms = Vec::new();
    if chosen.clone().any(|on| on.is_local()) {
        terms.push(NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: affinity::NAME_FIELD.to_owned(),
                operator: "In".to_owned(),
                values: node.name.clone().map(|name| vec![name]),
            }]),
            ..NodeSelectorTerm::default()
        });
    } else {
        let mut all: Option<NodeSelectorTerm> = None;
        for on in chosen {
            for term in on.selector().into_iter().flat_map(|selector| &selector.node_selector_terms) {
                let all = all.get_or_insert_default();
                for expression in term.match_expressions.iter().flatten() {
                    let known = all.match_expressions.get_or_insert_default();
                    if !known.contains(expression) {
                        known.push(expression.clone());
                    }
                }
                for field in term.match_fields.iter().flatten() {
                    let known = all.match_fields.get_or_insert_default();
                    if !known.contains(field) {
                        known.push(field.clone());
                    }
                }
            }
        }
        terms.extend(all);
    }
    (!terms.is_empty()).then_some(NodeSelector { node_selector_terms: terms })
}
