//! The objects that policies are about, and the plane that follows from them.
//!
//! Promise: being told of an object costs what that object touches: a pod the groups that may select it, a policy the
//! pods of this node that it selects. [`World::settle`] puts isolations in step; until then the plane is not whole.
//! Groups, blocks and names are looked up only while a pod of this node needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use component::informers::Key;
use rustc_hash::{FxHashMap, FxHashSet};

use super::plane::{Changes, Direction, Entry, Id, Isolation, Plane};
use super::pods::PodFacts;
use super::policy::{Group, Peers, Policy, Ports, Rule, Rules, Scope};
use crate::addresses::Protocol;

type Labels = BTreeMap<String, String>;

/// What is known of the cluster, and its plane.
#[derive(Debug, Default)]
pub struct World {
    pub plane: Plane,
    namespaces: FxHashMap<String, Labels>,
    pods: FxHashMap<Key, PodFacts>,
    pods_in: FxHashMap<String, BTreeSet<Key>>,
    policies: FxHashMap<Key, Policy>,
    policies_in: FxHashMap<String, BTreeSet<Key>>,
    /// Pods of this node, by namespace and by address. Two pods have one address while one of them ends.
    local_in: FxHashMap<String, BTreeSet<Key>>,
    at: FxHashMap<IpAddr, BTreeSet<Key>>,
    groups: FxHashMap<Id, (Arc<Group>, usize)>,
    /// Groups whose pods are all of one namespace, and the others.
    groups_in: FxHashMap<String, BTreeSet<Id>>,
    groups_anywhere: BTreeSet<Id>,
    names: FxHashMap<Id, NameUse>,
    /// Addresses of this node's pods whose isolation may be another.
    unsettled: FxHashSet<IpAddr>,
}

/// Who looks up a port by name: rules about pods of this node, and rules about any.
#[derive(Debug)]
struct NameUse {
    port: (Protocol, String),
    ingress: usize,
    egress: usize,
}

impl NameUse {
    /// Whether the name is looked up for this pod.
    const fn concerns(&self, pod: &PodFacts) -> bool {
        self.egress > 0 || (self.ingress > 0 && pod.local)
    }
}

impl World {
    /// A pod is so, or is gone.
    pub fn set_pod(&mut self, key: &Key, new: Option<PodFacts>, changes: &mut Changes) {
        if self.pods.get(key) == new.as_ref() {
            return;
        }
        let old = self.pods.remove(key);
        let labels = self.namespaces.get(&key.namespace).cloned().unwrap_or_default();
        let in_namespace = self.groups_in.get(&key.namespace).into_iter().flatten();
        for id in in_namespace.chain(&self.groups_anywhere) {
            let (group, _) = &self.groups[id];
            let members = |pod: &Option<PodFacts>| -> Vec<Entry> {
                let selected = pod.iter().filter(|pod| group.selects(&key.namespace, &labels, &pod.labels));
                selected.flat_map(|pod| members(group.id, pod)).collect()
            };
            exchange(&mut self.plane, members(&old), members(&new), changes);
        }
        for (id, name) in &self.names {
            let ports = |pod: &Option<PodFacts>| -> Vec<Entry> {
                let concerned = pod.iter().filter(|pod| name.concerns(pod));
                concerned.flat_map(|pod| named_ports(*id, &name.port, pod)).collect()
            };
            exchange(&mut self.plane, ports(&old), ports(&new), changes);
        }
        for pod in [&old, &new].into_iter().flatten().filter(|pod| pod.local) {
            self.unsettled.extend(&pod.addresses);
        }
        if let Some(old) = old.filter(|old| old.local) {
            old.addresses.iter().for_each(|address| forget(&mut self.at, address, key));
            forget(&mut self.local_in, &key.namespace, key);
        }
        match new {
            Some(new) => {
                if new.local {
                    for address in &new.addresses {
                        self.at.entry(*address).or_default().insert(key.clone());
                    }
                    self.local_in.entry(key.namespace.clone()).or_default().insert(key.clone());
                }
                self.pods_in.entry(key.namespace.clone()).or_default().insert(key.clone());
                self.pods.insert(key.clone(), new);
            }
            None => forget(&mut self.pods_in, &key.namespace, key),
        }
    }

