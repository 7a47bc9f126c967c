//! Who is where, counted: pods by what others can tell of them, kept up to date by each pod that comes or goes.
//!
//! Pods with the same namespace and labels are one class. A counter is a question about classes ("matches this
//! selector in that namespace"), a wish is a term that pods on nodes have about others. Both count by node, so that
//! nobody walks pods to answer a cycle. Which classes a counter means and which wishes mean a class is worked out
//! once, when either is new, among those that a label they need lets find.

use super::sums::Source;
use crate::framework::Atom;
use crate::pod::PodInfo;
use crate::terms::{Namespaces, Term, Terms};
use objects::labels::Selector;
use rustc_hash::FxHashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The place of a node in the snapshot.
pub(super) type At = u32;
/// Pods with the same namespace and labels.
pub(super) type ClassId = usize;
/// A question about pods.
pub(super) type CounterId = usize;
/// A term that pods on nodes have.
pub(super) type WishId = usize;

/// Whom a counter counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Pods of one namespace that are not on their way out.
    Selected { namespace: String, selector: Selector },
    /// Pods that all terms mean.
    Meant(Vec<Term>),
}

/// What a term is to the pod that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Affinity,
    AntiAffinity,
    Preferred(i64),
    PreferredAnti(i64),
}

/// A term that pods have, and how many on which nodes.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) term: Term,
    pub(super) kind: Kind,
    nodes: Numbers,
}

#[derive(Debug)]
struct Counter {
    who: Who,
    nodes: Numbers,
}

#[derive(Debug)]
struct Class {
    /// One of them.
    pod: Arc<PodInfo>,
    nodes: Numbers,
    counters: Vec<CounterId>,
    /// Wishes that mean the class.
    wishes: Vec<WishId>,
}

/// Numbers by node; a node without one has 0.
type Numbers = FxHashMap<At, i64>;

/// Counters or wishes by the namespace of classes that they may mean (`None`: any), and by what all of those show (`None`:
/// nothing in particular).
type Filed = FxHashMap<(Option<String>, Option<Atom>), Vec<usize>>;

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    classes: Vec<Class>,
    class_by_hash: FxHashMap<u64, Vec<ClassId>>,
    classes_by_atom: FxHashMap<Atom, Vec<ClassId>>,
    counters: Vec<Counter>,
    counter_of: FxHashMap<Who, CounterId>,
    counters_by: Filed,
    wishes: Vec<Wish>,
    wish_of: FxHashMap<(Term, Kind), WishId>,
    wishes_by: Filed,
    wishes_of: FxHashMap<Terms, Arc<[WishId]>>,
    /// Grows with each new wish: what a class is meant by may have changed.
    version: u64,
}

impl Tables {
    /// How many classes, counters and wishes are kept.
    pub(super) fn len(&self) -> usize {
        self.classes.len() + self.counters.len() + self.wishes.len()
    }

    /// Changes whenever [`Self::wishes_about`] may.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Counts a pod in on a node (`by` 1) or out (-1).
    pub(super) fn count(&mut self, pod: &Arc<PodInfo>, at: At, by: i64, namespaces: &Namespaces) {
        let class = self.class(pod, namespaces);
        let Self { classes, counters, .. } = self;
        let class = &mut classes[class];
        add(&mut class.nodes, at, by);
        class.counters.iter().for_each(|counter| add(&mut counters[*counter].nodes, at, by));
        if let Some(terms) = pod.terms() {
            for wish in &*self.wishes_held(terms, namespaces) {
                add(&mut self.wishes[*wish].nodes, at, by);
            }
        }
    }

    /// A node went away with all its pods, and the last took its place.
    pub(super) fn remove_node(&mut self, at: At, last: At) {
        let classes = self.classes.iter_mut().map(|class| &mut class.nodes);
        let counters = self.counters.iter_mut().map(|counter| &mut counter.nodes);
        let wishes = self.wishes.iter_mut().map(|wish| &mut wish.nodes);
        for numbers in classes.chain(counters).chain(wishes) {
            numbers.remove(&at);
            if let Some(number) = numbers.remove(&last).filter(|_| at != last) {
                numbers.insert(at, number);
            }
        }
    }

