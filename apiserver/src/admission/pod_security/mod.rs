//! PodSecurity: what the pods of a namespace may ask of their node, as the namespace's labels say.
//!
//! Promise: pods that violate the enforced level are refused; pods and workloads that violate the level to warn of are
//! stored, with a warning. Source: kubernetes `staging/src/k8s.io/pod-security-admission`.

mod checks;

use std::collections::BTreeMap;

use serde_json::Value;

use self::checks::{Violation, violations};
use super::Attributes;
use crate::field::{FieldError, Path};
use crate::http::route::Verb;
use crate::kinds::read::Read;
use crate::object;
use crate::status::{ApiError, ApiResult};

const PREFIX: &str = "pod-security.kubernetes.io/";
const MODES: [&str; 3] = ["enforce", "audit", "warn"];

/// How much is allowed; later is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// What one mode demands of a namespace's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    level: Level,
    version: String,
}

impl Policy {
    /// The policy that a namespace states; none means everything is allowed, a wrong one the strictest.
    fn of(namespace: &Value, mode: &str) -> Self {
        let labels = &namespace["metadata"]["labels"];
        let level = labels.get(format!("{PREFIX}{mode}")).and_then(Value::as_str);
        let level = level.map_or(Level::Privileged, |text| Level::parse(text).unwrap_or(Level::Restricted));
        let version = labels.text(&format!("{PREFIX}{mode}-version"));
        Self { level, version: if is_version(version) { version } else { "latest" }.to_owned() }
    }

    fn violations(&self, metadata: &Value, spec: &Value) -> Vec<Violation> {
        violations(self.level, metadata, spec)
    }

    /// `restricted:latest`.
    fn text(&self) -> String {
        format!("{}:{}", self.level.name(), self.version)
    }
}

/// `latest`, or `v1.` and a number.
fn is_version(text: &str) -> bool {
    let minor = text.strip_prefix("v1.").unwrap_or_default();
    let canonical = minor == "0" || !minor.starts_with('0');
    text == "latest" || (canonical && !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn validate(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let subresource = attributes.call.path.subresource.as_str();
    if attributes.is("", "namespaces") {
        return if subresource.is_empty() { namespace(attributes, object) } else { Ok(()) };
    }
    let is_pod = attributes.is("", "pods");
    let concerns = match subresource {
        "" => true,
        "ephemeralcontainers" => is_pod,
        _ => false,
    };
    let template = if is_pod { Some(object) } else { template(attributes, object) };
    let Some(template) = template.filter(|_| concerns) else { return Ok(()) };
    if is_pod && attributes.old.is_some_and(|old| !is_significant(object, old)) {
        return Ok(());
    }
    let Some(home) = attributes.get("core", "namespaces", "", object::namespace(object)) else {
        return Ok(());
    };
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    if is_pod {
        let enforced = Policy::of(&home, "enforce");
        let found = enforced.violations(metadata, spec);
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", enforced.text(), told(&found));
            return Err(attributes.forbid(object, &why));
        }
    }
    let advised = Policy::of(&home, "warn");
    let found = advised.violations(metadata, spec);
    if !found.is_empty() {
        attributes.call.warn(format!("would violate PodSecurity \"{}\": {}", advised.text(), told(&found)));
    }
    Ok(())
}

fn told(violations: &[Violation]) -> String {
    let each = violations.iter().map(|one| format!("{} ({})", one.reason, one.detail));
    each.collect::<Vec<_>>().join(", ")
}

/// The pod template of a workload.
fn template<'a>(attributes: &Attributes<'_>, object: &'a Value) -> Option<&'a Value> {
    let template = match (&*attributes.kind.group, &*attributes.kind.plural) {
        ("", "podtemplates") => &object["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        _ => return None,
    };
    template.has("spec").then_some(template)
}

/// Whether an update changes what was judged at creation: an image, or a container more.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    lists.into_iter().any(|list| {
        let (new, old) = (pod["spec"].list(list), old["spec"].list(list));
        let same = |container: &Value| {
            let before = old.iter().find(|one| one.text("name") == container.text("name"));
            before.is_some_and(|before| before.text("image") == container.text("image"))
        };
        new.len() != old.len() || !new.iter().all(same)
    })
}

