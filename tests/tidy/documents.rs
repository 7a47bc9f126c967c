//! Documents: what README, ARCHITECTURE and the chart name must exist.

use std::collections::BTreeSet;

fn document(name: &str) -> String {
    std::fs::read_to_string(crate::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn make_targets_named_in_the_readme_exist() {
    let makefile = document("Makefile");
    let readme = document("README.md");
    // In a sentence as `make test`, in a session as `$ make up`.
    let named: BTreeSet<&str> = ["`make ", "$ make "]
        .into_iter()
        .flat_map(|before| readme.split(before).skip(1))
        .filter_map(|rest| rest.split(['`', ' ', '\n']).next())
        .collect();
    let missing: Vec<_> = named.iter().filter(|target| !makefile.contains(&format!("\n{target}:"))).collect();
    assert!(missing.is_empty(), "README names make targets that the Makefile lacks: {missing:?}");
    assert!(named.contains("up") && named.contains("test"), "README shows the two commands");
}

#[test]
fn the_code_map_names_folders_that_exist() {
    let map = document("ARCHITECTURE.md");
    let rows =
        map.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|rest| rest.split('`').next());
    let missing: Vec<_> =
        rows.filter(|path| path.ends_with('/') && !crate::root().join(path).is_dir()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md maps folders that are gone: {missing:?}");
}

#[test]
fn the_changelog_has_one_sentence_a_line() {
    let wrong: Vec<String> = document("CHANGELOG.md")
        .lines()
        .filter(|line| line.starts_with("- ") && !line.ends_with('.'))
        .map(str::to_owned)
        .collect();
    assert!(wrong.is_empty(), "one plain sentence each:\n{}", wrong.join("\n"));
}
