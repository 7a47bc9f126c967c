//! What the kernel has of a table of ours.
//!
//! Promise: reads only.

use rustc_hash::{FxHashMap, FxHashSet};

use super::codec::{self, Element};
use super::edits::Table;
use crate::addresses::Family;
use crate::netlink::{Error, Socket};

/// The table of a family, as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether there is one of our layout.
    pub(crate) table: bool,
    /// Whether there is one of another layout, which has to go.
    pub(crate) foreign: bool,
    /// Chains with the comments of their rules, which say what the rules do.
    pub(crate) chains: FxHashMap<String, Vec<String>>,
    pub(crate) sets: FxHashMap<String, Vec<Element>>,
}

impl Found {
    /// Reads the table of a family; empty if there is none.
    pub(crate) fn read(socket: &mut Socket, table: &Table, family: Family) -> Result<Self, Error> {
        let tables = codec::read_tables(socket, family)?;
        let Some((_, remark)) = tables.into_iter().find(|(name, _)| name == table.name) else {
            return Ok(Self::default());
        };
        if remark != table.layout {
            return Ok(Self { foreign: true, ..Self::default() });
        }
        let mut found = Self { table: true, ..Self::default() };
        for chain in codec::read_chains(socket, family, table.name)? {
            found.chains.insert(chain, Vec::new());
        }
        for (chain, remark) in codec::read_rules(socket, family, table.name)? {
            found.chains.entry(chain).or_default().push(remark);
        }
        let forms = (table.sets)(family);
        let dynamic: FxHashSet<&str> =
            forms.iter().filter(|form| form.dynamic.is_some()).map(|form| form.name).collect();
        for set in codec::read_sets(socket, family, table.name)? {
            // What packets put in changes all the time; it is read when it is looked at.
            let elements = match dynamic.contains(set.as_str()) {
                true => Vec::new(),
                false => codec::read_elements(socket, family, table.name, &set)?,
            };
            found.sets.insert(set, elements);
        }
        Ok(found)
    }
}
