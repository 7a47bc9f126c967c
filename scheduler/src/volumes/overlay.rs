//! Objects as the watch shows them, with our own decisions about them on top until the watch has caught up.
//!
//! An assumption is what an object will be once a write of ours has gone through. It hides the object from the moment
//! of the decision, is dropped when the write is given up, and ends when the watch shows a newer object. Upstream:
//! `util/assumecache`.

use component::informers::Key;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustc_hash::FxHashMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Overlay<K> {
    seen: FxHashMap<Key, Arc<K>>,
    assumed: FxHashMap<Key, Assumed<K>>,
}

#[derive(Clone, Debug)]
struct Assumed<K> {
    object: Arc<K>,
    /// The server has said so; the watch will show it.
    written: bool,
}

impl<K> Default for Overlay<K> {
    fn default() -> Self {
        Self { seen: FxHashMap::default(), assumed: FxHashMap::default() }
    }
}

impl<K: Metadata<Ty = ObjectMeta>> Overlay<K> {
    /// The object as it is or will be.
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.assumed.get(key).map(|assumed| &assumed.object).or_else(|| self.seen.get(key))
    }

    /// The object as the watch shows it; `None` also while the watch lags behind what we know or decided.
    pub(crate) fn settled(&self, key: &Key) -> Option<&Arc<K>> {
        if self.assumed.contains_key(key) { None } else { self.seen.get(key) }
    }

    /// The watch shows this. Answers what it showed before.
    pub(crate) fn see(&mut self, key: Key, object: Arc<K>) -> Option<Arc<K>> {
        let shown = version(&*object);
        let over = self.assumed.get(&key).is_some_and(|assumed| {
            let wanted = version(&*assumed.object);
            shown > wanted || (assumed.written && shown == wanted)
        });
        if over {
            self.assumed.remove(&key);
        }
        self.seen.insert(key, object)
    }

    /// Whether we are about to write it, and the server has not said that it has.
    pub(crate) fn is_pending(&self, key: &Key) -> bool {
        self.assumed.get(key).is_some_and(|assumed| !assumed.written)
    }

    /// The object is gone.
    pub(crate) fn gone(&mut self, key: &Key) -> Option<Arc<K>> {
        self.assumed.remove(key);
        self.seen.remove(key)
    }

    /// We are about to write this.
    pub(crate) fn assume(&mut self, key: Key, object: Arc<K>) {
        self.assumed.insert(key, Assumed { object, written: false });
    }

    /// The server has taken our write; this is its answer.
    pub(crate) fn wrote(&mut self, key: Key, object: Arc<K>) {
        let caught_up = match self.seen.get(&key) {
            Some(seen) => version(&**seen) >= version(&*object),
            // One that we have made is still to be shown; one that is gone was forgotten.
            None => !self.assumed.contains_key(&key),
        };
        if caught_up {
            self.assumed.remove(&key);
        } else {
            self.assumed.insert(key, Assumed { object, written: true });
        }
    }

    /// What we were about to write is given up; what is written stays.
    pub(crate) fn restore(&mut self, key: &Key) {
        if self.assumed.get(key).is_some_and(|assumed| !assumed.written) {
            self.assumed.remove(key);
        }
    }
}

/// Versions are ordered numbers (KEP-5504); one that is not a number is older than all.
fn version<K: Metadata<Ty = ObjectMeta>>(object: &K) -> u64 {
    let version = object.metadata().resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::Claim;
    use serde_json::json;

    fn claim(version: &str, volume: &str) -> Arc<Claim> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": "c", "namespace": "a", "resourceVersion": version},
                "spec": {"volumeName": volume},
            }))
            .unwrap(),
        )
    }

    fn told(overlay: &Overlay<Claim>) -> (Option<&str>, bool) {
        let key = Key::new("a", "c");
        (overlay.get(&key).and_then(|claim| claim.volume()), overlay.settled(&key).is_some())
    }

    #[test]
    fn an_assumption_ends_when_the_watch_has_caught_up() {
        let key = Key::new("a", "c");
        let mut overlay = Overlay::default();
        overlay.see(key.clone(), claim("5", ""));
        overlay.assume(key.clone(), claim("5", "v"));
        assert_eq!(told(&overlay), (Some("v"), false), "hides what the watch shows");
        overlay.see(key.clone(), claim("5", ""));
        assert_eq!(told(&overlay), (Some("v"), false), "the same version again says nothing new");
        overlay.wrote(key.clone(), claim("9", "v"));
        overlay.see(key.clone(), claim("7", ""));
        assert_eq!(told(&overlay), (Some("v"), false), "a version from before our write");
        overlay.restore(&key);
        assert_eq!(told(&overlay), (Some("v"), false), "what is written cannot be given up");
        overlay.see(key.clone(), claim("9", "v"));
        assert_eq!(told(&overlay), (Some("v"), true), "the watch shows our write");
    }

    #[test]
    fn what_is_given_up_was_never_there() {
        let key = Key::new("a", "c");
        let mut overlay = Overlay::default();
        overlay.see(key.clone(), claim("5", ""));
        overlay.assume(key.clone(), claim("5", "v"));
        overlay.restore(&key);
        assert_eq!(told(&overlay), (None, true));
        overlay.assume(key.clone(), claim("5", "v"));
        overlay.see(key.clone(), claim("6", "w"));
        assert_eq!(told(&overlay), (Some("w"), true), "somebody else was quicker");
        overlay.wrote(key.clone(), claim("6", "w"));
        assert_eq!(told(&overlay), (Some("w"), true), "the watch was quicker than the answer");
    }
}
