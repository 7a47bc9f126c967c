//! The objects of a kind with their indexes, and the readers of their changes.
//!
//! Promise: objects, indexes and what readers are told change together, under one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::changes::{Change, Changes, Feed};
use super::{Key, Object, revision};

/// The index by the UID of the controller.
pub(super) const CONTROLLER: &str = "controller";

type Terms<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;
type Objects<K> = BTreeMap<Arc<Key>, Arc<K>>;

pub(super) struct Store<K> {
    objects: Objects<K>,
    indexes: BTreeMap<&'static str, Index<K>>,
    readers: Vec<Weak<Feed<K>>>,
}

struct Index<K> {
    terms: Terms<K>,
    entries: BTreeMap<String, Objects<K>>,
}

impl<K: Object> Store<K> {
    pub(super) fn new() -> Self {
        let mut store = Self { objects: BTreeMap::new(), indexes: BTreeMap::new(), readers: Vec::new() };
        store.add_index(CONTROLLER, Box::new(|object: &K| controller_uid(object).into_iter().collect()));
        store
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        let inside = self.objects.range::<Key, _>(&first..).take_while(|(key, _)| key.namespace == namespace);
        inside.map(|(_, object)| Arc::clone(object)).collect()
    }

    pub(super) fn by_index(&self, name: &str, term: &str) -> Vec<Arc<K>> {
        let index = self.indexes.get(name);
        debug_assert!(index.is_some(), "no index {name}");
        let objects = index.and_then(|index| index.entries.get(term));
        objects.map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn add_index(&mut self, name: &'static str, terms: Terms<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { terms, entries: BTreeMap::new() };
        self.objects.iter().for_each(|(key, object)| index.insert(key, object));
        self.indexes.insert(name, index);
    }

    /// A reader of changes who is told of everything that is there first.
    pub(super) fn subscribe(&mut self) -> Changes<K> {
        let feed = Arc::new(Feed::new());
        for (key, object) in &self.objects {
            feed.push(key, Change::Added(Arc::clone(object)));
        }
        self.readers.push(Arc::downgrade(&feed));
        Changes::new(feed)
    }

    /// Takes an object's new state.
    pub(super) fn apply(&mut self, object: K) {
        let (key, object) = (Key::of(&object), Arc::new(object));
        let known = self.objects.get_key_value(&key).map(|(key, old)| (Arc::clone(key), Arc::clone(old)));
        match known {
            Some((_, old)) if is_same_state(&*old, &*object) => {}
            Some((key, old)) if is_same_object(&*old, &*object) => {
                self.unindex(&key, &old);
                self.insert(&key, &object);
                self.tell(&key, &Change::Updated { old, new: object });
            }
            Some((key, old)) => {
                // Deleted and created again under the same name, and the delete was not seen.
                self.unindex(&key, &old);
                self.tell(&key, &Change::Deleted(old));
                self.insert(&key, &object);
                self.tell(&key, &Change::Added(object));
            }
            None => {
                let key = Arc::new(key);
                self.insert(&key, &object);
                self.tell(&key, &Change::Added(object));
            }
        }
    }

    /// Takes an object away; `last` is its final state.
    pub(super) fn delete(&mut self, last: K) {
        self.remove(&Key::of(&last), |_| Arc::new(last));
    }

    /// Takes a whole list: what is not in it is gone, with its last known state.
    pub(super) fn replace(&mut self, mut objects: Vec<K>) {
        let mut keys: Vec<Key> = objects.iter().map(Key::of).collect();
        keys.sort_unstable();
        let gone: Vec<Arc<Key>> =
            self.objects.keys().filter(|key| keys.binary_search(key).is_err()).cloned().collect();
        for key in gone {
            self.remove(&key, Arc::clone);
        }
        // Told in the order in which they were written, as a watch would have.
        objects.sort_by_cached_key(|object| revision(object.meta().resource_version.as_deref()));
        objects.into_iter().for_each(|object| self.apply(object));
    }

    fn remove(&mut self, key: &Key, last: impl FnOnce(&Arc<K>) -> Arc<K>) {
        let Some((key, old)) = self.objects.remove_entry(key) else { return };
        self.unindex(&key, &old);
        self.tell(&key, &Change::Deleted(last(&old)));
    }

    fn insert(&mut self, key: &Arc<Key>, object: &Arc<K>) {
        self.objects.insert(Arc::clone(key), Arc::clone(object));
        self.indexes.values_mut().for_each(|index| index.insert(key, object));
    }

    fn unindex(&mut self, key: &Key, object: &K) {
        self.indexes.values_mut().for_each(|index| index.remove(key, object));
    }

    fn tell(&mut self, key: &Arc<Key>, change: &Change<K>) {
        self.readers.retain(|reader| {
            let reader = reader.upgrade();
            reader.is_some_and(|reader| {
                reader.push(key, change.clone());
                true
            })
        });
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &Arc<Key>, object: &Arc<K>) {
        for term in (self.terms)(object) {
            self.entries.entry(term).or_default().insert(Arc::clone(key), Arc::clone(object));
        }
    }

    fn remove(&mut self, key: &Key, object: &K) {
        for term in (self.terms)(object) {
            if let Some(objects) = self.entries.get_mut(&term) {
                objects.remove(key);
                if objects.is_empty() {
                    self.entries.remove(&term);
                }
            }
        }
    }
}

fn controller_uid<K: Object>(object: &K) -> Option<String> {
    let owners = object.meta().owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next()
}

fn is_same_object<K: Object>(a: &K, b: &K) -> bool {
    a.meta().uid == b.meta().uid
}

fn is_same_state<K: Object>(a: &K, b: &K) -> bool {
    is_same_object(a, b)
        && a.meta().resource_version == b.meta().resource_version
        && a.meta().resource_version.is_some()
}
