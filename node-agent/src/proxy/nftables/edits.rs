//! The difference between two states of our tables, and the transaction that makes it true.
//!
//! Promise: pure. Chains are made before elements lead to them and go after the last one did, so that the kernel
//! takes the whole as one transaction.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use rustc_hash::{FxHashMap, FxHasher};

use super::codec::{Element, SetForm, Transaction};
use super::expression::Expression;
use super::kernel::Found;
use super::layout::{self, AFFINITY, Chain, LAYOUT, TABLE};
use crate::proxy::model::Family;
use crate::proxy::netlink::Batch;

/// What to change in the table of a family.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    replace_table: bool,
    add_table: bool,
    sets: Vec<SetForm>,
    /// Chains that are not there, callees first.
    chains: Vec<Chain>,
    /// Chains whose rules are others.
    rewritten: Vec<Chain>,
    pub(crate) removed: BTreeMap<&'static str, Vec<Element>>,
    pub(crate) added: BTreeMap<&'static str, Vec<Element>>,
    /// Chains that nothing leads to any more, callers first.
    gone: Vec<String>,
    /// Sets that are not of our layout.
    strange_sets: Vec<String>,
}

impl Edits {
    /// From what the kernel has to what there should be. `chains` are all chains, callees first.
    pub(crate) fn between(
        found: Found,
        family: Family,
        chains: Vec<Chain>,
        mut elements: BTreeMap<&'static str, Vec<Element>>,
    ) -> Self {
        let mut edits = Self { replace_table: found.foreign, add_table: !found.table, ..Self::default() };
        let (mut sets, mut known) = (found.sets, found.chains);
        for form in layout::sets(family) {
            let there = sets.remove(form.name);
            let wanted = elements.remove(form.name).unwrap_or_default();
            match there {
                // Packets put these in.
                Some(_) if form.name == AFFINITY => {}
                Some(there) => edits.elements(form.name, there, wanted),
                None => {
                    edits.elements(form.name, Vec::new(), wanted);
                    edits.sets.push(form);
                }
            }
        }
        edits.strange_sets = sets.into_keys().collect();
        for chain in chains {
            match known.remove(&chain.name) {
                None => edits.chains.push(chain),
                Some(remarks) if remarks == remarks_of(&chain) => {}
                Some(_) => edits.rewritten.push(chain),
            }
        }
        edits.gone = known.into_keys().collect();
        edits.gone.sort_by_key(|name| is_callee(name));
        edits
    }

    /// Adds the difference of a set.
    pub(crate) fn elements(&mut self, set: &'static str, there: Vec<Element>, wanted: Vec<Element>) {
        if there.is_empty() {
            return extend(&mut self.added, set, wanted);
        }
        let mut there: FxHashMap<Element, ()> = there.into_iter().map(|element| (element, ())).collect();
        let added: Vec<_> = wanted.into_iter().filter(|element| there.remove(element).is_none()).collect();
        extend(&mut self.removed, set, there.into_keys().collect());
        extend(&mut self.added, set, added);
    }

    pub(crate) fn chain_appears(&mut self, chain: Chain) {
        self.chains.push(chain);
    }

    /// Callers are to be told before what they call.
    pub(crate) fn chain_goes(&mut self, name: String) {
        self.gone.push(name);
    }

    /// How many elements, chains and rules are added, and how many removed.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let elements = |all: &BTreeMap<_, Vec<Element>>| -> usize { all.values().map(Vec::len).sum() };
        let chains = self.chains.len() + self.rewritten.len() + self.sets.len();
        (
            elements(&self.added) + chains + usize::from(self.add_table),
            elements(&self.removed) + self.gone.len() + self.strange_sets.len(),
        )
    }

    fn write(&self, family: Family, transaction: &mut Transaction) {
        if self.replace_table {
            transaction.delete_table(family, TABLE);
        }
        if self.add_table {
            transaction.add_table(family, TABLE, LAYOUT);
        }
        self.sets.iter().for_each(|form| transaction.add_set(family, TABLE, form));
        for chain in &self.chains {
            transaction.add_chain(family, TABLE, &chain.name, chain.hook);
        }
        for chain in &self.rewritten {
            transaction.flush_chain(family, TABLE, &chain.name);
        }
        for chain in self.chains.iter().chain(&self.rewritten) {
            for rule in &chain.rules {
                transaction.add_rule(family, TABLE, &chain.name, rule, &remark(rule));
            }
        }
        for (set, elements) in &self.removed {
            transaction.delete_elements(family, TABLE, set, elements);
        }
        for (set, elements) in &self.added {
            transaction.add_elements(family, TABLE, set, elements);
        }
        self.gone.iter().for_each(|name| transaction.delete_chain(family, TABLE, name));
        self.strange_sets.iter().for_each(|name| transaction.delete_set(family, TABLE, name));
    }
}

/// One transaction of the edits of all families; `None` if they change nothing.
#[must_use]
pub(crate) fn transaction(edits: &[(Family, Edits)]) -> Option<Transaction> {
    let mut transaction = Transaction::new();
    for (family, edits) in edits {
        edits.write(*family, &mut transaction);
    }
    (!transaction.is_empty()).then_some(transaction)
}

/// Whether other chains of services lead to a chain of this name: it goes after them.
fn is_callee(name: &str) -> bool {
    name.contains("inside-to-")
}

fn remarks_of(chain: &Chain) -> Vec<String> {
    chain.rules.iter().map(|rule| remark(rule)).collect()
}

/// The comment of a rule: a hash of what it does, so that a rule is known again without decoding it.
fn remark(rule: &[Expression]) -> String {
    let mut batch = Batch::new();
    batch.message(0, 0, |body| rule.iter().for_each(|expression| expression.write(body)));
    let mut hasher = FxHasher::default();
    hasher.write(batch.bytes());
    format!("{:016x}", hasher.finish())
}

fn extend(all: &mut BTreeMap<&'static str, Vec<Element>>, set: &'static str, more: Vec<Element>) {
    if !more.is_empty() {
        all.entry(set).or_default().extend(more);
    }
}
