//! Files of a volume, replaced all at once.
//!
//! Promise: a reader sees either the old files or the new ones, never a mixture: the files lie in a directory named
//! by the time, `..data` is a link to it that is replaced by rename, and each visible name links through `..data`.
//! Nothing is written when nothing changed. The layout is upstream's `AtomicWriter`, which programs rely on when they
//! watch for changes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// One file: its bytes and permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub bytes: Vec<u8>,
    pub mode: u32,
}

/// Files by relative path.
pub(super) type Files = BTreeMap<String, Payload>;

/// Makes `dir` show exactly these files. True when something changed.
pub(super) fn write(dir: &Path, files: &Files, now: Timestamp) -> io::Result<bool> {
    fs::create_dir_all(dir)?;
    if let Some(path) = files.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path: {path}")));
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && current(&dir.join(old))? == *files
    {
        link_visible(dir, files)?;
        return Ok(false);
    }
    let name = unused_name(dir, now);
    let fresh = dir.join(&name);
    for (path, payload) in files {
        let path = fresh.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&fresh))?;
        fs::write(&path, &payload.bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(payload.mode))?;
    }
    // Even without files the directory has to be there.
    fs::create_dir_all(&fresh)?;
    let staged = dir.join(NEW_DATA);
    remove_if_there(&staged)?;
    symlink(&name, &staged)?;
    fs::rename(&staged, dir.join(DATA))?;
    link_visible(dir, files)?;
    remove_stale(dir, files)?;
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old)).or_else(ignore_missing)?;
    }
    Ok(true)
}

/// Links from the visible names into `..data`.
fn link_visible(dir: &Path, files: &Files) -> io::Result<()> {
    for name in files.keys().filter_map(|path| first_part(path)) {
        let link = dir.join(&name);
        let target = Path::new(DATA).join(&name);
        if fs::read_link(&link).ok().as_ref() != Some(&target) {
            remove_if_there(&link)?;
            symlink(&target, &link)?;
        }
    }
    Ok(())
}

fn remove_stale(dir: &Path, files: &Files) -> io::Result<()> {
    let wanted: Vec<OsString> = files.keys().filter_map(|path| first_part(path)).collect();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !wanted.contains(&name) {
            remove_if_there(&dir.join(name))?;
        }
    }
    Ok(())
}

/// The files that a data directory holds now.
fn current(dir: &Path) -> io::Result<Files> {
    let mut files = Files::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(inside) = dirs.pop() {
        let entries = match fs::read_dir(dir.join(&inside)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                dirs.push(path);
                continue;
            }
            let payload =
                Payload { bytes: fs::read(entry.path())?, mode: metadata.permissions().mode() & 0o7777 };
            files.insert(path.to_string_lossy().into_owned(), payload);
        }
    }
    Ok(files)
}

fn unused_name(dir: &Path, now: Timestamp) -> String {
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let free = |name: &String| !dir.join(name).exists();
    let mut names = (0u32..).map(|count| format!("{stamp}.{:09}", now.subsec_nanosecond() as u32 + count));
    names.find(free).expect("there are more numbers than directories")
}

fn first_part(path: &str) -> Option<OsString> {
    Path::new(path).components().next().map(|part| part.as_os_str().to_owned())
}

fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => ignore_missing(error),
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let payload = |text: &str| Payload { bytes: text.into(), mode: 0o644 };
        pairs.iter().map(|(path, text)| ((*path).to_owned(), payload(text))).collect()
    }

    fn visible(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(".."))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_change_together_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let now = Timestamp::UNIX_EPOCH;
        assert!(write(dir, &files(&[("a", "1"), ("sub/b", "2")]), now).unwrap());
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        let first = fs::read_link(dir.join(DATA)).unwrap();
        assert!(!write(dir, &files(&[("a", "1"), ("sub/b", "2")]), now).unwrap());
        assert_eq!(fs::read_link(dir.join(DATA)).unwrap(), first);
        assert!(write(dir, &files(&[("a", "3"), ("c", "4")]), now).unwrap());
        assert_eq!(visible(dir), ["a", "c"]);
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join(first).exists());
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/x", "a/../../x", "..data", ""] {
            assert!(write(dir.path(), &files(&[(path, "1")]), Timestamp::UNIX_EPOCH).is_err(), "{path}");
        }
    }
}
