//! The store's promises, seen through its public face.

mod disk;
mod memory;
mod model;

use serde_json::{Value, json};

use super::*;

const POD: &str = "/registry/core/pods/default/web";
const PODS: &str = "/registry/core/pods/";

fn draft(spec: u64) -> Draft {
    Draft::encode(&json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": spec}))
}

fn put(key: &str, expect: Expect, spec: u64) -> Write {
    Write { key: key.into(), expect, change: Change::Put(draft(spec), Header::default()) }
}

fn delete(key: &str, expect: Expect) -> Write {
    Write { key: key.into(), expect, change: Change::Delete(draft(0), Header::default()) }
}

fn object(record: &Record) -> Value {
    serde_json::from_slice(&record.bytes).unwrap()
}

/// A header with just the name, made from the key, to see that loading asks for it.
fn extract(key: &str, _: &[u8]) -> Header {
    let identity = Identity { name: key.rsplit('/').next().unwrap(), ..Identity::default() };
    Header::new(identity, [""; 0], [], false)
}
