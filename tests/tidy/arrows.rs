//! Which crate may use which: the table of ARCHITECTURE.md, held against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// (crate, crates of ours it may use).
const ALLOWED: &[(&str, &[&str])] = &[
    ("objects", &[]),
    ("crds", &[]),
    ("component", &["objects"]),
    ("apiserver", &["objects", "crds", "component"]),
    ("controllers", &["objects", "crds", "component"]),
    ("scheduler", &["objects", "component"]),
    ("node-agent", &["objects", "component"]),
    ("addons", &["objects", "component"]),
    ("steersman", &["apiserver", "scheduler", "controllers", "node-agent", "addons", "component"]),
];

/// (crate, packages it may not use, why).
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("objects", &["tokio", "kube", "futures"], "what objects mean is pure: no async, no client"),
    ("crds", &["tokio"], "kinds are data"),
    ("apiserver", &["kube"], "it is the server; in-process users reach it as a tower::Service"),
    ("scheduler", &["tonic", "redb"], "the scheduler uses nothing but the standard API"),
    ("controllers", &["tonic", "redb"], "the controllers use nothing but the standard API"),
];

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let direct = direct_dependencies();
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (name, may_use) in ALLOWED {
        let uses = direct.get(*name).unwrap_or_else(|| panic!("no crate {name} in the workspace"));
        for other in uses.iter().filter(|other| ours.contains(other.as_str())) {
            if !may_use.contains(&other.as_str()) {
                wrong.push(format!("{name} -> {other}: not an arrow of ARCHITECTURE.md"));
            }
        }
        if uses.contains("tests") {
            wrong.push(format!("{name} -> tests: nothing depends on the tests"));
        }
    }
    for (name, banned, why) in FORBIDDEN {
        for other in banned.iter().filter(|other| direct[*name].contains(**other)) {
            wrong.push(format!("{name} -> {other}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_crate_of_the_workspace_has_a_row() {
    let rows: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = direct_dependencies()
        .into_keys()
        .filter(|name| name != "tests" && !rows.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "add a row to ALLOWED and to ARCHITECTURE.md: {missing:?}");
}

/// (file prefix, words its code may not name, why): arrows inside a crate.
const INSIDE: &[(&str, &[&str], &str)] = &[
    ("scheduler/src/queue/", &["crate::plugins"], "only lib.rs and the profile name plugins"),
    ("scheduler/src/cache/", &["crate::plugins"], "only lib.rs and the profile name plugins"),
    ("scheduler/src/framework/", &["crate::plugins"], "only lib.rs and the profile name plugins"),
    (
        "apiserver/src/store/",
        &["crate::kinds", "crate::verbs", "crate::http"],
        "the store knows bytes, not kinds",
    ),
    ("apiserver/src/kinds/", &["crate::store", "crate::http"], "a row is data and pure functions"),
    (
        "apiserver/src/schema/",
        &["crate::store", "crate::http", "crate::verbs"],
        "the schema is data and walks",
    ),
];

#[test]
fn rooms_keep_to_themselves() {
    let mut wrong = Vec::new();
    // Tests may put the whole house together.
    for (path, text) in crate::rust_files().into_iter().filter(|(path, _)| !path.ends_with("tests.rs")) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (prefix, words, why) in INSIDE.iter().filter(|(prefix, ..)| path.starts_with(prefix)) {
            for word in words.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{path} names {word}: {why} ({prefix})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(crate::root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let normal = |dependency: &&serde_json::Value| dependency["kind"].is_null();
    packages
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().expect("a list").iter().filter(normal);
            (text(&package["name"]), uses.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a string").to_owned()
}
