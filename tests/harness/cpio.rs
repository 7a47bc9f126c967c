//! An archive of files as Linux unpacks one at its start (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Promise: pure; folders come before what is in them, each once.

use std::collections::BTreeSet;
use std::io::Write as _;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// The archive so far.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    pub fn folder(&mut self, path: &str) {
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER, &[]);
        }
    }

    pub fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, to.as_bytes());
    }

    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, FILE | mode, content);
    }

    /// A file, with the folders that lead to it.
    pub fn file_with_folders(&mut self, path: &str, mode: u32, content: &[u8]) {
        for (at, _) in path.match_indices('/') {
            self.folder(&path[..at]);
        }
        self.file(path, mode, content);
    }

    /// All of it, with its end.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.len() + 1;
        // inode, mode, owner, group, links, time, size, device (2), special device (2), name's size, checksum.
        let numbers = [self.entries, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name as u32, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            write!(self.bytes, "{number:08x}").expect("in memory");
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