    /// A namespace has these labels; none if it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>, changes: &mut Changes) {
        let new = labels.unwrap_or_default();
        let old = self.namespaces.insert(name.to_owned(), new.clone()).unwrap_or_default();
        if old == new {
            return;
        }
        for id in &self.groups_anywhere {
            let (group, _) = &self.groups[id];
            for key in self.pods_in.get(name).into_iter().flatten() {
                let pod = &self.pods[key];
                let entries =
                    |selected: bool| if selected { members(*id, pod).collect() } else { Vec::new() };
                let [was, is] = [&old, &new].map(|labels| entries(group.selects(name, labels, &pod.labels)));
                exchange(&mut self.plane, was, is, changes);
            }
        }
    }

    /// A policy is so, or is gone.
    pub fn set_policy(&mut self, key: &Key, new: Option<Policy>) {
        if self.policies.get(key) == new.as_ref() {
            return;
        }
        let old = self.policies.remove(key);
        let touched = self.local_in.get(&key.namespace).into_iter().flatten().map(|key| &self.pods[key]);
        let of_either = touched
            .filter(|pod| [&old, &new].into_iter().flatten().any(|policy| policy.pods.matches(&pod.labels)));
        self.unsettled.extend(of_either.flat_map(|pod| &pod.addresses));
        match new {
            Some(new) => {
                self.policies_in.entry(key.namespace.clone()).or_default().insert(key.clone());
                self.policies.insert(key.clone(), new);
            }
            None => forget(&mut self.policies_in, &key.namespace, key),
        }
    }

    /// The pods that are known.
    pub fn pods(&self) -> impl Iterator<Item = (&Key, &PodFacts)> {
        self.pods.iter()
    }

    /// How many policies are known.
    #[must_use]
    pub fn policies(&self) -> usize {
        self.policies.len()
    }

    /// Puts the isolations of this node's pods in step with all that was told.
    pub fn settle(&mut self, changes: &mut Changes) {
        for address in std::mem::take(&mut self.unsettled) {
            for direction in Direction::BOTH {
                let wanted = self.isolation(direction, address);
                let wanted_id = wanted.as_ref().map(|isolation| isolation.id);
                let before = self.plane.isolated.get(&(direction, address)).copied();
                if before == wanted_id {
                    continue;
                }
                // First what is new, so that what both need stays.
                if let Some(isolation) = &wanted {
                    self.acquire(isolation, changes);
                    self.plane.add(Entry::Loopback { address }, changes);
                }
                if let Some(before) = before {
                    self.release(before, changes);
                    self.plane.remove(Entry::Loopback { address }, changes);
                }
                self.plane.isolate((direction, address), wanted_id, changes);
            }
        }
    }

    /// What is allowed to the pod at an address; `None` for everything.
    fn isolation(&self, direction: Direction, address: IpAddr) -> Option<Arc<Isolation>> {
        let holders = self.at.get(&address)?.iter().map(|key| (key, &self.pods[key]));
        let (key, pod) = holders.max_by_key(|(key, pod)| (!pod.ending, pod.created, (*key).clone()))?;
        let all = self.policies_in.get(&key.namespace)?.iter().map(|key| &self.policies[key]);
        let mut isolated = false;
        let mut rules = Rules::new();
        for allowed in
            all.filter(|policy| policy.pods.matches(&pod.labels)).filter_map(|p| p.rules(direction))
        {
            isolated = true;
            rules.extend(allowed.iter().map(|(id, rule)| (*id, Arc::clone(rule))));
        }
        isolated.then(|| Arc::new(Isolation::new(direction, rules)))
    }

    fn acquire(&mut self, isolation: &Arc<Isolation>, changes: &mut Changes) {
        if !self.plane.acquire(isolation, changes) {
            return;
        }
        for rule in isolation.rules.values() {
            for group in rule.groups() {
                self.acquire_group(group, changes);
            }
            for entry in entries(rule) {
                self.plane.add(entry, changes);
            }
            if let Ports::Some(set) = &rule.ports {
                for (id, port) in &set.named {
                    self.use_name(*id, port, isolation.direction, 1, changes);
                }
            }
        }
    }

    fn release(&mut self, id: Id, changes: &mut Changes) {
        let Some(isolation) = self.plane.release(id, changes) else { return };
        for rule in isolation.rules.values() {
            for group in rule.groups() {
                self.release_group(group, changes);
            }
            for entry in entries(rule) {
                self.plane.remove(entry, changes);
            }
            if let Ports::Some(set) = &rule.ports {
                for (id, port) in &set.named {
                    self.use_name(*id, port, isolation.direction, -1, changes);
                }
            }
        }
    }

    fn acquire_group(&mut self, group: &Arc<Group>, changes: &mut Changes) {
        let (_, users) = self.groups.entry(group.id).or_insert_with(|| (Arc::clone(group), 0));
        *users += 1;
        if *users > 1 {
            return;
        }
        match group.namespace() {
            Some(namespace) => drop(self.groups_in.entry(namespace.to_owned()).or_default().insert(group.id)),
            None => drop(self.groups_anywhere.insert(group.id)),
        }
        for entry in self.members_of(group) {
            self.plane.add(entry, changes);
        }
    }

    fn release_group(&mut self, group: &Arc<Group>, changes: &mut Changes) {
        let Some((_, users)) = self.groups.get_mut(&group.id) else { return };
        *users -= 1;
        if *users > 0 {
            return;
        }
        self.groups.remove(&group.id);
        match group.namespace() {
            Some(namespace) => forget(&mut self.groups_in, namespace, &group.id),
            None => drop(self.groups_anywhere.remove(&group.id)),
        }
        for entry in self.members_of(group) {
            self.plane.remove(entry, changes);
        }
    }

    fn members_of(&self, group: &Group) -> Vec<Entry> {
        let none = Labels::new();
        let namespaces =
            self.pods_in.iter().filter(|(name, _)| group.namespace().is_none_or(|only| only == *name));
        let pods = namespaces.flat_map(|(name, keys)| {
            let labels = self.namespaces.get(name).unwrap_or(&none);
            let pods = keys.iter().map(|key| &self.pods[key]);
            pods.filter(move |pod| group.selects(name, labels, &pod.labels))
        });
        pods.flat_map(|pod| members(group.id, pod)).collect()
    }

    fn use_name(
        &mut self,
        id: Id,
        port: &(Protocol, String),
        direction: Direction,
        by: isize,
        changes: &mut Changes,
    ) {
        let name =
            self.names.entry(id).or_insert_with(|| NameUse { port: port.clone(), ingress: 0, egress: 0 });
        let wanted = |name: &NameUse| (name.egress > 0, name.ingress > 0 || name.egress > 0);
        let before = wanted(name);
        let users = match direction {
            Direction::Ingress => &mut name.ingress,
            Direction::Egress => &mut name.egress,
        };
        *users = users.saturating_add_signed(by);
        let after = wanted(name);
        if after == (false, false) {
            self.names.remove(&id);
        }
        if before == after {
            return;
        }
        for pod in self.pods.values() {
            let concerned = |(all, local): (bool, bool)| all || (local && pod.local);
            let ports = |is: bool| if is { named_ports(id, port, pod).collect() } else { Vec::new() };
            exchange(&mut self.plane, ports(concerned(before)), ports(concerned(after)), changes);
        }
    }
}

