//! Which devices a CEL selector means.
//!
//! A selector sees `device.driver`, `device.allowMultipleAllocations`, `device.attributes` and `device.capacity` (both by
//! domain, then by name). An amount
//! is an integer of its smallest whole unit; `quantity("10Gi")` makes one, and `compareTo`, `isGreaterThan` and
//! `isLessThan` compare two. A selector that cannot be evaluated for a device does not mean it. What a slice's devices
//! answered is kept until slices change.

use cel::extractors::This;
use cel::{Context, Program, Value};
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use objects::quantity::Quantity;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers kept; beyond them all are forgotten.
const ANSWERS_LIMIT: usize = 1 << 16;

/// What selectors answered about the devices of slices. Clones share it until slices change.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches(Arc<Mutex<Answers>>);

/// By selector and slice: the answer of each device.
type Answers = FxHashMap<(String, String), Arc<[bool]>>;

impl Matches {
    /// Whether a selector means each of the slice's devices.
    pub(super) fn of(&self, expression: &str, slice: &ResourceSlice) -> Arc<[bool]> {
        let id = (expression.to_owned(), slice.metadata.name.clone().unwrap_or_default());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&id) {
            return known.clone();
        }
        let answers = evaluate(expression, slice);
        if known.len() >= ANSWERS_LIMIT {
            known.clear();
        }
        known.insert(id, answers.clone());
        answers
    }

    /// Slices have changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn evaluate(expression: &str, slice: &ResourceSlice) -> Arc<[bool]> {
    let devices = slice.spec.devices.as_deref().unwrap_or_default();
    let Ok(program) = Program::compile(expression) else {
        return devices.iter().map(|_| false).collect();
    };
    devices.iter().map(|device| means(&program, &slice.spec.driver, device).unwrap_or(false)).collect()
}

fn means(program: &Program, driver: &str, device: &Device) -> Option<bool> {
    let mut context = Context::default();
    context.add_variable("device", seen(driver, device)).ok()?;
    context.add_function("quantity", amount).ok()?;
    context
        .add_function("compareTo", |This(one): This<i64>, other: i64| match one.cmp(&other) {
            Ordering::Less => -1_i64,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })
        .ok()?;
    context.add_function("isGreaterThan", |This(one): This<i64>, other: i64| one > other).ok()?;
    context.add_function("isLessThan", |This(one): This<i64>, other: i64| one < other).ok()?;
    match program.execute(&context) {
        Ok(Value::Bool(means)) => Some(means),
        _ => None,
    }
}

fn amount(text: Arc<String>) -> i64 {
    text.parse().map_or(0, |amount: Quantity| amount.value())
}

/// What a selector sees. Integers stay signed, which JSON would not keep.
#[derive(Serialize)]
#[serde(untagged)]
enum Seen {
    Bool(bool),
    Int(i64),
    Text(String),
    Map(BTreeMap<String, Seen>),
}

/// A device as a selector sees it. A name without a domain is in the driver's.
fn seen(driver: &str, device: &Device) -> Seen {
    let domains = || BTreeMap::from([(driver.to_owned(), BTreeMap::new())]);
    let (mut attributes, mut capacity) = (domains(), domains());
    let place = |name: &str| match name.split_once('/') {
        Some((domain, name)) => (domain.to_owned(), name.to_owned()),
        None => (driver.to_owned(), name.to_owned()),
    };
    for (name, attribute) in device.attributes.iter().flatten() {
        let text = attribute.string.as_ref().or(attribute.version.as_ref());
        let value = (attribute.bool.map(Seen::Bool))
            .or_else(|| attribute.int.map(Seen::Int))
            .or_else(|| text.cloned().map(Seen::Text));
        let (domain, name) = place(name);
        if let Some(value) = value {
            attributes.entry(domain).or_default().insert(name, value);
        }
    }
    for (name, amounts) in device.capacity.iter().flatten() {
        let (domain, name) = place(name);
        let value = Seen::Int(amount(Arc::new(amounts.value.0.clone())));
        capacity.entry(domain).or_default().insert(name, value);
    }
    let map = |domains: BTreeMap<String, BTreeMap<String, Seen>>| {
        Seen::Map(domains.into_iter().map(|(domain, names)| (domain, Seen::Map(names))).collect())
    };
    Seen::Map(BTreeMap::from([
        ("driver".to_owned(), Seen::Text(driver.to_owned())),
        ("allowMultipleAllocations".to_owned(), Seen::Bool(device.allow_multiple_allocations == Some(true))),
        ("attributes".to_owned(), map(attributes)),
        ("capacity".to_owned(), map(capacity)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selector_table() {
        let slice: ResourceSlice = serde_json::from_value(json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"},
            "spec": {"driver": "gpu.example.com", "nodeName": "n",
                "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
                "devices": [{
                    "name": "d",
                    "attributes": {"model": {"string": "a100"}, "index": {"int": 3}, "other.com/ok": {"bool": true}},
                    "capacity": {"memory": {"value": "40Gi"}},
                }]},
        }))
        .unwrap();
        for (expression, means) in [
            ("device.driver == 'gpu.example.com'", true),
            ("device.driver == 'nic.example.com'", false),
            ("device.attributes['gpu.example.com'].model == 'a100'", true),
            ("device.attributes['gpu.example.com'].index > 2 && device.attributes['other.com'].ok", true),
            ("device.capacity['gpu.example.com'].memory.compareTo(quantity('20Gi')) >= 0", true),
            ("device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('80Gi'))", false),
            ("device.capacity['gpu.example.com'].memory.isLessThan(quantity('80Gi'))", true),
            ("device.attributes['gpu.example.com'].unknown == 'x'", false),
            ("device.allowMultipleAllocations", false),
            ("!device.allowMultipleAllocations", true),
            ("device.driver", false),
            ("this is not CEL", false),
        ] {
            assert_eq!(*Matches::default().of(expression, &slice), [means], "{expression}");
        }
    }
}