    /// True when the labels of that namespace make a difference to what is counted.
    pub(super) fn concerns(&self, namespace: &str) -> bool {
        self.classes.iter().any(|class| class.pod.namespace() == namespace)
    }

    /// The class of a pod.
    pub(super) fn class(&mut self, pod: &Arc<PodInfo>, namespaces: &Namespaces) -> ClassId {
        let hash = hash_of(&(pod.namespace(), pod.is_deleting(), pod.labels()));
        let same = |class: &&ClassId| {
            let other = &self.classes[**class].pod;
            other.namespace() == pod.namespace()
                && other.is_deleting() == pod.is_deleting()
                && other.labels() == pod.labels()
        };
        if let Some(known) = self.class_by_hash.get(&hash).and_then(|classes| classes.iter().find(same)) {
            return *known;
        }
        let shown = Atom::shown_by_labels(pod.labels());
        let mut counters = filed(&self.counters_by, pod.namespace(), &shown);
        counters.retain(|counter| self.counters[*counter].who.means(pod, namespaces));
        let mut wishes = filed(&self.wishes_by, pod.namespace(), &shown);
        wishes.retain(|wish| self.wishes[*wish].term.matches(pod, namespaces));
        let id = self.classes.len();
        shown.into_iter().for_each(|atom| self.classes_by_atom.entry(atom).or_default().push(id));
        self.classes.push(Class { pod: pod.clone(), nodes: Numbers::default(), counters, wishes });
        self.class_by_hash.entry(hash).or_default().push(id);
        id
    }

    /// The wishes of pods on nodes that mean a class.
    pub(super) fn wishes_about(&self, class: ClassId) -> impl Iterator<Item = (WishId, &Wish)> {
        self.classes[class].wishes.iter().map(|wish| (*wish, &self.wishes[*wish]))
    }

    /// The counter that answers a question.
    pub(super) fn counter(&mut self, who: Who, namespaces: &Namespaces) -> CounterId {
        if let Some(known) = self.counter_of.get(&who) {
            return *known;
        }
        let id = self.counters.len();
        let mut nodes = Numbers::default();
        let atoms = who.atoms();
        for class in self.classes_that_show(atoms.as_deref()) {
            let class = &mut self.classes[class];
            if who.means(&class.pod, namespaces) {
                class.counters.push(id);
                class.nodes.iter().for_each(|(at, number)| add(&mut nodes, *at, *number));
            }
        }
        file(&mut self.counters_by, who.namespaces(), atoms, id);
        self.counter_of.insert(who.clone(), id);
        self.counters.push(Counter { who, nodes });
        id
    }

    /// A number of one node.
    pub(super) fn number(&self, source: Source, at: At) -> i64 {
        self.of(source).get(&at).copied().unwrap_or(0)
    }

    /// The numbers of all nodes that have one.
    pub(super) fn numbers(&self, source: Source) -> impl Iterator<Item = (&At, &i64)> {
        self.of(source).iter()
    }

    fn of(&self, source: Source) -> &Numbers {
        match source {
            Source::Counter(counter) => &self.counters[counter].nodes,
            Source::Wish(wish) => &self.wishes[wish].nodes,
        }
    }

    /// All classes that show one of these; `None`: all.
    fn classes_that_show(&self, atoms: Option<&[Atom]>) -> Vec<ClassId> {
        let Some(atoms) = atoms else { return (0..self.classes.len()).collect() };
        let shown = atoms.iter().filter_map(|atom| self.classes_by_atom.get(atom));
        sorted(shown.flatten().copied())
    }