/// Refuses labels that are no policy and tells which pods a stricter one would not let in.
fn namespace(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let errors = bad_labels(object);
    if !errors.is_empty() && attributes.old.is_none_or(|old| bad_labels(old).is_empty()) {
        return Err(ApiError::invalid("", "Namespace", object::name(object), errors));
    }
    let (Some(old), Verb::Update) = (attributes.old, attributes.verb) else { return Ok(()) };
    let (policy, before) = (Policy::of(object, "enforce"), Policy::of(old, "enforce"));
    if policy == before || policy.level == Level::Privileged {
        return Ok(());
    }
    if policy.version == before.version && policy.level < before.level {
        return Ok(());
    }
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in attributes.all("core", "pods", object::name(object)) {
        let found = policy.violations(&pod["metadata"], &pod["spec"]);
        let reasons: Vec<_> = found.into_iter().map(|one| one.reason).collect();
        if !reasons.is_empty() {
            alike.entry(reasons.join(", ")).or_default().push(object::name(&pod).to_owned());
        }
    }
    if alike.is_empty() {
        return Ok(());
    }
    attributes.call.warn(format!(
        "existing pods in namespace \"{}\" violate the new PodSecurity enforce level \"{}\"",
        object::name(object),
        policy.text(),
    ));
    let mut lines: Vec<_> =
        alike.iter().map(|(reasons, pods)| format!("{}: {reasons}", pods_of(pods))).collect();
    lines.sort();
    for line in lines {
        attributes.call.warn(line);
    }
    Ok(())
}

/// `a (and 2 other pods)`.
fn pods_of(pods: &[String]) -> String {
    let first = pods.iter().min().map(String::as_str).unwrap_or_default();
    match pods.len() {
        0 | 1 => first.to_owned(),
        2 => format!("{first} (and 1 other pod)"),
        many => format!("{first} (and {} other pods)", many - 1),
    }
}

fn bad_labels(namespace: &Value) -> Vec<FieldError> {
    let labels = &namespace["metadata"]["labels"];
    let root = Path::root("metadata");
    let path = root.child("labels");
    let mut errors = Vec::new();
    for mode in MODES {
        let key = format!("{PREFIX}{mode}");
        if let Some(text) =
            labels.get(&key).and_then(Value::as_str).filter(|text| Level::parse(text).is_none())
        {
            let why = "must be one of privileged, baseline, restricted";
            errors.push(FieldError::invalid(path.key(&key), text, why));
        }
        let key = format!("{PREFIX}{mode}-version");
        if let Some(text) = labels.get(&key).and_then(Value::as_str).filter(|text| !is_version(text)) {
            let why = "must be \"latest\" or \"v1.x\"";
            errors.push(FieldError::invalid(path.key(&key), text, why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_state_a_policy() {
        let namespace = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.25",
            "pod-security.kubernetes.io/warn": "strict", "pod-security.kubernetes.io/warn-version": "1.25"}}});
        assert_eq!(Policy::of(&namespace, "enforce").text(), "baseline:v1.25");
        assert_eq!(Policy::of(&namespace, "warn").text(), "restricted:latest");
        assert_eq!(Policy::of(&namespace, "audit").text(), "privileged:latest");
        assert_eq!(bad_labels(&namespace).len(), 2);
    }

    #[test]
    fn only_new_images_and_containers_are_judged_again() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "x"}]}});
        let mut new = old.clone();
        new["metadata"]["labels"]["l"] = "1".into();
        assert!(!is_significant(&new, &old));
        new["spec"]["containers"][0]["image"] = "y".into();
        assert!(is_significant(&new, &old));
        new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "x"}]);
        assert!(is_significant(&new, &old));
    }
}
