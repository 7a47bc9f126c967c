//! A rule of a role: what it lets through, and whether it covers another rule.
//!
//! Promise: pure; the meaning of `*`, of subresources and of names is upstream's (`pkg/apis/rbac/v1/evaluation_helpers.go`,
//! `component-helpers/auth/rbac/validation`).

use std::fmt;

use serde_json::Value;

use crate::kinds::read::Read;

const ANY: &str = "*";

/// What somebody wants to do. Absent parts are empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Act<'a> {
    pub verb: &'a str,
    pub namespace: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// A path that is no resource; the fields above but for the verb are empty then.
    pub path: Option<&'a str>,
}

/// One rule of a role (`rbac.authorization.k8s.io/v1` PolicyRule).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
}

impl Rule {
    /// Reads a rule as it is stored.
    pub(crate) fn read(rule: &Value) -> Self {
        let texts = |key: &str| {
            rule.list(key).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// The rules of a role as it is stored.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        role.list("rules").iter().map(Self::read).collect()
    }

    /// Whether the rule lets this be done.
    pub(crate) fn allows(&self, act: &Act<'_>) -> bool {
        if !has(&self.verbs, act.verb) {
            return false;
        }
        match act.path {
            Some(path) => self.paths.iter().any(|one| path_matches(one, path)),
            None => {
                has(&self.groups, act.group)
                    && self.resources.iter().any(|one| resource_matches(one, act))
                    && (self.names.is_empty() || self.names.iter().any(|name| name == act.name))
            }
        }
    }

    /// Whether these rules together grant all that the wanted one does. It is taken apart into its smallest pieces,
    /// each of which one of the rules has to cover.
    pub(crate) fn covered_by(&self, held: &[Self]) -> bool {
        let verbs = |piece: &dyn Fn(&str) -> bool| self.verbs.iter().all(|verb| piece(verb));
        let paths = self.paths.iter().all(|path| {
            verbs(&|verb| {
                held.iter().any(|rule| {
                    has(&rule.verbs, verb) && rule.paths.iter().any(|one| path_matches(one, path))
                })
            })
        });
        let resources = self.groups.iter().all(|group| {
            self.resources.iter().all(|resource| {
                verbs(&|verb| {
                    let holds =
                        |name: Option<&str>| held.iter().any(|rule| rule.covers(verb, group, resource, name));
                    match self.names.as_slice() {
                        [] => holds(None),
                        names => names.iter().all(|name| holds(Some(name))),
                    }
                })
            })
        });
        paths && resources
    }

    /// `name` is `None` for every name.
    fn covers(&self, verb: &str, group: &str, resource: &str, name: Option<&str>) -> bool {
        let part = resource.split_once('/').map(|(_, part)| part);
        let resource = |one: &String| {
            one == ANY || one == resource || part.is_some_and(|part| one.strip_prefix("*/") == Some(part))
        };
        has(&self.verbs, verb)
            && has(&self.groups, group)
            && self.resources.iter().any(resource)
            && (self.names.is_empty() || name.is_some_and(|name| self.names.iter().any(|one| one == name)))
    }

    /// The rule as `SelfSubjectRulesReview` lists it, and whether it is one about paths.
    pub(crate) fn listed(&self) -> (Value, bool) {
        let mut listed = serde_json::json!({"verbs": self.verbs});
        let about_paths = !self.paths.is_empty();
        for (key, values) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !values.is_empty() {
                listed[key] = values.clone().into();
            }
        }
        (listed, about_paths)
    }
}

/// As refusals show it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.groups),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Resources", &self.resources),
            ("Verbs", &self.verbs),
        ];
        let shown = fields.iter().filter(|(_, values)| !values.is_empty());
        let shown: Vec<String> = shown
            .map(|(name, values)| {
                let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
                format!("{name}:[{}]", quoted.join(" "))
            })
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

fn has(listed: &[String], wanted: &str) -> bool {
    listed.iter().any(|one| one == ANY || one == wanted)
}

