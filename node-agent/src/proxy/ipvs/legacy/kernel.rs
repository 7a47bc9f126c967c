//! Reads and replaces the old tables through the options of a raw socket (`ip_tables.h`, `ip6_tables.h`).
//!
//! Promise: a replacement is based on what was just read; if somebody replaced the table meanwhile it is done anew.
//! The kernel loads the module of a table when it is asked for it; the module of tables as such is loaded here.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::entry::Layout;
use super::table::{HOOKS, Table};
use crate::proxy::ipvs::system;

const SET_REPLACE: i32 = 64;
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;

/// Size of a table's name.
const NAME_BYTES: usize = 32;
/// `struct ipt_getinfo`.
const INFO_BYTES: usize = 84;
/// `struct ipt_get_entries` before its entries.
const ENTRIES_AT: usize = 40;
/// `struct ipt_replace` before its entries, and where its pointer for the old counters is.
const REPLACE_ENTRIES_AT: usize = 96;
const REPLACE_COUNTERS_AT: usize = 88;
/// `struct xt_counters`.
const COUNTER_BYTES: usize = 16;

/// The tables of one family.
#[derive(Debug)]
pub(super) struct Tables {
    fd: OwnedFd,
    level: i32,
    /// The family's structures.
    pub(super) layout: Layout,
}

impl Tables {
    /// Opens a raw socket of the family.
    pub(super) fn open(layout: Layout) -> Result<Tables, Errno> {
        let (family, level) = match layout.v6 {
            false => (AddressFamily::Inet, libc::SOL_IP),
            true => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
        };
        system::load(if layout.v6 { "ip6_tables" } else { "ip_tables" });
        let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
        Ok(Tables { fd, level, layout })
    }

    /// The module that brings a table.
    pub(super) fn module(&self, table: &str) -> String {
        format!("{}table_{table}", if self.layout.v6 { "ip6" } else { "ip" })
    }

    /// Reads a table.
    pub(super) fn read(&self, name: &str) -> Result<Table, Errno> {
        let mut info = [0; INFO_BYTES];
        info[..name.len()].copy_from_slice(name.as_bytes());
        self.get(GET_INFO, &mut info)?;
        let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        let mut table = Table { valid_hooks: word(NAME_BYTES), count: word(76), ..Table::default() };
        for hook in 0..HOOKS {
            table.hook_entry[hook] = word(36 + 4 * hook);
            table.underflow[hook] = word(56 + 4 * hook);
        }
        let size = word(80);
        let mut entries = vec![0; ENTRIES_AT + size as usize];
        entries[..name.len()].copy_from_slice(name.as_bytes());
        entries[NAME_BYTES..NAME_BYTES + 4].copy_from_slice(&size.to_ne_bytes());
        self.get(GET_ENTRIES, &mut entries)?;
        table.entries = entries.split_off(ENTRIES_AT);
        Ok(table)
    }

    /// Replaces a table that has `old_count` rules now; `EAGAIN` if it has not.
    pub(super) fn replace(&self, name: &str, table: &Table, old_count: u32) -> Result<(), Errno> {
        // The kernel hands out the old rules' counters; nobody reads them.
        let mut counters = vec![0u8; COUNTER_BYTES * old_count as usize];
        let mut bytes = vec![0; REPLACE_ENTRIES_AT];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let words = [table.valid_hooks, table.count, table.entries.len() as u32];
        let words = words.into_iter().chain(table.hook_entry).chain(table.underflow).chain([old_count]);
        for (index, word) in words.enumerate() {
            bytes[NAME_BYTES + 4 * index..NAME_BYTES + 4 * index + 4].copy_from_slice(&word.to_ne_bytes());
        }
        let pointer = counters.as_mut_ptr() as usize;
        bytes[REPLACE_COUNTERS_AT..REPLACE_ENTRIES_AT].copy_from_slice(&pointer.to_ne_bytes());
        bytes.extend_from_slice(&table.entries);
        #[allow(unsafe_code, reason = "nix does not know these options")]
        // SAFETY: `bytes` has the given length, and the buffer it points to has room for the counters of the
        // `old_count` rules that it announces; both outlive the call.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                self.level,
                SET_REPLACE,
                bytes.as_ptr().cast(),
                bytes.len() as libc::socklen_t,
            )
        };
        drop(counters);
        Errno::result(result).map(drop)
    }

    fn get(&self, option: i32, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut length = buffer.len() as libc::socklen_t;
        #[allow(unsafe_code, reason = "nix does not know these options")]
        // SAFETY: the buffer has the given length and outlives the call.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                self.level,
                option,
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(result).map(drop)
    }
}
