//! `crds/manifests` holds what the types in `crds` say.

use std::collections::BTreeMap;

#[test]
fn manifests_are_in_step_with_the_types() {
    let folder = crate::root().join("crds/manifests");
    let wanted: BTreeMap<String, String> = crds::manifests().expect("YAML").into_iter().collect();
    let found: BTreeMap<String, String> = std::fs::read_dir(&folder)
        .expect("crds/manifests")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
            (name, std::fs::read_to_string(&path).expect("readable"))
        })
        .collect();
    if wanted != found {
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).expect("writable");
        }
        for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
            std::fs::remove_file(folder.join(name)).expect("removable");
        }
        panic!("crds/manifests was out of step and is written anew: commit it");
    }
}
