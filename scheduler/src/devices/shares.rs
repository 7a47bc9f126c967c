//! Devices that are given out several times, and how much of their capacity each share takes (KEP-5075).
//!
//! A device that allows multiple allocations can be given to any number of requests as long as what they take of each of
//! its capacities is left. How much a request takes follows from what it asks for and from the capacity's policy: a
//! default, the next of a list of values, or the next step of a range. Other devices only have to be large enough.
//! Upstream: `structured/internal/incubating/consumable_capacity.go`.

use super::DeviceId;
use k8s_openapi::api::resource::v1::{
    CapacityRequestPolicy, CapacityRequestPolicyRange, CapacityRequirements, Device, DeviceCapacity,
    DeviceRequestAllocationResult, ResourceClaim,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use objects::quantity::{Format, Quantity};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How much a share takes, by the name of the capacity.
pub(super) type Taken = BTreeMap<String, Quantity>;

/// The shares that are given out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    devices: FxHashMap<DeviceId, Given>,
}

#[derive(Clone, Debug, Default)]
struct Given {
    shares: usize,
    taken: Taken,
}

/// Whether a device may be given out several times.
pub(super) fn is_shared(device: &Device) -> bool {
    device.allow_multiple_allocations == Some(true)
}

impl Shares {
    /// Notes the share of an allocation.
    pub(super) fn note(&mut self, id: DeviceId, result: &DeviceRequestAllocationResult) {
        let consumed = result.consumed_capacity.iter().flatten();
        let taken = consumed.map(|(name, amount)| (name.clone(), parsed(amount))).collect();
        self.take(id, &taken);
    }

    /// Whether anybody has a share of the device.
    pub(super) fn has(&self, id: &DeviceId) -> bool {
        self.devices.contains_key(id)
    }

    pub(super) fn take(&mut self, id: DeviceId, taken: &Taken) {
        let given = self.devices.entry(id).or_default();
        given.shares += 1;
        for (name, amount) in taken {
            *given.taken.entry(name.clone()).or_insert(Quantity::ZERO) += *amount;
        }
    }

    pub(super) fn give_back(&mut self, id: &DeviceId, taken: &Taken) {
        let Some(given) = self.devices.get_mut(id) else { return };
        given.shares -= 1;
        for (name, amount) in taken {
            if let Some(sum) = given.taken.get_mut(name) {
                *sum -= *amount;
            }
        }
        if given.shares == 0 {
            self.devices.remove(id);
        }
    }

    /// What a request takes of each capacity of a device; `None` if the device does not suit, or too little is left.
    pub(super) fn taken_by(
        &self,
        id: &DeviceId,
        device: &Device,
        asked: Option<&CapacityRequirements>,
    ) -> Option<Taken> {
        let asked = asked.and_then(|asked| asked.requests.as_ref());
        let capacities = device.capacity.as_ref();
        if !is_shared(device) && asked.is_none() && capacities.is_none_or(has_no_policy) {
            return Some(Taken::new());
        }
        let is_there = |name: &String| capacities.is_some_and(|all| all.contains_key(name));
        if !asked.into_iter().flatten().all(|(name, _)| is_there(name)) {
            return None;
        }
        let others = self.devices.get(id).filter(|_| is_shared(device));
        let mut taken = Taken::new();
        for (name, capacity) in capacities.into_iter().flatten() {
            let wanted = asked.and_then(|asked| asked.get(name)).map(parsed);
            let amount = amount(wanted, capacity);
            let before = others.and_then(|given| given.taken.get(name)).copied();
            let fits = before.unwrap_or(Quantity::ZERO) + amount <= parsed(&capacity.value);
            if !fits || capacity.request_policy.as_ref().is_some_and(|policy| !allows(policy, amount)) {
                return None;
            }
            taken.insert(name.clone(), amount);
        }
        Some(taken)
    }
}

/// The name of a share: another for each, and the same whenever the same is computed.
pub(super) fn share_id(claim: &ResourceClaim, at: usize) -> String {
    let metadata = &claim.metadata;
    let half = |half: u8| {
        let mut hasher = DefaultHasher::new();
        (half, &metadata.namespace, &metadata.name, &metadata.uid, &metadata.resource_version, at)
            .hash(&mut hasher);
        hasher.finish()
    };
    // A UUID of the version that leaves its making to the maker (RFC 9562: 8).
    let (high, low) = ((half(0) & !0xf000) | 0x8000, (half(1) >> 2) | (1 << 63));
    let (time, version, node) = (high >> 32, high & 0xffff, low & 0xffff_ffff_ffff);
    format!("{time:08x}-{:04x}-{version:04x}-{:04x}-{node:012x}", (high >> 16) & 0xffff, low >> 48)
}

fn has_no_policy(capacities: &BTreeMap<String, DeviceCapacity>) -> bool {
    capacities.values().all(|capacity| capacity.request_policy.is_none())
}

/// How much of a capacity a request takes.
fn amount(wanted: Option<Quantity>, capacity: &DeviceCapacity) -> Quantity {
    let policy = capacity.request_policy.as_ref();
    let Some(wanted) = wanted else {
        return parsed(policy.and_then(|policy| policy.default.as_ref()).unwrap_or(&capacity.value));
    };
    if let Some(range) = policy.and_then(|policy| policy.valid_range.as_ref()) {
        return stepped(wanted, range);
    }
    let values = policy.into_iter().flat_map(|policy| policy.valid_values.iter().flatten());
    values.map(parsed).find(|value| wanted <= *value).unwrap_or(wanted)
}

