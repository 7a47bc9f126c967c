//! PodTemplate, a pod template on its own.

use super::V1;
use crate::kinds::columns::{self, Column};
use crate::kinds::row::Row;
use crate::kinds::strategy::Rules;

pub(in crate::kinds) fn row() -> Row {
    let columns = vec![
        columns::name(),
        Column::text("Containers", "Names of each container in the template."),
        Column::text("Images", "Images referenced by each container in the template."),
        Column::text("Pod Labels", "The labels for the pod template."),
    ];
    Row::namespaced(V1, "PodTemplate", "podtemplates")
        .strategy(Rules {
            generation: true,
            generation_of: &["template"],
            defaults: |object| super::defaults::template(&mut object["template"]),
            ..Rules::PLAIN
        })
        .columns(columns, |object, _now| {
            let template = &object["template"];
            let [containers, images] = columns::container_cells(&template["spec"]);
            let labels = columns::labels(&template["metadata"]["labels"]);
            vec![object["metadata"]["name"].clone(), containers, images, labels.into()]
        })
}
