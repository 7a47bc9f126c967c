//! What the kernel has of our table.

use rustc_hash::FxHashMap;

use super::codec::{self, Element};
use super::layout::{self, LAYOUT, TABLE};
use crate::proxy::model::Family;
use crate::proxy::netlink::{Error, Socket};

/// Our table of a family, as it was read.
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
    pub(crate) fn read(socket: &mut Socket, family: Family) -> Result<Self, Error> {
        let tables = codec::read_tables(socket, family)?;
        let Some((_, remark)) = tables.into_iter().find(|(name, _)| name == TABLE) else {
            return Ok(Self::default());
        };
        if remark != LAYOUT {
            return Ok(Self { foreign: true, ..Self::default() });
        }
        let mut found = Self { table: true, ..Self::default() };
        for chain in codec::read_chains(socket, family, TABLE)? {
            found.chains.insert(chain, Vec::new());
        }
        for (chain, remark) in codec::read_rules(socket, family, TABLE)? {
            found.chains.entry(chain).or_default().push(remark);
        }
        for set in codec::read_sets(socket, family, TABLE)? {
            // The clients that are remembered change all the time; they are read when they are looked at.
            let elements = match set.as_str() {
                layout::AFFINITY => Vec::new(),
                name => codec::read_elements(socket, family, TABLE, name)?,
            };
            found.sets.insert(set, elements);
        }
        Ok(found)
    }
}
