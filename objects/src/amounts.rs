//! Amounts by resource name, as in `requests` or `allocatable`, in little memory.
//!
//! Promise: a sorted list. A pod has a handful of these with two entries each; as B-trees they would be half of
//! what a held pod costs. Well-known names are not allocated.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::quantity::Quantity;

type Name = Cow<'static, str>;

/// Quantities by resource name, sorted by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Amounts(Vec<(Name, Quantity)>);

impl Amounts {
    /// The amount of a resource.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Quantity> {
        let at = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether the resource is named.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_ref(), amount))
    }

    /// How many resources are named.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no resource is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Quantity)> for Amounts {
    /// The last amount of a name counts.
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(amounts: I) -> Self {
        let mut list: Vec<(Name, Quantity)> = Vec::new();
        for (name, amount) in amounts {
            match list.binary_search_by(|(known, _)| known.as_ref().cmp(&name)) {
                Ok(at) => list[at].1 = amount,
                Err(at) => list.insert(at, (interned(name), amount)),
            }
        }
        list.shrink_to_fit();
        Self(list)
    }
}

fn interned(name: String) -> Name {
    match name.as_str() {
        "cpu" => Cow::Borrowed("cpu"),
        "memory" => Cow::Borrowed("memory"),
        "ephemeral-storage" => Cow::Borrowed("ephemeral-storage"),
        "pods" => Cow::Borrowed("pods"),
        _ => Cow::Owned(name),
    }
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Amounts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of quantities")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amounts, A::Error> {
                std::iter::from_fn(|| map.next_entry::<String, Quantity>().transpose()).collect()
            }
        }

        deserializer.deserialize_map(Map)
    }
}

impl fmt::Debug for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.iter().map(|(name, amount)| (name, amount.to_string()));
        f.debug_map().entries(texts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_map_in_any_order() {
        let read = |json: &str| serde_json::from_str::<Amounts>(json).unwrap();
        let amounts = read(r#"{"memory": "1Gi", "example.com/gpu": 1, "cpu": "100m", "memory": "2Gi"}"#);
        assert_eq!(amounts.get("cpu").unwrap().milli_value(), 100);
        assert_eq!(format!("{amounts:?}"), r#"{"cpu": "100m", "example.com/gpu": "1", "memory": "2Gi"}"#);
        assert!(!amounts.contains_key("pods"));
        assert_eq!(amounts.len(), 3);
        assert_eq!(amounts, read(r#"{"cpu": "0.1", "example.com/gpu": "1", "memory": "2048Mi"}"#));
        assert!(serde_json::from_str::<Amounts>(r#"{"cpu": "x"}"#).is_err());
    }
}
