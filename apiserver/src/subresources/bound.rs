//! A bound pod, made from the stored bytes of the unbound one.
//!
//! Promise: the object that decoding, changing and encoding would give, at a tenth of the price: a binding changes
//! `spec.nodeName` and one condition, everything else is copied. `None` where anything stands in the way of the
//! binding or of the short cut; the long way then says what. Reads nothing but the record.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::kinds::Kind;
use crate::store::{Change, Draft, Record};
use crate::verbs::select::extracted;

const NODE_NAME: &str = "nodeName";
const CONDITIONS: &str = "conditions";

/// Binds the pod of this record to a node, if it is the pod of this UID (any where none is given).
pub(super) fn change(kind: &Kind, record: &Record, uid: &str, node: &str, now: &str) -> Option<Change> {
    let header = &record.header;
    let place = extracted(kind).position(|field| field.name == "spec.nodeName")?;
    let another = !uid.is_empty() && uid != header.uid();
    if another || header.deleting() || !header.field(place).is_empty() {
        return None;
    }
    let (head, tail) = record.around_revision();
    let tail = bound(&record.bytes, tail, node, now)?;
    Some(Change::Put(Draft { head: head.to_vec(), tail }, header.with_field(place, node)))
}

/// The parts of a pod that a binding looks at.
#[derive(Deserialize)]
struct Parts<'a> {
    metadata: Metadata,
    #[serde(borrow)]
    spec: Fields<'a>,
    #[serde(borrow)]
    status: Fields<'a>,
}

#[derive(Deserialize)]
struct Metadata {
    generation: Option<i64>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(borrow)]
    status: &'a str,
    #[serde(rename = "lastTransitionTime", borrow)]
    since: Option<&'a RawValue>,
}

/// The fields of a JSON object, in order, unread.
struct Fields<'a>(Vec<(&'a str, &'a RawValue)>);

/// What stands behind the revision, once the pod is bound.
fn bound(object: &[u8], tail: &[u8], node: &str, now: &str) -> Option<Vec<u8>> {
    let Parts { metadata, spec, status } = serde_json::from_slice(object).ok()?;
    let gates = spec.get("schedulingGates").is_some_and(|gates| gates.get() != "[]");
    if gates || spec.get(NODE_NAME).is_some() {
        return None;
    }
    let told = conditions(status.get(CONDITIONS), metadata.generation, now)?;
    let node = format!("{}:{}", quoted(NODE_NAME)?, quoted(node)?);
    let (spec, status) = (spec.place(object, NODE_NAME)?, status.place(object, CONDITIONS)?);
    // The pod as it was, from behind its revision, with two insertions.
    let begin = object.len() - tail.len();
    if spec.at < begin || status.from < spec.at {
        return None;
    }
    let mut out = Vec::with_capacity(tail.len() + node.len() + told.len() + CONDITIONS.len() + SEPARATORS);
    out.extend_from_slice(&object[begin..spec.at]);
    spec.insert(&mut out, &node);
    out.extend_from_slice(&object[spec.at..status.from]);
    status.insert(&mut out, &format!("{}:{told}", quoted(CONDITIONS)?));
    out.extend_from_slice(&object[status.at..]);
    Some(out)
}

/// The conditions with a true PodScheduled in the place of the one there was, or at the end.
fn conditions(there: Option<&RawValue>, generation: Option<i64>, now: &str) -> Option<String> {
    let there: Vec<&RawValue> = there.map_or(Some(Vec::new()), |raw| serde_json::from_str(raw.get()).ok())?;
    let mut since = quoted(now)?;
    let mut all = Vec::with_capacity(there.len() + 1);
    let mut place = None;
    for (at, raw) in there.iter().enumerate() {
        let condition: Condition<'_> = serde_json::from_str(raw.get()).ok()?;
        if condition.kind == "PodScheduled" && place.is_none() {
            place = Some(at);
            if condition.status == "True" {
                since = condition.since.map_or("null", RawValue::get).to_owned();
            }
        }
        all.push((*raw).get().to_owned());
    }
    // Upstream writes the generation where it adds the condition, not where it replaces one.
    let observed = generation
        .filter(|_| place.is_none())
        .map_or_else(String::new, |number| format!(r#""observedGeneration":{number},"#));
    let scheduled = format!(
        r#"{{"lastProbeTime":null,"lastTransitionTime":{since},{observed}"status":"True","type":"PodScheduled"}}"#
    );
    match place {
        Some(at) => all[at] = scheduled,
        None => all.push(scheduled),
    }
    Some(format!("[{}]", all.join(",")))
}

/// Where a field goes: what stands from `from` to `at` is replaced.
struct Place {
    from: usize,
    at: usize,
    /// Other fields before and behind.
    before: bool,
    behind: bool,
}

impl Place {
    fn insert(&self, out: &mut Vec<u8>, field: &str) {
        if self.before {
            out.push(b',');
        }
        out.extend_from_slice(field.as_bytes());
        if self.behind {
            out.push(b',');
        }
    }
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }

    /// Where the field stands in the bytes that this was read from, or would stand among fields in order.
    fn place(&self, object: &[u8], name: &str) -> Option<Place> {
        let offset = |text: &str| (text.as_ptr() as usize).checked_sub(object.as_ptr() as usize);
        if let Some((field, value)) = self.0.iter().find(|(field, _)| *field == name) {
            // From its opening quote to the end of its value.
            let (from, at) = (offset(field)? - QUOTE, offset(value.get())? + value.get().len());
            return Some(Place { from, at, before: false, behind: false });
        }
        if let Some((next, _)) = self.0.iter().find(|(field, _)| *field > name) {
            let at = offset(next)? - QUOTE;
            return Some(Place { from: at, at, before: false, behind: true });
        }
        let (_, last) = self.0.last()?;
        let at = offset(last.get())? + last.get().len();
        Some(Place { from: at, at, before: true, behind: false })
    }
}

/// Bytes of a quote, and of all that is put between what is inserted.
const QUOTE: usize = 1;
const SEPARATORS: usize = 16;

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Reader<'a> {
            type Value = Fields<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(FIELDS);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader(std::marker::PhantomData))
    }
}

