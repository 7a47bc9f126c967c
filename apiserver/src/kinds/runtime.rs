//! node.k8s.io/v1: RuntimeClass.

use serde_json::Value;

use super::checks;
use super::columns::{self, Column};
use super::metadata;
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldErrors, Path};

const V1: Api = Api { group: "node.k8s.io", version: "v1", package: "io.k8s.api.node.v1" };

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("Handler", "io.k8s.api.node.v1.RuntimeClass", "handler"),
        columns::age(),
    ];
    vec![
        Row::cluster(V1, "RuntimeClass", "runtimeclasses")
            .strategy(Rules {
                unconditional_update: false,
                validate: check,
                validate_update: check_update,
                ..Rules::PLAIN
            })
            .columns(columns, |class, now| {
                vec![
                    class["metadata"]["name"].clone(),
                    class.text("handler").into(),
                    columns::age_of(class, now),
                ]
            }),
    ]
}

fn check(class: &Value, errors: &mut FieldErrors) {
    checks::label(Path::root("handler"), class.text("handler"), errors);
}

fn check_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    metadata::immutable(Path::root("handler"), &new["handler"], &old["handler"], errors);
}
