//! Who owns whom: a graph of every object in the cluster, fed by watches, keyed by UID.
//!
//! Keeps true: an edge for every owner reference seen, also to owners not seen yet (*virtual* nodes, which are
//! then looked up live). Answers each change with the objects that must be looked at again. It never decides
//! that something is garbage: that takes a live look (see `decide`). Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Holds an owner back until the dependents that block it are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Holds an owner back until its dependents have been let go.
pub(super) const ORPHAN: &str = "orphan";

/// Where an object is. The namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Identity {
    /// The owner that `reference`, found on an object in `namespace`, points at.
    pub(super) fn of_owner(reference: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
            uid: reference.uid.clone(),
        }
    }

    /// Whether `reference`, found in `namespace`, names this object. A cluster-scoped owner may be named from
    /// anywhere; the version of its group does not matter.
    fn named_by(&self, reference: &OwnerReference, namespace: &str) -> bool {
        group(&self.api_version) == group(&reference.api_version)
            && self.kind == reference.kind
            && self.name == reference.name
            && (self.namespace.is_empty() || self.namespace == namespace)
    }
}

pub(super) fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// An object as a watch showed it.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) identity: Identity,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) deleting: bool,
    pub(super) foreground: bool,
    pub(super) orphan: bool,
}

impl Observed {
    /// The facts in an object's metadata; none when it has no UID.
    pub(super) fn of(api_version: &str, kind: &str, meta: &ObjectMeta) -> Option<Self> {
        let has = |finalizer| meta.finalizers.iter().flatten().any(|found| found == finalizer);
        Some(Self {
            identity: Identity {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone()?,
                uid: meta.uid.clone()?,
            },
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        })
    }
}

/// An object in the graph.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) dependents: BTreeSet<String>,
    pub(super) deleting: bool,
    /// Being deleted in the foreground: waits for its dependents.
    pub(super) deleting_dependents: bool,
    orphaning: bool,
    /// Known only from the references to it.
    pub(super) assumed: bool,
}

/// An object to look at again, by UID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Attempt {
    /// Is it garbage, or is it an owner that may go now?
    Delete(String),
    /// Let its dependents go.
    Orphan(String),
}

/// The graph. See the module's text for what it keeps true.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
}

impl Graph {
    pub(super) fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Dependents that hold up the foreground deletion of `uid`.
    pub(super) fn blocking(&self, uid: &str) -> Vec<&Node> {
        let blocks =
            |reference: &OwnerReference| reference.uid == uid && reference.block_owner_deletion == Some(true);
        self.dependents(uid).filter(|node| node.owners.iter().any(blocks)).collect()
    }

