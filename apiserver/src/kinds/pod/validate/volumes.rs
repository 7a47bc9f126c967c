//! Volumes: each has a name and exactly one source.

use std::collections::BTreeSet;

use objects::validity;
use serde_json::Value;

use super::{Volumes, environment};
use crate::field::{FieldError, FieldErrors, Path};
use crate::kinds::checks;
use crate::kinds::read::Read;
use crate::kinds::resources;

/// The sources in the order in which upstream looks at them.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
/// Fields of the pod that a file may show.
const OF_FILES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const HOST_PATH_TYPES: [&str; 7] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate"];
const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// The life of a projected token in seconds.
const TOKEN_MIN: i64 = 600;
const TOKEN_MAX: i64 = 1 << 32;

/// Checks the volumes and gives those that containers may mount.
pub(super) fn volumes<'a>(
    at: Path<'_>,
    volumes: &'a [Value],
    pod_name: Option<&str>,
    errors: &mut FieldErrors,
) -> Volumes<'a> {
    let mut good = Volumes::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = at.index(index);
        let before = errors.len();
        let name = volume.text("name");
        sources(at, volume, errors);
        if volume.has("ephemeral") && pod_name.is_some_and(|pod| !pod.is_empty()) && !name.is_empty() {
            let claim = format!("{}-{name}", pod_name.unwrap_or_default());
            for text in validity::dns_subdomain(&claim) {
                let why = format!("PVC name {claim:?}: {text}");
                errors.push(FieldError::invalid(at.child("name"), name, why));
            }
        }
        if name.is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        } else {
            checks::label(at.child("name"), name, errors);
        }
        if good.contains_key(name) {
            errors.push(FieldError::duplicate(at.child("name"), name));
        }
        if errors.len() == before {
            good.insert(name, volume);
        }
    }
    good
}

fn sources(at: Path<'_>, volume: &Value, errors: &mut FieldErrors) {
    let mut found = false;
    for kind in SOURCES.iter().filter(|kind| volume.has(kind)) {
        if std::mem::replace(&mut found, true) {
            // Upstream's spelling of this one differs from the field's.
            let shown = if *kind == "downwardAPI" { "downwarAPI" } else { kind };
            errors.push(FieldError::forbidden(at.child(shown), "may not specify more than 1 volume type"));
        } else {
            source(at.child(kind), kind, &volume[*kind], errors);
        }
    }
    if !found {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
}

fn source(at: Path<'_>, kind: &str, source: &Value, errors: &mut FieldErrors) {
    match kind {
        "emptyDir" if resources::parse(&source["sizeLimit"]).is_some_and(|limit| limit.is_negative()) => {
            let why = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(at.child("sizeLimit"), why));
        }
        "hostPath" => host_path(at, source, errors),
        "secret" => {
            checks::required(at.child("secretName"), source.text("secretName"), errors);
            mode(at.child("defaultMode"), source.int("defaultMode"), errors);
            keys(at.child("items"), source.list("items"), errors);
        }
        "configMap" => {
            checks::required(at.child("name"), source.text("name"), errors);
            mode(at.child("defaultMode"), source.int("defaultMode"), errors);
            keys(at.child("items"), source.list("items"), errors);
        }
        "persistentVolumeClaim" => checks::required(at.child("claimName"), source.text("claimName"), errors),
        "nfs" => {
            checks::required(at.child("server"), source.text("server"), errors);
            checks::required(at.child("path"), source.text("path"), errors);
            if !source.text("path").starts_with('/') {
                errors.push(FieldError::invalid(
                    at.child("path"),
                    source.text("path"),
                    "must be an absolute path",
                ));
            }
        }
        "gitRepo" => {
            checks::required(at.child("repository"), source.text("repository"), errors);
            local_path(at.child("directory"), source.text("directory"), errors);
        }
        "downwardAPI" => {
            mode(at.child("defaultMode"), source.int("defaultMode"), errors);
            // Upstream names the source, not the item.
            source.list("items").iter().for_each(|item| downward_file(at, item, errors));
        }
        "projected" => projected(at, source, errors),
        "csi" => checks::required(at.child("driver"), source.text("driver"), errors),
        "ephemeral" if !source.has("volumeClaimTemplate") => {
            errors.push(FieldError::required(at.child("volumeClaimTemplate"), ""));
        }
        "image" => {
            checks::required(at.child("reference"), source.text("reference"), errors);
            const PULL: [&str; 3] = ["Always", "IfNotPresent", "Never"];
            checks::maybe_one_of(at.child("pullPolicy"), source.text("pullPolicy"), &PULL, errors);
        }
        _ => {}
    }
}