    fn wishes_held(&mut self, terms: &Terms, namespaces: &Namespaces) -> Arc<[WishId]> {
        if let Some(known) = self.wishes_of.get(terms) {
            return known.clone();
        }
        let required = terms.affinity.iter().map(|term| (term, Kind::Affinity));
        let anti = terms.anti_affinity.iter().map(|term| (term, Kind::AntiAffinity));
        let preferred = terms.preferred.iter().map(|(term, weight)| (term, Kind::Preferred(*weight)));
        let rather_not =
            terms.preferred_anti.iter().map(|(term, weight)| (term, Kind::PreferredAnti(*weight)));
        let all: Vec<(Term, Kind)> = required
            .chain(anti)
            .chain(preferred)
            .chain(rather_not)
            .map(|(term, kind)| (term.clone(), kind))
            .collect();
        let ids: Arc<[WishId]> = all.into_iter().map(|wish| self.wish(wish, namespaces)).collect();
        self.wishes_of.insert(terms.clone(), ids.clone());
        ids
    }

    fn wish(&mut self, wish: (Term, Kind), namespaces: &Namespaces) -> WishId {
        if let Some(known) = self.wish_of.get(&wish) {
            return *known;
        }
        let id = self.wishes.len();
        self.version += 1;
        let (term, kind) = wish.clone();
        let atoms = term.atoms();
        for class in self.classes_that_show(atoms.as_deref()) {
            let class = &mut self.classes[class];
            if term.matches(&class.pod, namespaces) {
                class.wishes.push(id);
            }
        }
        file(&mut self.wishes_by, term.named_namespaces(), atoms, id);
        self.wish_of.insert(wish, id);
        self.wishes.push(Wish { term, kind, nodes: Numbers::default() });
        id
    }
}

impl Who {
    fn means(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        match self {
            Self::Selected { namespace, selector } => {
                !pod.is_deleting() && pod.namespace() == namespace && selector.matches(pod.labels())
            }
            Self::Meant(terms) => terms.iter().all(|term| term.matches(pod, namespaces)),
        }
    }

    fn namespaces(&self) -> Option<&[String]> {
        match self {
            Self::Selected { namespace, .. } => Some(std::slice::from_ref(namespace)),
            Self::Meant(terms) => terms.first().and_then(Term::named_namespaces),
        }
    }

    /// One of which every pod shows that it means; `None`: it cannot be told from the outside.
    fn atoms(&self) -> Option<Vec<Atom>> {
        match self {
            Self::Selected { selector, .. } => Atom::of_selector(selector),
            Self::Meant(terms) => terms.first().and_then(Term::atoms),
        }
    }
}

/// Files what means classes of these namespaces that show one of these.
fn file(by: &mut Filed, namespaces: Option<&[String]>, atoms: Option<Vec<Atom>>, id: usize) {
    let namespaces = namespaces.map_or_else(|| vec![None], |all| all.iter().cloned().map(Some).collect());
    let atoms = atoms.map_or_else(|| vec![None], |all| all.into_iter().map(Some).collect());
    for namespace in namespaces {
        for atom in &atoms {
            by.entry((namespace.clone(), *atom)).or_default().push(id);
        }
    }
}

/// All that is filed under that namespace or any, and under one of what is shown or nothing in particular.
fn filed(by: &Filed, namespace: &str, shown: &[Atom]) -> Vec<usize> {
    let mut found = Vec::new();
    for namespace in [Some(namespace.to_owned()), None] {
        for atom in shown.iter().copied().map(Some).chain([None]) {
            found.extend(by.get(&(namespace.clone(), atom)).into_iter().flatten());
        }
    }
    sorted(found.into_iter())
}

/// Each once, in order.
fn sorted(ids: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut ids: Vec<usize> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn add(numbers: &mut Numbers, at: At, by: i64) {
    let number = numbers.entry(at).or_default();
    *number += by;
    if *number == 0 {
        numbers.remove(&at);
    }
}

/// A hash of something small.
pub(super) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}
