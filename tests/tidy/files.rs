//! Files: one story each, with a header that says which, short enough to read.

/// Lines. Near 300 is the aim; at 600 a file is split by decision.
const LONGEST_FILE: usize = 600;
/// Names under which things get lost.
const NAMES_OF_NOTHING: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "shared"];

#[test]
fn files_are_short_enough_to_read() {
    let long: Vec<_> = crate::rust_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split by decision (limit {LONGEST_FILE}):\n{}", long.join("\n"));
}

#[test]
fn files_say_what_they_promise() {
    let silent: Vec<_> = crate::rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "begin with a `//!` header:\n{}", silent.join("\n"));
}

#[test]
fn files_have_names_that_announce_their_story() {
    let vague: Vec<_> = crate::rust_files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.split(['/', '.']).any(|part| NAMES_OF_NOTHING.contains(&part)))
        .collect();
    assert!(vague.is_empty(), "name them after what they do:\n{}", vague.join("\n"));
}

#[test]
fn tests_are_never_switched_off() {
    let off: Vec<_> = crate::rust_files()
        .into_iter()
        .filter(|(path, text)| path != "tests/tidy/files.rs" && text.contains("#[ignore"))
        .map(|(path, _)| path)
        .collect();
    assert!(off.is_empty(), "a test that is switched off looks green:\n{}", off.join("\n"));
}

#[test]
fn lints_are_only_relaxed_with_a_reason() {
    let silent: Vec<_> = crate::rust_files()
        .into_iter()
        .flat_map(|(path, text)| {
            let bare = |line: &&str| {
                (line.contains("#[allow(") || line.contains("#[expect(")) && !line.contains("reason")
            };
            let found: Vec<_> = text
                .lines()
                .filter(bare)
                .filter(|line| line.trim_start().starts_with('#') && line.trim_end().ends_with(']'))
                .map(|line| format!("{path}: {}", line.trim()))
                .collect();
            found
        })
        .collect();
    assert!(silent.is_empty(), "say why:\n{}", silent.join("\n"));
}