impl Rule {
    fn groups(&self) -> &[Arc<Group>] {
        match &self.peers {
            Peers::Some { pods, .. } => pods,
            Peers::All => &[],
        }
    }
}

impl Group {
    fn selects(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        let here = match &self.scope {
            Scope::Namespace(name) => name == namespace,
            Scope::Namespaces(selector) => selector.matches(namespace_labels),
        };
        here && self.pods.matches(labels)
    }

    /// The one namespace that its pods are of, if there is one. Who writes `podSelector` alone means his own.
    fn namespace(&self) -> Option<&str> {
        match &self.scope {
            Scope::Namespace(name) => Some(name),
            Scope::Namespaces(_) => None,
        }
    }
}

/// What a rule looks up besides pods and names.
fn entries(rule: &Rule) -> Vec<Entry> {
    let mut all = Vec::new();
    if let Peers::Some { blocks: Some(blocks), .. } = &rule.peers {
        let range =
            |(first, last): &(IpAddr, IpAddr)| Entry::Range { blocks: blocks.id, first: *first, last: *last };
        all.extend(blocks.ranges.iter().map(range));
    }
    if let Ports::Some(set) = &rule.ports {
        let ports = set.id;
        all.extend(set.exact.iter().map(|(protocol, port)| Entry::Port {
            ports,
            protocol: *protocol,
            port: *port,
        }));
        let range = |(protocol, first, last): &(Protocol, u16, u16)| Entry::PortRange {
            ports,
            protocol: *protocol,
            first: *first,
            last: *last,
        };
        all.extend(set.ranges.iter().map(range));
    }
    all
}

fn members(group: Id, pod: &PodFacts) -> impl Iterator<Item = Entry> {
    pod.addresses.iter().map(move |address| Entry::Member { group, address: *address })
}

fn named_ports(name: Id, port: &(Protocol, String), pod: &PodFacts) -> impl Iterator<Item = Entry> {
    let called = pod.ports.iter().filter(|(protocol, name, _)| (*protocol, name) == (port.0, &port.1));
    called.flat_map(move |(protocol, _, number)| {
        pod.addresses.iter().map(move |address| Entry::NamedPort {
            name,
            address: *address,
            protocol: *protocol,
            port: *number,
        })
    })
}

/// New users first, so that an entry that stays is not taken away in between.
fn exchange(plane: &mut Plane, old: Vec<Entry>, new: Vec<Entry>, changes: &mut Changes) {
    if old != new {
        new.into_iter().for_each(|entry| plane.add(entry, changes));
        old.into_iter().for_each(|entry| plane.remove(entry, changes));
    }
}

/// Takes one out of the set of a key, and the set with the last.
fn forget<K, Q, V, W>(sets: &mut FxHashMap<K, BTreeSet<V>>, of: &Q, one: &W)
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
    V: std::borrow::Borrow<W> + Ord,
    W: Ord + ?Sized,
{
    if let Some(set) = sets.get_mut(of) {
        set.remove(one);
        if set.is_empty() {
            sets.remove(of);
        }
    }
}
