//! Priority: a pod's class becomes its number, and there is one default class at most.
//!
//! Source: kubernetes `plugin/pkg/admission/priority`.

use serde_json::Value;

use super::Attributes;
use crate::http::route::Verb;
use crate::kinds::read::Read;
use crate::object;
use crate::status::ApiResult;

pub(super) fn admit(attributes: &Attributes<'_>, object: &mut Value) -> ApiResult<()> {
    if attributes.is("scheduling.k8s.io", "priorityclasses") {
        return only_default(attributes, object);
    }
    if !attributes.is("", "pods") {
        return Ok(());
    }
    if let Some(old) = attributes.old {
        keep(object, old);
        return Ok(());
    }
    if attributes.verb == Verb::Create { resolve(attributes, object) } else { Ok(()) }
}

/// An update that leaves out what admission wrote means to leave it as it is.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if !pod["spec"].has(field) && pod["spec"]["priorityClassName"] == old["spec"]["priorityClassName"] {
            object::carry_over(&mut pod["spec"], &old["spec"], field);
        }
    }
}

fn resolve(attributes: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    let name = pod["spec"].text("priorityClassName").to_owned();
    let class = if name.is_empty() {
        default_class(attributes.all("scheduling.k8s.io", "priorityclasses", ""))
    } else {
        let class = attributes.get("scheduling.k8s.io", "priorityclasses", "", &name);
        if class.is_none() {
            return Err(attributes.forbid(pod, &format!("no PriorityClass with name {name} was found")));
        }
        class
    };
    let class = class.unwrap_or(Value::Null);
    let value = class.int("value").unwrap_or_default();
    if let Some(given) = pod["spec"].int("priority").filter(|given| *given != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(attributes.forbid(pod, &why));
    }
    let policy = match class.text("preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    let given = pod["spec"].text("preemptionPolicy");
    if !given.is_empty() && given != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbid(pod, &why));
    }
    if name.is_empty() && !class.is_null() {
        pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
    }
    pod["spec"]["priority"] = value.into();
    pod["spec"]["preemptionPolicy"] = policy.into();
    Ok(())
}

/// The lowest of the default classes, should there be several after all.
fn default_class(classes: Vec<Value>) -> Option<Value> {
    let defaults = classes.into_iter().filter(|class| class.flag("globalDefault"));
    defaults.min_by_key(|class| class.int("value").unwrap_or_default())
}

fn only_default(attributes: &Attributes<'_>, class: &Value) -> ApiResult<()> {
    if !class.flag("globalDefault") {
        return Ok(());
    }
    let other = default_class(attributes.all("scheduling.k8s.io", "priorityclasses", ""))
        .filter(|other| object::name(other) != object::name(class));
    match other {
        Some(other) => {
            let name = object::name(&other);
            let why =
                format!("PriorityClass {name} is already marked as default. Only one default can exist");
            Err(attributes.forbid(class, &why))
        }
        None => Ok(()),
    }
}
