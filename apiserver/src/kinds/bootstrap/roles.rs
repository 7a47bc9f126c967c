//! The default roles and bindings, from their compact text.

use serde_json::{Value, json};

const TEXT: &str = include_str!("roles.txt");
const RBAC: &str = "rbac.authorization.k8s.io";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Every role and binding of `roles.txt`.
pub(super) fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with(' ') {
            let rule = rule(line);
            if let Some(rules) = objects.last_mut().and_then(|role| role["rules"].as_array_mut()) {
                rules.push(rule);
            }
        } else {
            objects.push(head(line));
        }
    }
    objects
}

fn head(line: &str) -> Value {
    let mut words = line.split(' ');
    let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut object = json!({
        "kind": kind, "apiVersion": format!("{RBAC}/v1"),
        "metadata": {
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if kind == "Role" || kind == "RoleBinding" {
        let (namespace, name) = name.split_once('/').unwrap_or_default();
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["name"] = name.into();
    } else {
        object["metadata"]["name"] = name.into();
    }
    if !kind.ends_with("Binding") {
        object["rules"] = json!([]);
    }
    for word in words {
        let (key, value) = word.split_once(':').unwrap_or_default();
        qualify(&mut object, key, value);
    }
    object
}

/// One word behind a name.
fn qualify(object: &mut Value, key: &str, value: &str) {
    let aggregate = |role: &str| format!("{RBAC}/aggregate-to-{role}");
    let subject = match key {
        "into" => {
            object["metadata"]["labels"][aggregate(value)] = "true".into();
            return;
        }
        "from" => {
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {aggregate(value): "true"}}]});
            object["rules"] = Value::Null;
            return;
        }
        "Role" | "ClusterRole" => {
            object["roleRef"] = json!({"apiGroup": RBAC, "kind": key, "name": value});
            return;
        }
        "account" => {
            let (namespace, name) = value.split_once('/').unwrap_or_default();
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
        "group" => json!({"apiGroup": RBAC, "kind": "Group", "name": value}),
        _ => json!({"apiGroup": RBAC, "kind": "User", "name": value}),
    };
    match object["subjects"].as_array_mut() {
        Some(subjects) => subjects.push(subject),
        None => object["subjects"] = json!([subject]),
    }
}

fn rule(line: &str) -> Value {
    let mut words = line.trim_start().splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default();
    let (groups, resources, verbs) = (next(), next(), next());
    let list = |text: &str| {
        text.split(',').map(|one| if one == "core" { "" } else { one }.to_owned()).collect::<Vec<_>>()
    };
    if groups == "url" {
        return json!({"nonResourceURLs": list(resources), "verbs": spelled_out(verbs)});
    }
    let (resources, names) = resources.split_once('@').unwrap_or((resources, ""));
    let mut rule =
        json!({"apiGroups": list(groups), "resources": list(resources), "verbs": spelled_out(verbs)});
    if !names.is_empty() {
        rule["resourceNames"] = list(names).into();
    }
    rule
}

fn spelled_out(verbs: &str) -> Vec<&str> {
    let mut all: Vec<&str> = verbs
        .split(',')
        .flat_map(|verb| match verb {
            "read" => READ.to_vec(),
            "write" => WRITE.to_vec(),
            verb => vec![verb],
        })
        .collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: &str, name: &str) -> Value {
        objects().into_iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name).unwrap()
    }

    #[test]
    fn every_line_becomes_a_whole_object() {
        for object in objects() {
            let name = &object["metadata"]["name"];
            assert!(name.as_str().is_some_and(|name| !name.is_empty()), "{object}");
            let is_binding = object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding"));
            assert_eq!(object["roleRef"].is_object(), is_binding, "{name}");
            let has_rules = object["rules"].as_array().is_some_and(|rules| !rules.is_empty());
            assert!(is_binding || has_rules || object["aggregationRule"].is_object(), "{name}");
        }
    }

    #[test]
    fn words_are_read() {
        let admin = find("ClusterRole", "cluster-admin");
        assert_eq!(admin["rules"][0], json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
        assert_eq!(admin["rules"][1], json!({"nonResourceURLs": ["*"], "verbs": ["*"]}));
        let binding = find("ClusterRoleBinding", "cluster-admin");
        assert_eq!(
            binding["subjects"],
            json!([{"apiGroup": RBAC, "kind": "Group", "name": "system:masters"}])
        );
        let view = find("ClusterRole", "view");
        assert_eq!(view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"], "true");
        assert!(view["rules"].is_null());
        let reader = find("Role", "extension-apiserver-authentication-reader");
        assert_eq!(reader["rules"][0]["resourceNames"], json!(["extension-apiserver-authentication"]));
        assert_eq!(reader["metadata"]["namespace"], "kube-system");
    }
}
