//! scheduling.k8s.io/v1: PriorityClass.

use super::columns::{self, Column};
use super::read::{Read, default_text};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "scheduling.k8s.io", version: "v1", package: "io.k8s.api.scheduling.v1" };
const CLASS: &str = "io.k8s.api.scheduling.v1.PriorityClass";

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        Column::field("Value", CLASS, "value").of("integer"),
        Column::field("Global-Default", CLASS, "globalDefault").of("boolean"),
        columns::age(),
        Column::field("PreemptionPolicy", CLASS, "preemptionPolicy"),
    ];
    vec![
        Row::cluster(V1, "PriorityClass", "priorityclasses")
            .short(&["pc"])
            .strategy(Rules {
                generation: true,
                defaults: |class| default_text(class, "preemptionPolicy", "PreemptLowerPriority"),
                ..Rules::PLAIN
            })
            .columns(columns, |class, now| {
                vec![
                    class["metadata"]["name"].clone(),
                    columns::number(&class["value"]),
                    class.flag("globalDefault").into(),
                    columns::age_of(class, now),
                    class.text("preemptionPolicy").into(),
                ]
            }),
    ]
}
