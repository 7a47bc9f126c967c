//! node.k8s.io/v1: RuntimeClass.

use super::columns::{self, Column};
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "node.k8s.io", version: "v1", package: "io.k8s.api.node.v1" };

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("Handler", "io.k8s.api.node.v1.RuntimeClass", "handler"),
        columns::age(),
    ];
    vec![
        Row::cluster(V1, "RuntimeClass", "runtimeclasses")
            .strategy(Rules { unconditional_update: false, ..Rules::PLAIN })
            .columns(columns, |class, now| {
                vec![
                    class["metadata"]["name"].clone(),
                    class.text("handler").into(),
                    columns::age_of(class, now),
                ]
            }),
    ]
}