/// Fields reserved for.
const FIELDS: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{Expect, Store, Write};
    use crate::verbs::{decode, encode};

    /// Binds by the short cut and by the long way, which must agree.
    async fn both(pod: &Value) -> (Option<Value>, Value) {
        let kind = crate::kinds::builtin().iter().find(|kind| kind.plural == "pods").unwrap();
        let store = Store::in_memory();
        let write = Write { key: "/p".into(), expect: Expect::Any, change: encode::put(kind, pod) };
        let record = store.commit(write).await.unwrap();
        let old = encode::decoded(&record.bytes).unwrap();
        let binding = json!({ "target": { "name": "n\"1" } });
        let mut long = super::super::binding::assign(&old, &binding, "n\"1", NOW).unwrap();
        crate::schema::settle(decode::definition(&kind.definition).unwrap(), &mut long);
        let Some(change) = change(kind, &record, "", "n\"1", NOW) else { return (None, long) };
        if let (Change::Put(_, short), Change::Put(_, wanted)) = (&change, encode::put(kind, &long)) {
            assert_eq!(*short, wanted);
        }
        let write = Write { key: "/p".into(), expect: Expect::Any, change };
        let bytes = store.commit(write).await.unwrap().bytes.clone();
        long["metadata"]["resourceVersion"] = json!("2");
        (Some(serde_json::from_slice(&bytes).unwrap()), long)
    }

    const NOW: &str = "2026-01-01T00:00:00Z";

    #[tokio::test]
    async fn the_short_cut_ends_where_the_long_way_does() {
        let pod = |spec: Value, status: Value| {
            json!({ "apiVersion": "v1", "kind": "Pod", "spec": spec, "status": status,
                "metadata": { "name": "p", "namespace": "a", "uid": "u", "generation": 1, "labels": { "a": "b" } } })
        };
        let containers = json!([{ "name": "c", "image": "i", "resources": {} }]);
        let condition = |kind: &str, status: &str| {
            json!({ "type": kind, "status": status, "reason": "Unschedulable", "lastProbeTime": null,
                "lastTransitionTime": "2025-01-01T00:00:00Z", "observedGeneration": 1 })
        };
        let specs = [
            json!({ "containers": containers }),
            json!({ "containers": containers, "priority": 0, "nodeSelector": { "nodeName": "x" } }),
            json!({ "containers": containers, "tolerations": [{ "operator": "Exists" }] }),
        ];
        let statuses = [
            json!({ "phase": "Pending", "qosClass": "Burstable" }),
            json!({ "phase": "Pending", "conditions": [] }),
            json!({ "conditions": [condition("Ready", "False"), condition("PodScheduled", "False")] }),
            json!({ "conditions": [condition("PodScheduled", "True"), condition("Ready", "False")], "phase": "x" }),
        ];
        for spec in &specs {
            for status in &statuses {
                let (short, long) = both(&pod(spec.clone(), status.clone())).await;
                assert_eq!(short.expect("nothing stands in the way"), long);
            }
        }
        assert!(both(&pod(specs[0].clone(), json!({}))).await.0.is_none(), "nothing to place conditions by");
    }

    #[tokio::test]
    async fn whatever_stands_in_the_way_is_left_to_the_long_way() {
        let kind = crate::kinds::builtin().iter().find(|kind| kind.plural == "pods").unwrap();
        let table = [
            (json!({ "metadata": { "uid": "other" } }), "another pod"),
            (json!({ "metadata": { "uid": "u", "deletionTimestamp": NOW } }), "deleted"),
            (json!({ "spec": { "nodeName": "n2" } }), "bound"),
            (json!({ "spec": { "schedulingGates": [{ "name": "g" }] } }), "gated"),
        ];
        for (part, what) in table {
            let mut pod = json!({ "metadata": { "name": "p", "uid": "u" }, "spec": { "a": 1 }, "status": { "phase": "x" } });
            for (name, fields) in part.as_object().unwrap() {
                for (field, value) in fields.as_object().unwrap() {
                    pod[name][field] = value.clone();
                }
            }
            let store = Store::in_memory();
            let write = Write { key: "/p".into(), expect: Expect::Any, change: encode::put(kind, &pod) };
            let record = store.commit(write).await.unwrap();
            assert!(change(kind, &record, "u", "n", NOW).is_none(), "{what}");
        }
    }
}