    /// Everything that names `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Node> {
        let uids = self.nodes.get(uid).into_iter().flat_map(|node| &node.dependents);
        uids.filter_map(|uid| self.nodes.get(uid))
    }

    /// Takes in an object that was added or changed.
    pub(super) fn observe(&mut self, observed: Observed) -> Vec<Attempt> {
        let uid = observed.identity.uid.clone();
        let mut attempts = BTreeSet::new();
        let known = self.nodes.remove(&uid);
        let (owners_before, dependents, was_orphaning, was_waiting) = match known {
            Some(node) => {
                if node.assumed {
                    // Those that named it wrongly named nothing: they are to be checked.
                    attempts.extend(self.misnaming(&observed.identity, &node.dependents));
                }
                (node.owners, node.dependents, node.orphaning, node.deleting_dependents)
            }
            None => (Vec::new(), BTreeSet::new(), false, false),
        };
        let node = Node {
            orphaning: observed.deleting && observed.orphan,
            deleting_dependents: observed.deleting && observed.foreground,
            deleting: observed.deleting,
            identity: observed.identity,
            owners: observed.owners,
            dependents,
            assumed: false,
        };
        if node.orphaning && !was_orphaning {
            attempts.insert(Attempt::Orphan(uid.clone()));
        }
        if node.deleting_dependents && !was_waiting {
            attempts.extend(node.dependents.iter().cloned().map(Attempt::Delete));
            attempts.insert(Attempt::Delete(uid.clone()));
        }
        attempts.extend(self.relink(&node, &owners_before));
        self.nodes.insert(uid, node);
        attempts.into_iter().collect()
    }

    /// Takes in that the object is gone: its dependents may be garbage, an owner that waited may go on.
    pub(super) fn gone(&mut self, uid: &str) -> Vec<Attempt> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut attempts: BTreeSet<Attempt> = node.dependents.iter().cloned().map(Attempt::Delete).collect();
        for owner in &node.owners {
            attempts.extend(self.unlink(&owner.uid, uid));
        }
        attempts.into_iter().collect()
    }

    /// Takes in that a live look found nothing at `identity`. Objects that name the same UID elsewhere keep it.
    pub(super) fn absent(&mut self, identity: &Identity) -> Vec<Attempt> {
        match self.nodes.get(&identity.uid) {
            None => return Vec::new(),
            Some(node) if !node.assumed => return self.gone(&identity.uid),
            Some(_) => {}
        }
        let Some(mut node) = self.nodes.remove(&identity.uid) else { return Vec::new() };
        let named: BTreeMap<String, bool> = node
            .dependents
            .iter()
            .map(|dependent| (dependent.clone(), self.names(dependent, identity)))
            .collect();
        let mut attempts: Vec<Attempt> =
            named.iter().filter(|(_, names)| **names).map(|(uid, _)| Attempt::Delete(uid.clone())).collect();
        node.dependents.retain(|dependent| !named[dependent]);
        if let Some(other) = node.dependents.first().and_then(|uid| self.owner_named(uid, &identity.uid)) {
            node.identity = other;
            attempts.push(Attempt::Delete(identity.uid.clone()));
            self.nodes.insert(identity.uid.clone(), node);
        }
        attempts
    }

    /// Moves the edges of `node` from its owners of before to those of now.
    fn relink(&mut self, node: &Node, before: &[OwnerReference]) -> Vec<Attempt> {
        let uid = &node.identity.uid;
        let mut attempts = Vec::new();
        for old in before {
            let kept = node.owners.iter().find(|owner| owner.uid == old.uid);
            let unblocked = old.block_owner_deletion == Some(true)
                && kept.is_none_or(|owner| owner.block_owner_deletion != Some(true));
            if kept.is_none() {
                attempts.extend(self.unlink(&old.uid, uid));
            } else if unblocked && self.nodes.get(&old.uid).is_some_and(|owner| owner.deleting_dependents) {
                attempts.push(Attempt::Delete(old.uid.clone()));
            }
        }
        for owner in node.owners.iter().filter(|owner| !before.contains(owner)) {
            attempts.extend(self.link(owner, node));
        }
        attempts
    }

    fn link(&mut self, reference: &OwnerReference, dependent: &Node) -> Option<Attempt> {
        let (uid, namespace) = (&dependent.identity.uid, &dependent.identity.namespace);
        if let Some(owner) = self.nodes.get_mut(&reference.uid) {
            owner.dependents.insert(uid.clone());
            let misnamed = !owner.assumed && !owner.identity.named_by(reference, namespace);
            return misnamed.then(|| Attempt::Delete(uid.clone()));
        }
        if reference.uid == *uid {
            return None;
        }
        let assumed = Node {
            identity: Identity::of_owner(reference, namespace),
            owners: Vec::new(),
            dependents: [uid.clone()].into(),
            deleting: false,
            deleting_dependents: false,
            orphaning: false,
            assumed: true,
        };
        self.nodes.insert(reference.uid.clone(), assumed);
        Some(Attempt::Delete(reference.uid.clone()))
    }

    /// Cuts an edge; an owner that waited for its dependents is to be looked at, an assumed one without any is dropped.
    fn unlink(&mut self, owner: &str, dependent: &str) -> Option<Attempt> {
        let node = self.nodes.get_mut(owner)?;
        node.dependents.remove(dependent);
        if node.assumed && node.dependents.is_empty() {
            self.nodes.remove(owner);
            return None;
        }
        node.deleting_dependents.then(|| Attempt::Delete(owner.to_owned()))
    }

    fn misnaming(&self, owner: &Identity, dependents: &BTreeSet<String>) -> Vec<Attempt> {
        let wrong = dependents.iter().filter(|uid| !self.names(uid, owner));
        wrong.cloned().map(Attempt::Delete).collect()
    }

    fn names(&self, dependent: &str, owner: &Identity) -> bool {
        self.nodes.get(dependent).is_some_and(|node| {
            let mut references = node.owners.iter().filter(|reference| reference.uid == owner.uid);
            references.any(|reference| owner.named_by(reference, &node.identity.namespace))
        })
    }

    fn owner_named(&self, dependent: &str, owner: &str) -> Option<Identity> {
        let node = self.nodes.get(dependent)?;
        let reference = node.owners.iter().find(|reference| reference.uid == owner)?;
        Some(Identity::of_owner(reference, &node.identity.namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(kind: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: "v1".into(),
            kind: kind.into(),
            name: uid.into(),
            uid: uid.into(),
            block_owner_deletion: Some(true),
            controller: None,
        }
    }

    fn seen(namespace: &str, kind: &str, uid: &str, owners: &[OwnerReference]) -> Observed {
        let meta = ObjectMeta {
            name: Some(uid.into()),
            namespace: Some(namespace.into()),
            uid: Some(uid.into()),
            owner_references: Some(owners.to_vec()),
            ..ObjectMeta::default()
        };
        Observed::of("v1", kind, &meta).unwrap()
    }

    fn delete(uids: &[&str]) -> Vec<Attempt> {
        uids.iter().map(|uid| Attempt::Delete((*uid).to_owned())).collect()
    }

    #[test]
    fn an_owner_not_seen_yet_is_looked_up() {
        let mut graph = Graph::default();
        assert_eq!(graph.observe(seen("ns", "Pod", "pod", &[owner("Set", "set")])), delete(&["set"]));
        assert!(graph.node("set").unwrap().assumed);
        assert_eq!(graph.observe(seen("ns", "Set", "set", &[])), []);
        assert!(!graph.node("set").unwrap().assumed);
        assert_eq!(graph.gone("set"), delete(&["pod"]));
    }

    #[test]
    fn an_owner_that_never_was_condemns_its_dependents() {
        let mut graph = Graph::default();
        graph.observe(seen("ns", "Pod", "pod", &[owner("Set", "set")]));
        let identity = graph.node("set").unwrap().identity.clone();
        assert_eq!(graph.absent(&identity), delete(&["pod"]));
        assert!(graph.node("set").is_none());
    }

    #[test]
    fn the_same_uid_named_elsewhere_is_kept() {
        let mut graph = Graph::default();
        graph.observe(seen("one", "Pod", "wrong", &[owner("Set", "set")]));
        graph.observe(seen("two", "Pod", "right", &[owner("Set", "set")]));
        let identity = graph.node("set").unwrap().identity.clone();
        assert_eq!(identity.namespace, "one");
        assert_eq!(graph.absent(&identity), delete(&["wrong", "set"]));
        assert_eq!(graph.node("set").unwrap().identity.namespace, "two");
        assert_eq!(graph.observe(seen("two", "Set", "set", &[])), []);
        assert_eq!(graph.dependents("set").count(), 1);
    }

    #[test]
    fn a_reference_across_namespaces_is_checked() {
        let mut graph = Graph::default();
        graph.observe(seen("one", "Set", "set", &[]));
        assert_eq!(graph.observe(seen("two", "Pod", "pod", &[owner("Set", "set")])), delete(&["pod"]));
        // The other way round: the dependent is seen first.
        let mut graph = Graph::default();
        graph.observe(seen("two", "Pod", "pod", &[owner("Set", "set")]));
        assert_eq!(graph.observe(seen("one", "Set", "set", &[])), delete(&["pod"]));
        // A cluster-scoped owner may be named from anywhere.
        assert_eq!(graph.observe(seen("", "Node", "node", &[])), []);
        assert_eq!(graph.observe(seen("two", "Lease", "lease", &[owner("Node", "node")])), []);
    }

    #[test]
    fn foreground_deletion_waits_and_goes_on() {
        let mut graph = Graph::default();
        graph.observe(seen("ns", "Set", "set", &[]));
        graph.observe(seen("ns", "Pod", "a", &[owner("Set", "set")]));
        graph.observe(seen("ns", "Pod", "b", &[owner("Set", "set")]));
        let mut going = seen("ns", "Set", "set", &[]);
        (going.deleting, going.foreground) = (true, true);
        assert_eq!(graph.observe(going.clone()), delete(&["a", "b", "set"]));
        assert_eq!(graph.observe(going), [], "told once");
        assert_eq!(graph.blocking("set").len(), 2);
        assert_eq!(graph.gone("a"), delete(&["set"]));
        // Letting go of the block is as good as going.
        let mut free = owner("Set", "set");
        free.block_owner_deletion = Some(false);
        assert_eq!(graph.observe(seen("ns", "Pod", "b", &[free])), delete(&["set"]));
        assert_eq!(graph.blocking("set").len(), 0);
        assert_eq!(graph.observe(seen("ns", "Pod", "b", &[])), delete(&["set"]));
        assert_eq!(graph.gone("set"), []);
    }

    #[test]
    fn orphaning_is_told_once() {
        let mut graph = Graph::default();
        let mut going = seen("ns", "Set", "set", &[]);
        (going.deleting, going.orphan) = (true, true);
        assert_eq!(graph.observe(going.clone()), [Attempt::Orphan("set".into())]);
        assert_eq!(graph.observe(going), []);
    }
}