pub(super) fn host_path(at: Path<'_>, source: &Value, errors: &mut FieldErrors) {
    let path = source.text("path");
    if path.is_empty() {
        errors.push(FieldError::required(at.child("path"), ""));
        return;
    }
    no_backsteps(at.child("path"), path, errors);
    let kind = source.text("type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(at.child("type"), kind, &HOST_PATH_TYPES));
    }
}

fn keys(at: Path<'_>, items: &[Value], errors: &mut FieldErrors) {
    for (index, item) in items.iter().enumerate() {
        key_to_path(at.index(index), item, errors);
    }
}

fn key_to_path(at: Path<'_>, item: &Value, errors: &mut FieldErrors) {
    checks::required(at.child("key"), item.text("key"), errors);
    checks::required(at.child("path"), item.text("path"), errors);
    file_path(at.child("path"), item.text("path"), errors);
    mode(at.child("mode"), item.int("mode"), errors);
}

fn downward_file(at: Path<'_>, file: &Value, errors: &mut FieldErrors) {
    checks::required(at.child("path"), file.text("path"), errors);
    file_path(at.child("path"), file.text("path"), errors);
    match (file.has("fieldRef"), file.has("resourceFieldRef")) {
        (true, both) => {
            environment::field(at.child("fieldRef"), &file["fieldRef"], &OF_FILES, errors);
            if both {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(at, "resource", why));
            }
        }
        (false, true) => {
            environment::resource(at.child("resourceFieldRef"), &file["resourceFieldRef"], true, errors)
        }
        (false, false) => {
            errors.push(FieldError::required(at, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    mode(at.child("mode"), file.int("mode"), errors);
}

fn projected(at: Path<'_>, projected: &Value, errors: &mut FieldErrors) {
    mode(at.child("defaultMode"), projected.int("defaultMode"), errors);
    let sources_at = at.child("sources");
    let mut paths = BTreeSet::new();
    for (index, source) in projected.list("sources").iter().enumerate() {
        let here = sources_at.index(index);
        let mut claim = |path: &str, name: &str, errors: &mut FieldErrors| {
            if !path.is_empty() && !paths.insert(path.to_owned()) {
                errors.push(FieldError::invalid(at, name, "conflicting duplicate paths"));
            }
        };
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            if source.has(kind) {
                count += 1;
                let (here, name) = (here.child(kind), source[kind].text("name"));
                checks::required(here.child("name"), name, errors);
                let items_at = here.child("items");
                for (index, item) in source[kind].list("items").iter().enumerate() {
                    key_to_path(items_at.index(index), item, errors);
                    claim(item.text("path"), name, errors);
                }
            }
        }
        if source.has("downwardAPI") {
            count += 1;
            let items_at = here.child("downwardAPI");
            for item in source["downwardAPI"].list("items") {
                downward_file(items_at, item, errors);
                claim(item.text("path"), item.text("path"), errors);
            }
        }
        if source.has("serviceAccountToken") {
            count += 1;
            token(here.child("serviceAccountToken"), &source["serviceAccountToken"], errors);
            claim(source["serviceAccountToken"].text("path"), "", errors);
        }
        count += ["clusterTrustBundle", "podCertificate"].iter().filter(|kind| source.has(kind)).count();
        if count > 1 {
            errors.push(FieldError::forbidden(here, "may not specify more than 1 volume type"));
        }
    }
}

fn token(at: Path<'_>, token: &Value, errors: &mut FieldErrors) {
    let seconds = token.int("expirationSeconds").unwrap_or_default();
    let why = if seconds < TOKEN_MIN {
        "may not specify a duration less than 10 minutes"
    } else if seconds > TOKEN_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        ""
    };
    if !why.is_empty() {
        errors.push(FieldError::invalid(at.child("expirationSeconds"), seconds, why));
    }
    if token.text("path").is_empty() {
        errors.push(FieldError::required(at.child("path"), ""));
    } else {
        file_path(at.child("path"), token.text("path"), errors);
    }
}

fn mode(at: Path<'_>, mode: Option<i64>, errors: &mut FieldErrors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(at, mode, FILE_MODE));
    }
}

/// A relative path that stays below where it starts.
pub(super) fn local_path(at: Path<'_>, path: &str, errors: &mut FieldErrors) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(at, path, "must be a relative path"));
    }
    no_backsteps(at, path, errors);
}

/// A local path for a file in a volume; names with two dots in front are the kubelet's.
fn file_path(at: Path<'_>, path: &str, errors: &mut FieldErrors) {
    local_path(at, path, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(FieldError::invalid(at, path, "must not start with '..'"));
    }
}

fn no_backsteps(at: Path<'_>, path: &str, errors: &mut FieldErrors) {
    if path.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(at, path, "must not contain '..'"));
    }
}