/// `*` is every resource and subresource, `*/scale` that subresource of all, `pods` the pods without their parts.
fn resource_matches(one: &str, act: &Act<'_>) -> bool {
    if one == ANY {
        return true;
    }
    match one.split_once('/') {
        None => act.subresource.is_empty() && one == act.resource,
        Some((resource, part)) => part == act.subresource && (resource == ANY || resource == act.resource),
    }
}

/// `/healthz/*` is all below it.
fn path_matches(one: &str, path: &str) -> bool {
    one == path || one.strip_suffix(ANY).is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn act<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Act<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Act { verb, group, resource, subresource, name, ..Act::default() }
    }

    fn rule(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> Rule {
        Rule::read(
            &json!({"apiGroups": [group], "resources": resources, "resourceNames": names, "verbs": verbs}),
        )
    }

    #[test]
    fn a_rule_lets_through_what_it_names() {
        for (rule, act, want) in [
            (rule("", &["pods"], &[], &["get"]), act("get", "", "pods", "a"), true),
            (rule("", &["pods"], &[], &["get"]), act("list", "", "pods", ""), false),
            (rule("", &["pods"], &[], &["get"]), act("get", "apps", "pods", "a"), false),
            (rule("", &["pods"], &[], &["get"]), act("get", "", "pods/log", "a"), false),
            (rule("", &["pods/log"], &[], &["get"]), act("get", "", "pods/log", "a"), true),
            (rule("", &["pods/log"], &[], &["get"]), act("get", "", "pods", "a"), false),
            (rule("apps", &["*/scale"], &[], &["*"]), act("update", "apps", "deployments/scale", "a"), true),
            (rule("apps", &["*/scale"], &[], &["*"]), act("update", "apps", "deployments", "a"), false),
            (rule("*", &["*"], &[], &["*"]), act("update", "apps", "deployments/scale", "a"), true),
            (rule("", &["pods"], &["a"], &["get"]), act("get", "", "pods", "a"), true),
            (rule("", &["pods"], &["a"], &["get"]), act("get", "", "pods", "b"), false),
            (rule("", &["pods"], &["a"], &["list"]), act("list", "", "pods", ""), false),
        ] {
            assert_eq!(rule.allows(&act), want, "{rule} {act:?}");
        }
        let paths = Rule::read(&json!({"nonResourceURLs": ["/metrics", "/logs/*"], "verbs": ["get"]}));
        let path = |path| Act { verb: "get", path: Some(path), ..Act::default() };
        assert!(paths.allows(&path("/metrics")) && paths.allows(&path("/logs/a")));
        assert!(!paths.allows(&path("/metrics/x")) && !paths.allows(&path("/logs")));
        assert!(!paths.allows(&act("get", "", "pods", "")));
    }

    #[test]
    fn a_rule_is_covered_piece_by_piece() {
        let held = [
            rule("", &["pods"], &[], &["get", "list"]),
            rule("", &["services"], &[], &["get"]),
            rule("", &["secrets"], &["a", "b"], &["get"]),
        ];
        for (wanted, want) in [
            (rule("", &["pods"], &[], &["get"]), true),
            (rule("", &["pods", "services"], &[], &["get"]), true),
            (rule("", &["pods", "services"], &[], &["get", "list"]), false),
            (rule("", &["pods"], &["x"], &["get"]), true),
            (rule("", &["secrets"], &["b"], &["get"]), true),
            (rule("", &["secrets"], &["b", "c"], &["get"]), false),
            (rule("", &["secrets"], &[], &["get"]), false),
            (rule("*", &["pods"], &[], &["get"]), false),
            (rule("", &["*"], &[], &["get"]), false),
            (rule("", &["pods"], &[], &["*"]), false),
        ] {
            assert_eq!(wanted.covered_by(&held), want, "{wanted}");
        }
        let all = [rule("*", &["*"], &[], &["*"])];
        assert!(rule("*", &["*", "pods/log"], &[], &["*"]).covered_by(&all));
        let shown = rule("", &["pods"], &[], &["get", "list"]).to_string();
        assert_eq!(shown, r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#);
    }
}
