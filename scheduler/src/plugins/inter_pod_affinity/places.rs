//! Numbers by place. A place is a label of a node: key and value.

use crate::cache::NodeInfo;
use rustc_hash::FxHashMap;

/// The numbers; a place whose number is 0 is not kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(FxHashMap<String, FxHashMap<String, i64>>);

impl Places {
    /// Adds to the place that `node` is in under this key; nothing if it has no such label.
    pub(super) fn add(&mut self, key: &str, node: &NodeInfo, by: i64) {
        let Some(value) = node.labels().get(key) else { return };
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), FxHashMap::default());
        }
        let values = self.0.get_mut(key).expect("just made");
        let number = values.get(value).copied().unwrap_or(0) + by;
        if number == 0 {
            values.remove(value);
        } else if let Some(known) = values.get_mut(value) {
            *known = number;
        } else {
            values.insert(value.clone(), number);
        }
        if values.is_empty() {
            self.0.remove(key);
        }
    }

    /// The number of the place that `node` is in under this key.
    pub(super) fn at(&self, key: &str, node: &NodeInfo) -> i64 {
        let number = || self.0.get(key)?.get(node.labels().get(key)?).copied();
        number().unwrap_or(0)
    }

    /// The keys under which there is any number.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
