//! Which files a config map, secret, downward or projected volume shows.
//!
//! Promise: pure; `Objects` is asked for what the API holds. Modes follow the item, the source, the default, in that
//! order. Texts of errors are upstream's; they end up in FailedMount events.

use k8s_openapi::api::core::v1 as core;
use std::collections::BTreeMap;

use super::atomic::{Files, Payload};
use crate::containers::downward::{self, Context};

const DEFAULT_MODE: i32 = 0o644;

/// Keys and bytes of a config map or secret.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

/// Bytes of a config map: texts and binary values together.
pub(super) fn config_map_data(map: &core::ConfigMap) -> Data {
    let texts = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let bytes = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    texts.chain(bytes).collect()
}

pub(super) fn secret_data(secret: &core::Secret) -> Data {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Files of selected keys (all without items). `None` data: the object does not exist.
pub(super) fn keys(
    data: Option<&Data>,
    items: Option<&Vec<core::KeyToPath>>,
    mode: Option<i32>,
    optional: bool,
    what: &str,
) -> Result<Files, String> {
    let Some(data) = data else {
        return if optional { Ok(Files::new()) } else { Err(format!("{what} not found")) };
    };
    let default = mode.unwrap_or(DEFAULT_MODE) as u32;
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let payload = |bytes: &Vec<u8>| Payload { bytes: bytes.clone(), mode: default };
        return Ok(data.iter().map(|(key, bytes)| (key.clone(), payload(bytes))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                let mode = item.mode.map_or(default, |mode| mode as u32);
                files.insert(item.path.clone(), Payload { bytes: bytes.clone(), mode });
            }
            None if optional => {}
            None => return Err(format!("references non-existent {} key: {}", kind_of(what), item.key)),
        }
    }
    Ok(files)
}

/// Files of a downward API volume or projection.
pub(super) fn downward(
    pod: &core::Pod,
    items: Option<&Vec<core::DownwardAPIVolumeFile>>,
    mode: Option<i32>,
    context: &Context,
) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items.into_iter().flatten() {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => downward::field(pod, context, &field.field_path)?,
            (None, Some(selector)) => {
                let spec = pod.spec.as_ref().ok_or("pod has no spec")?;
                downward::resource(spec, "", selector, context)?
            }
            (None, None) => String::new(),
        };
        let mode = item.mode.or(mode).unwrap_or(DEFAULT_MODE) as u32;
        files.insert(item.path.clone(), Payload { bytes: text.into_bytes(), mode });
    }
    Ok(files)
}

/// `configmap "x"` -> `config`, `secret "x"` -> `secret`: upstream's words.
fn kind_of(what: &str) -> &str {
    if what.starts_with("configmap") { "config" } else { "secret" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_selected_with_their_modes() {
        let data: Data = [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())].into();
        let item = |key: &str, mode| core::KeyToPath { key: key.into(), path: format!("x/{key}"), mode };
        let all = keys(Some(&data), None, Some(0o600), false, "secret \"s\"").unwrap();
        assert_eq!(all["a"], Payload { bytes: b"1".to_vec(), mode: 0o600 });
        let some =
            keys(Some(&data), Some(&vec![item("b", Some(0o400))]), None, false, "secret \"s\"").unwrap();
        assert_eq!(some.keys().collect::<Vec<_>>(), ["x/b"]);
        assert_eq!(some["x/b"].mode, 0o400);
        let missing = || keys(Some(&data), Some(&vec![item("z", None)]), None, false, "configmap \"m\"");
        assert_eq!(missing().unwrap_err(), "references non-existent config key: z");
        assert_eq!(keys(None, None, None, false, "secret \"s\"").unwrap_err(), "secret \"s\" not found");
        assert_eq!(keys(None, None, None, true, "secret \"s\"").unwrap(), Files::new());
    }
}
