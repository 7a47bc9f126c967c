//! Repository rules: what is not checked decays.
//!
//! Keeps true: the crate arrows of ARCHITECTURE.md, the length of files, a header in each of them, no room named
//! after nothing, commands and flags that the documents name. Reads the working tree and `cargo metadata`.

mod arrows;
mod definitions;
mod documents;
mod files;
mod generated;

use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the root").to_owned()
}

/// Every Rust file of the project that people write, as (path from the root, text).
fn rust_files() -> Vec<(String, String)> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable folder") {
            let path = entry.expect("readable entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !matches!(name, "target" | ".git" | "generated") {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8 source");
                found.push((path.strip_prefix(&root).expect("below the root").display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}
