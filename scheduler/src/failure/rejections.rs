//! What each node said when none fitted, in little room: thousands of nodes say the same few things.

use super::Rejection;
use crate::framework::Verdict;
use std::fmt;

/// The refusals of many nodes, in the order the nodes were asked. Equal when the same nodes said the same in that order.
#[derive(Clone, Default)]
pub struct Rejections {
    kinds: Vec<(&'static str, Verdict)>,
    told: Told,
}

#[derive(Clone)]
enum Told {
    /// Some nodes in any order: (place of the node in the snapshot, place of what it said in `kinds`).
    Some(Vec<(u32, u16)>),
    /// All nodes in their order: 0 for nothing, else one more than the place in `kinds`; and how many said something.
    All(Vec<u16>, usize),
}

impl Default for Told {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Rejections {
    /// From a list of what can be said and what each node said of it: 0 for nothing, else one more than the place.
    pub fn from_codes(kinds: Vec<(&'static str, Verdict)>, codes: Vec<u16>) -> Self {
        let refused = codes.iter().filter(|code| **code > 0).count();
        Self { kinds, told: Told::All(codes, refused) }
    }

    /// Adds what one more node said.
    pub fn push(&mut self, rejection: Rejection) {
        let Rejection { node, plugin, verdict } = rejection;
        let known = self.kinds.iter().position(|(by, said)| *by == plugin && *said == verdict);
        let kind = known.unwrap_or_else(|| {
            self.kinds.push((plugin, verdict));
            self.kinds.len() - 1
        });
        let node = u32::try_from(node).expect("fewer nodes than 2^32");
        let said = (node, u16::try_from(kind).expect("nodes have few reasons"));
        match &mut self.told {
            Told::Some(told) => told.push(said),
            Told::All(..) => self.told = Told::Some(self.told.iter().chain([said]).collect()),
        }
    }

    /// How many nodes refused.
    pub fn len(&self) -> usize {
        match &self.told {
            Told::Some(told) => told.len(),
            Told::All(_, refused) => *refused,
        }
    }

    /// True when no node was asked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each node's refusal, in order: (its place in the snapshot, the plugin, what it said).
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'static str, &Verdict)> {
        self.told.iter().map(|(node, kind)| {
            let (plugin, verdict) = &self.kinds[usize::from(kind)];
            (node as usize, *plugin, verdict)
        })
    }

    /// Different refusals in the order in which they first came, and of how many nodes.
    pub fn by_kind(&self) -> impl Iterator<Item = (&'static str, &Verdict, usize)> {
        let mut counts = vec![0; self.kinds.len()];
        let mut order = Vec::new();
        for (_, kind) in self.told.iter() {
            let kind = usize::from(kind);
            if counts[kind] == 0 {
                order.push(kind);
            }
            counts[kind] += 1;
        }
        order.into_iter().map(move |kind| (self.kinds[kind].0, &self.kinds[kind].1, counts[kind]))
    }

    /// Keeps those of nodes that are `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(usize) -> bool) {
        let kept = self.told.iter().filter(|(node, _)| wanted(*node as usize)).collect();
        self.told = Told::Some(kept);
    }
}

impl Told {
    /// (place of the node, place of what it said)
    fn iter(&self) -> impl Iterator<Item = (u32, u16)> {
        let (some, all): (&[_], &[_]) = match self {
            Self::Some(told) => (told, &[]),
            Self::All(codes, _) => (&[], codes),
        };
        let all = (0..).zip(all).filter(|(_, code)| **code > 0).map(|(node, code)| (node, code - 1));
        some.iter().copied().chain(all)
    }
}

impl PartialEq for Rejections {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Rejections {}

impl FromIterator<Rejection> for Rejections {
    fn from_iter<I: IntoIterator<Item = Rejection>>(all: I) -> Self {
        let mut rejections = Self::default();
        all.into_iter().for_each(|rejection| rejections.push(rejection));
        rejections
    }
}

impl fmt::Debug for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