/// The next step of the range.
fn stepped(wanted: Quantity, range: &CapacityRequestPolicyRange) -> Quantity {
    let least = parsed(&range.min);
    if wanted < least {
        return least;
    }
    let Some(step) = range.step.as_ref().map(|step| parsed(step).value()).filter(|step| *step > 0) else {
        return wanted;
    };
    let above = wanted.value().saturating_sub(least.value());
    let steps = above / step + i64::from(above % step != 0);
    Quantity::units(least.value().saturating_add(step.saturating_mul(steps)), Format::BinarySi)
}

/// Whether the policy lets that much be taken.
fn allows(policy: &CapacityRequestPolicy, amount: Quantity) -> bool {
    if policy.default.as_ref().is_some_and(|default| parsed(default) == amount) {
        return true;
    }
    if let Some(range) = &policy.valid_range {
        let above = amount.value().saturating_sub(parsed(&range.min).value());
        let step = range.step.as_ref().map(|step| parsed(step).value()).filter(|step| *step > 0);
        return range.max.as_ref().is_none_or(|most| amount <= parsed(most))
            && step.is_none_or(|step| above % step == 0);
    }
    let mut values = policy.valid_values.iter().flatten().map(parsed).peekable();
    values.peek().is_none() || values.any(|value| value == amount)
}

fn parsed(amount: &ApiQuantity) -> Quantity {
    Quantity::try_from(amount).unwrap_or(Quantity::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn id() -> DeviceId {
        ("d".to_owned(), "p".to_owned(), "0".to_owned())
    }

    /// What is taken of a shared device of 10Gi with this policy, of which that much is given out.
    fn taken(policy: &Value, given: &str, asked: Value) -> Option<String> {
        let device: Device = serde_json::from_value(json!({"name": "0", "allowMultipleAllocations": true,
            "capacity": {"memory": {"value": "10Gi", "requestPolicy": policy}}}))
        .unwrap();
        let asked: Option<CapacityRequirements> = serde_json::from_value(asked).unwrap();
        let mut shares = Shares::default();
        shares.take(id(), &Taken::from([("memory".to_owned(), given.parse().unwrap())]));
        shares.taken_by(&id(), &device, asked.as_ref()).map(|taken| taken["memory"].to_string())
    }

    #[test]
    fn policy_table() {
        let memory = |amount: &str| json!({"requests": {"memory": amount}});
        let none = Value::Null;
        let range = json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "6Gi", "step": "2Gi"}});
        let open = json!({"default": "1Gi", "validRange": {"min": "1Gi"}});
        let values = json!({"default": "2Gi", "validValues": ["2Gi", "4Gi"]});
        for (name, policy, given, asked, want) in [
            ("all of it without a policy", &none, "0", none.clone(), Some("10Gi")),
            ("all of it, but some is given", &none, "1", none.clone(), None),
            ("what is asked for", &none, "1Gi", memory("3Gi"), Some("3Gi")),
            ("to the last byte", &none, "7Gi", memory("3Gi"), Some("3Gi")),
            ("more than is left", &none, "8Gi", memory("3Gi"), None),
            ("an unknown capacity", &none, "0", json!({"requests": {"cores": "1"}}), None),
            ("the default", &values, "0", none.clone(), Some("2Gi")),
            ("no more room for the default", &values, "9Gi", none.clone(), None),
            ("the next value", &values, "0", memory("3Gi"), Some("4Gi")),
            ("beyond all values", &values, "0", memory("5Gi"), None),
            ("below the range", &range, "0", memory("1"), Some("1Gi")),
            ("the next step", &range, "0", memory("2Gi"), Some("3Gi")),
            ("on a step", &range, "0", memory("5Gi"), Some("5Gi")),
            ("its step is beyond the range", &range, "0", memory("6Gi"), None),
            ("no steps", &open, "0", memory("1500Mi"), Some("1500Mi")),
        ] {
            assert_eq!(taken(policy, given, asked).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn a_whole_device_has_to_be_large_enough() {
        let device: Device =
            serde_json::from_value(json!({"name": "0", "capacity": {"memory": {"value": "10Gi"}}})).unwrap();
        let fits = |amount: &str| {
            let asked: CapacityRequirements =
                serde_json::from_value(json!({"requests": {"memory": amount}})).unwrap();
            Shares::default().taken_by(&id(), &device, Some(&asked)).is_some()
        };
        assert!(fits("10Gi"));
        assert!(!fits("11Gi"));
        assert!(Shares::default().taken_by(&id(), &device, None).is_some());
    }

    #[test]
    fn shares_come_and_go() {
        let mut shares = Shares::default();
        let one = Taken::from([("memory".to_owned(), "1Gi".parse().unwrap())]);
        shares.take(id(), &one);
        shares.take(id(), &one);
        shares.give_back(&id(), &one);
        assert!(shares.has(&id()));
        shares.give_back(&id(), &one);
        assert!(!shares.has(&id()));
    }

    #[test]
    fn each_share_has_its_name() {
        let claim = |uid: &str| -> ResourceClaim {
            serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {}})).unwrap()
        };
        let names = [share_id(&claim("a"), 0), share_id(&claim("a"), 1), share_id(&claim("b"), 0)];
        for name in &names {
            let parts: Vec<usize> = name.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{name}");
            assert!(&name[14..15] == "8" && "89ab".contains(&name[19..20]), "{name}");
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
        assert_eq!(share_id(&claim("a"), 0), names[0]);
    }
}
