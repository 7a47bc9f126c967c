//! The nodes of a group, best first: filed by their totals, and of each total in the order of nodes.
//!
//! Promise: the best nodes of a group are there without looking at the others, and of any several of such lists the
//! `nth` node in order is found without joining them.

use super::tables::At;
use std::collections::BTreeMap;

/// Nodes by total.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks {
    by_total: BTreeMap<i32, Vec<At>>,
    nodes: usize,
}

impl Ranks {
    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes
    }

    /// The greatest total and the nodes that have it, in order.
    pub(super) fn best(&self) -> Option<(i32, &[At])> {
        self.by_total.last_key_value().map(|(total, nodes)| (*total, &**nodes))
    }

    /// Files a node that is not there.
    pub(super) fn add(&mut self, total: i32, at: At) {
        let nodes = self.by_total.entry(total).or_default();
        match nodes.last() {
            Some(last) if *last > at => {
                let place = nodes.partition_point(|other| *other < at);
                nodes.insert(place, at);
            }
            _ => nodes.push(at),
        }
        self.nodes += 1;
    }

    /// Takes out a node that was filed under that total.
    pub(super) fn remove(&mut self, total: i32, at: At) {
        let Some(nodes) = self.by_total.get_mut(&total) else { return };
        let Ok(place) = nodes.binary_search(&at) else { return };
        nodes.remove(place);
        if nodes.is_empty() {
            self.by_total.remove(&total);
        }
        self.nodes -= 1;
    }
}

/// The `nth` in order of all nodes in several ordered lists without a node in common.
pub(super) fn nth(lists: &[&[At]], nth: usize) -> Option<At> {
    if let [only] = lists {
        return only.get(nth).copied();
    }
    let last = lists.iter().filter_map(|list| list.last()).max()?;
    let (mut least, mut most) = (0, *last);
    while least < most {
        let middle = least + (most - least) / 2;
        let up_to: usize = lists.iter().map(|list| list.partition_point(|at| *at <= middle)).sum();
        if up_to > nth { most = middle } else { least = middle + 1 }
    }
    Some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_best_in_order() {
        let mut ranks = Ranks::default();
        for (total, at) in [(5, 3), (7, 9), (5, 1), (7, 2), (7, 4)] {
            ranks.add(total, at);
        }
        assert_eq!((ranks.best(), ranks.len()), (Some((7, &[2, 4, 9][..])), 5));
        for at in [9, 2, 4] {
            ranks.remove(7, at);
        }
        assert_eq!((ranks.best(), ranks.len()), (Some((5, &[1, 3][..])), 2));
    }

    #[test]
    fn finds_the_nth_of_several_lists() {
        let lists: [&[At]; 3] = [&[2, 4, 90], &[], &[0, 3, 5, 6]];
        let found: Vec<_> = (0..7).filter_map(|wanted| nth(&lists, wanted)).collect();
        assert_eq!(found, [0, 2, 3, 4, 5, 6, 90]);
        assert_eq!(nth(&lists[..1], 3), None);
    }
}
