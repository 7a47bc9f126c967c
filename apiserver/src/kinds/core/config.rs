//! ConfigMap and Secret: keys, sizes, immutability, and what each type of Secret must hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::V1;
use crate::kinds::columns::{self, Column};
use crate::kinds::fields::SelectableField;
use crate::kinds::read::default_text;
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const SECRET: &str = "io.k8s.api.core.v1.Secret";

pub(super) fn config_maps() -> Row {
    let columns = vec![columns::name(), Column::field("Data", CONFIG_MAP, "data"), columns::age()];
    Row::namespaced(V1, "ConfigMap", "configmaps").short(&["cm"]).strategy(Rules::PLAIN).columns(
        columns,
        |object, now| {
            let keys = size(&object["data"]) + size(&object["binaryData"]);
            vec![object["metadata"]["name"].clone(), keys.into(), columns::age_of(object, now)]
        },
    )
}

pub(super) fn secrets() -> Row {
    let columns = vec![
        columns::name(),
        Column::field("Type", SECRET, "type"),
        Column::field("Data", SECRET, "data"),
        columns::age(),
    ];
    Row::namespaced(V1, "Secret", "secrets")
        .fields([SelectableField::at("type")])
        .strategy(Rules { defaults: secret_defaults, ..Rules::PLAIN })
        .columns(columns, |object, now| {
            vec![
                object["metadata"]["name"].clone(),
                object["type"].clone(),
                size(&object["data"]).into(),
                columns::age_of(object, now),
            ]
        })
}

/// `stringData` is only for writing: it ends in `data`.
fn secret_defaults(secret: &mut Value) {
    default_text(secret, "type", "Opaque");
    let Some(strings) = secret.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    for (key, value) in strings.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        secret["data"][key] = STANDARD.encode(text).into();
    }
}

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}
