//! What a table of ours is made of, the difference between two states of it, and the transaction that makes it true.
//!
//! Promise: pure. Chains are made before elements lead to them and go after the last one did, so that the kernel
//! takes the whole as one transaction.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use rustc_hash::{FxHashMap, FxHasher};

use super::codec::{Element, Hook, SetForm, Transaction};
use super::expression::Expression;
use super::found::Found;
use crate::addresses::Family;
use crate::netlink::Batch;

/// A table of ours, the same for each family but for the size of addresses.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The comment of the table. A table with another one is of another layout: it is taken away.
    pub(crate) layout: &'static str,
    pub(crate) sets: fn(Family) -> Vec<SetForm>,
    /// Whether other chains that come and go lead to a chain of this name: it goes after them.
    pub(crate) is_callee: fn(&str) -> bool,
}

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Vec<Expression>>,
}

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
        table: &Table,
        family: Family,
        chains: Vec<Chain>,
        mut elements: BTreeMap<&'static str, Vec<Element>>,
    ) -> Self {
        let mut edits = Self { replace_table: found.foreign, add_table: !found.table, ..Self::default() };
        let (mut sets, mut known) = (found.sets, found.chains);
        for form in (table.sets)(family) {
            let there = sets.remove(form.name);
            let wanted = elements.remove(form.name).unwrap_or_default();
            match there {
                // Packets put these in.
                Some(_) if form.dynamic.is_some() => {}
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
        edits.gone.sort_by_key(|name| (table.is_callee)(name));
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

    /// Callees are to be told before their callers.
    pub(crate) fn chain_appears(&mut self, chain: Chain) {
        self.chains.push(chain);
    }

    /// Callers are to be told before what they call.
    pub(crate) fn chain_goes(&mut self, name: String) {
        self.gone.push(name);
    }

    /// Takes what is to be put into a set out of the edits of a table that is not there yet, for a transaction of its own.
    pub(crate) fn put_off(&mut self, set: &'static str) -> Self {
        let later = if self.add_table { self.added.remove(set) } else { None };
        Self { added: later.into_iter().map(|elements| (set, elements)).collect(), ..Self::default() }
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

    fn write(&self, table: &Table, family: Family, transaction: &mut Transaction) {
        let name = table.name;
        if self.replace_table {
            transaction.delete_table(family, name);
        }
        if self.add_table {
            transaction.add_table(family, name, table.layout);
        }
        self.sets.iter().for_each(|form| transaction.add_set(family, name, form));
        for chain in &self.chains {
            transaction.add_chain(family, name, &chain.name, chain.hook);
        }
        for chain in &self.rewritten {
            transaction.flush_chain(family, name, &chain.name);
        }
        for chain in self.chains.iter().chain(&self.rewritten) {
            for rule in &chain.rules {
                transaction.add_rule(family, name, &chain.name, rule, &remark(rule));
            }
        }
        for (set, elements) in &self.removed {
            transaction.delete_elements(family, name, set, elements);
        }
        for (set, elements) in &self.added {
            transaction.add_elements(family, name, set, elements);
        }
        self.gone.iter().for_each(|chain| transaction.delete_chain(family, name, chain));
        self.strange_sets.iter().for_each(|set| transaction.delete_set(family, name, set));
    }
}

/// One transaction of the edits of all families; `None` if they change nothing.
#[must_use]
pub(crate) fn transaction(table: &Table, edits: &[(Family, Edits)]) -> Option<Transaction> {
    let mut transaction = Transaction::new();
    for (family, edits) in edits {
        edits.write(table, *family, &mut transaction);
    }
    (!transaction.is_empty()).then_some(transaction)
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
