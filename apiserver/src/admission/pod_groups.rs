//! PodGroupWorkloadExists: a group that says which template it was made from must tell the truth.
//!
//! Source: kubernetes `plugin/pkg/admission/podgroup`.

use serde_json::Value;

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::Read;
use crate::object;
use crate::status::ApiResult;

pub(super) fn validate(attributes: &Attributes<'_>, group: &Value) -> ApiResult<()> {
    if !attributes.is("scheduling.k8s.io", "podgroups") || attributes.verb != Verb::Create {
        return Ok(());
    }
    let reference = &group["spec"]["podGroupTemplateRef"]["workload"];
    if reference.is_null() {
        return Ok(());
    }
    let name = reference.text("workloadName");
    let namespace = object::meta_str(group, "namespace");
    let workload = attributes.get("scheduling.k8s.io", "workloads", namespace, name);
    check(workload.as_ref(), name, reference.text("podGroupTemplateName"))
        .map_err(|why| attributes.forbid(group, &why))
}

fn check(workload: Option<&Value>, name: &str, template: &str) -> Result<(), String> {
    let Some(workload) = workload else {
        return Err(format!("PodGroup rejected: Workload {name:?} not found"));
    };
    let templates = workload["spec"].list("podGroupTemplates");
    if templates.iter().any(|one| one.text("name") == template) {
        return Ok(());
    }
    Err(format!("PodGroup rejected: PodGroupTemplate {template:?} not found in Workload {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_template_must_be_there() {
        let workload = json!({"spec": {"podGroupTemplates": [{"name": "workers"}]}});
        assert_eq!(check(Some(&workload), "w", "workers"), Ok(()));
        assert_eq!(
            check(Some(&workload), "w", "driver").unwrap_err(),
            "PodGroup rejected: PodGroupTemplate \"driver\" not found in Workload \"w\""
        );
        assert_eq!(check(None, "w", "workers").unwrap_err(), "PodGroup rejected: Workload \"w\" not found");
    }
}
