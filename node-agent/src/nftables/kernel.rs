//! The kernel's side of our tables: reads them, changes them, and tells whether others have changed something.
//!
//! Promise: a change that the kernel refuses leaves everything as it was.

use nix::errno::Errno;

use super::codec::{self, Element, Transaction};
use super::edits::{self, Chain, Edits, Table};
use super::found::Found;
use crate::addresses::Family;
use crate::netlink::{self, Failure, Socket, SyncError};

use std::collections::BTreeMap;

/// A table that never is.
const PROBE: &str = "steersman-probe";

/// nf_tables of one network namespace.
#[derive(Debug)]
pub(crate) struct Kernel {
    socket: Socket,
    families: Vec<Family>,
    /// The kernel's generation after the last change; `None` if others may have changed something at the same time.
    generation: Option<u32>,
}

impl Kernel {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Without permission, or when the kernel has no nf_tables.
    pub(crate) fn open() -> Result<Self, SyncError> {
        let mut socket = Socket::open(netlink::Protocol::Netfilter).map_err(missing)?;
        probe(&mut socket)?;
        let generation = codec::read_generation(&mut socket).map_err(missing)?;
        // A kernel started with ipv6.disable=1 has no such file.
        let v6 = std::path::Path::new("/proc/net/if_inet6").exists();
        let families = if v6 { Family::BOTH.to_vec() } else { vec![Family::V4] };
        Ok(Self { socket, families, generation: Some(generation) })
    }

    /// The families that this kernel has.
    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }

    /// Reads a table of all families, and answers what is to be done to have these chains (callees first) and
    /// elements.
    pub(crate) fn compare(
        &mut self,
        table: &Table,
        mut wanted: impl FnMut(Family) -> (Vec<Chain>, BTreeMap<&'static str, Vec<Element>>),
    ) -> Result<Vec<(Family, Edits)>, SyncError> {
        let before = codec::read_generation(&mut self.socket).map_err(failed("read the tables"))?;
        let mut all = Vec::new();
        for family in self.families.clone() {
            let found = Found::read(&mut self.socket, table, family).map_err(failed("read the tables"))?;
            let (chains, elements) = wanted(family);
            all.push((family, Edits::between(found, table, family, chains, elements)));
        }
        self.generation = Some(before);
        Ok(all)
    }

    /// Makes the changes to a table as one transaction.
    pub(crate) fn commit(&mut self, table: &Table, edits: &[(Family, Edits)]) -> Result<(), SyncError> {
        match edits::transaction(table, edits) {
            Some(transaction) => self.send(transaction)?.map_err(|(doing, failure)| refused(doing, failure)),
            None => Ok(()),
        }
    }

    /// Sends a transaction. The inner error is what the kernel refused first.
    pub(crate) fn send(
        &mut self,
        transaction: Transaction,
    ) -> Result<Result<(), (String, Failure)>, SyncError> {
        let (mut batch, labels) = transaction.finish();
        let failures = self.socket.transact(&mut batch).map_err(failed("send a change"))?;
        if let Some(failure) = failures.into_iter().next() {
            let doing = labels.into_iter().nth(failure.index).unwrap_or_default();
            return Ok(Err((doing, failure)));
        }
        let now = codec::read_generation(&mut self.socket).map_err(failed("read the generation"))?;
        // Ours is the one step in between, or somebody changed something while we looked.
        self.generation = self.generation.filter(|before| before.wrapping_add(1) == now).map(|_| now);
        Ok(Ok(()))
    }

    /// The elements of a set.
    pub(crate) fn elements(
        &mut self,
        family: Family,
        table: &Table,
        set: &str,
        doing: &'static str,
    ) -> Result<Vec<Element>, SyncError> {
        codec::read_elements(&mut self.socket, family, table.name, set).map_err(failed(doing))
    }

    /// Whether somebody else may have changed something since the last change.
    pub(crate) fn is_disturbed(&mut self) -> Result<bool, SyncError> {
        let now = codec::read_generation(&mut self.socket).map_err(failed("read the generation"))?;
        Ok(self.generation != Some(now))
    }

    /// Whether a table is there, in any family and layout.
    pub(crate) fn has(&mut self, table: &Table) -> Result<bool, SyncError> {
        for family in self.families.clone() {
            let tables = codec::read_tables(&mut self.socket, family).map_err(failed("read the tables"))?;
            if tables.iter().any(|(name, _)| name == table.name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a table away in all families, if it is there.
    pub(crate) fn remove(&mut self, table: &Table) -> Result<(), SyncError> {
        let mut transaction = Transaction::new();
        for family in self.families.clone() {
            let tables = codec::read_tables(&mut self.socket, family).map_err(failed("read the tables"))?;
            if tables.iter().any(|(name, _)| name == table.name) {
                transaction.delete_table(family, table.name);
            }
        }
        if transaction.is_empty() {
            return Ok(());
        }
        self.send(transaction)?.map_err(|(doing, failure)| refused(doing, failure))
    }
}

/// Makes a table and takes it away in one transaction, which changes nothing: some kernels have nf_tables, but not for
/// IP.
fn probe(socket: &mut Socket) -> Result<(), SyncError> {
    let mut transaction = Transaction::new();
    transaction.add_table(Family::V4, PROBE, PROBE);
    transaction.delete_table(Family::V4, PROBE);
    let (mut batch, _) = transaction.finish();
    match socket.transact(&mut batch).map_err(missing)?.into_iter().next() {
        None => Ok(()),
        Some(failure) => Err(missing(netlink::Error::Refused(failure))),
    }
}

fn failed(doing: &'static str) -> impl Fn(netlink::Error) -> SyncError {
    move |error| match error.is_permission() {
        true => SyncError::Permission,
        false => SyncError::Netlink { doing, source: std::io::Error::other(error) },
    }
}

fn missing(error: netlink::Error) -> SyncError {
    match error.errno() {
        Some(Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EINVAL) => {
            SyncError::Missing("nf_tables for IP: load the module nf_tables".to_owned())
        }
        _ => failed("ask the kernel for nf_tables")(error),
    }
}

/// The kernel's refusal of one step of a transaction.
pub(crate) fn refused(doing: String, failure: Failure) -> SyncError {
    match failure.errno {
        Errno::EPERM | Errno::EACCES => SyncError::Permission,
        errno => SyncError::Refused { doing, source: errno.into() },
    }
}
