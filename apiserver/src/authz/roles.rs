//! Roles and bindings, gathered by whom they are for.
//!
//! Promise: a question is answered by the roles and bindings as they were stored when it was asked. They are read anew
//! only when one of them has changed since. A binding to a role that does not exist grants nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::rules::{Act, Rule};
use crate::authn::User;
use crate::kinds::checks::selects;
use crate::kinds::read::Read;
use crate::object;
use crate::store::{Cursor, Snapshot, Store};

const CLUSTER_ROLES: &str = "/registry/rbac.authorization.k8s.io/clusterroles/";
const CLUSTER_BINDINGS: &str = "/registry/rbac.authorization.k8s.io/clusterrolebindings/";
const ROLES: &str = "/registry/rbac.authorization.k8s.io/roles/";
const BINDINGS: &str = "/registry/rbac.authorization.k8s.io/rolebindings/";
const ALL: [&str; 4] = [CLUSTER_ROLES, CLUSTER_BINDINGS, ROLES, BINDINGS];

/// How deep aggregated roles may gather each other (`admin` gathers `edit`, which gathers `view`).
const DEPTH: usize = 8;

/// The policy of a store, kept until a role or binding changes.
#[derive(Debug, Default)]
pub(crate) struct Roles(Mutex<Option<Followed>>);

#[derive(Debug)]
struct Followed {
    cursors: Vec<Cursor>,
    policy: Arc<Policy>,
}

impl Roles {
    /// What the roles and bindings of the store say now.
    pub(crate) fn policy(&self, store: &Store) -> Arc<Policy> {
        let mut held = self.0.lock();
        if let Some(followed) = held.as_mut()
            && followed.cursors.iter_mut().all(|cursor| quiet(cursor, store))
        {
            return followed.policy.clone();
        }
        let snapshot = store.snapshot();
        let policy = Arc::new(Policy::read(&snapshot));
        let cursors = ALL.iter().map(|prefix| store.watch(prefix, snapshot.revision()));
        *held = cursors
            .collect::<Result<_, _>>()
            .ok()
            .map(|cursors| Followed { cursors, policy: policy.clone() });
        policy
    }
}

/// Whether nothing was written there since it was last asked.
fn quiet(cursor: &mut Cursor, store: &Store) -> bool {
    let newest = store.revision();
    cursor.recent().is_none() && cursor.progress() >= newest
}

/// Who may do what.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    users: FxHashMap<String, Vec<Grant>>,
    groups: FxHashMap<String, Vec<Grant>>,
}

/// What one binding gives one subject.
#[derive(Clone, Debug)]
struct Grant {
    /// Where it holds; everywhere for ClusterRoleBindings.
    namespace: Option<Arc<str>>,
    rules: Arc<[Rule]>,
    source: Arc<Source>,
    subject: String,
}

/// The binding and its role, as reasons name them.
#[derive(Debug)]
struct Source {
    binding: String,
    role: String,
}

impl Policy {
    fn read(snapshot: &Snapshot) -> Self {
        let mut policy = Self::default();
        let book = Book::read(snapshot);
        for (prefix, kind) in [(CLUSTER_BINDINGS, "ClusterRoleBinding"), (BINDINGS, "RoleBinding")] {
            for binding in decoded(snapshot, prefix) {
                policy.add(kind, &binding, &book);
            }
        }
        policy
    }

    fn add(&mut self, kind: &str, binding: &Value, book: &Book) {
        let (namespace, name) = (object::namespace(binding), object::name(binding));
        let role = &binding["roleRef"];
        let (role_kind, role_name) = (role.text("kind"), role.text("name"));
        let Some(rules) = book.rules(role_kind, namespace, role_name) else { return };
        let shown = if namespace.is_empty() { name.to_owned() } else { format!("{name}/{namespace}") };
        let source = Arc::new(Source {
            binding: format!("{kind} {shown:?}"),
            role: format!("{role_kind} {role_name:?}"),
        });
        let place = (!namespace.is_empty()).then(|| Arc::<str>::from(namespace));
        for subject in binding.list("subjects") {
            let (kind, name) = (subject.text("kind"), subject.text("name"));
            let (map, who, shown) = match kind {
                "User" => (&mut self.users, name.to_owned(), format!("User {name:?}")),
                "Group" => (&mut self.groups, name.to_owned(), format!("Group {name:?}")),
                "ServiceAccount" => {
                    let own = match subject.text("namespace") {
                        "" => namespace,
                        own => own,
                    };
                    let shown = format!("ServiceAccount {:?}", format!("{name}/{own}"));
                    (&mut self.users, format!("system:serviceaccount:{own}:{name}"), shown)
                }
                _ => continue,
            };
            map.entry(who).or_default().push(Grant {
                namespace: place.clone(),
                rules: rules.clone(),
                source: source.clone(),
                subject: shown,
            });
        }
    }

    /// Why the user may do it, if a binding lets it: upstream's sentence.
    pub(crate) fn allows(&self, user: &User, act: &Act<'_>) -> Option<String> {
        let grant =
            self.grants(user, act.namespace).find(|grant| grant.rules.iter().any(|rule| rule.allows(act)))?;
        let Source { binding, role } = &*grant.source;
        Some(format!("RBAC: allowed by {binding} of {role} to {}", grant.subject))
    }

    /// All rules that hold for a user in a namespace, or everywhere if that is empty.
    pub(crate) fn rules(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.grants(user, namespace).flat_map(|grant| grant.rules.iter().cloned()).collect()
    }

    fn grants<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let of_groups = user.groups().iter().filter_map(|group| self.groups.get(group));
        let all = self.users.get(user.name()).into_iter().chain(of_groups).flatten();
        all.filter(move |grant| grant.namespace.as_deref().is_none_or(|own| own == namespace))
    }
}

/// The roles by their names.
#[derive(Debug, Default)]
pub(crate) struct Book {
    cluster: FxHashMap<String, Value>,
    namespaced: FxHashMap<(String, String), Arc<[Rule]>>,
}

impl Book {
    pub(crate) fn read(snapshot: &Snapshot) -> Self {
        let named = |role: Value| (object::name(&role).to_owned(), role);
        let placed = |role: Value| {
            let key = (object::namespace(&role).to_owned(), object::name(&role).to_owned());
            (key, Rule::all_of(&role).into())
        };
        Self {
            cluster: decoded(snapshot, CLUSTER_ROLES).map(named).collect(),
            namespaced: decoded(snapshot, ROLES).map(placed).collect(),
        }
    }

    /// The rules of a role; `None` if there is none of that name.
    pub(crate) fn rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        if kind == "Role" {
            return self.namespaced.get(&(namespace.to_owned(), name.to_owned())).cloned();
        }
        self.cluster.get(name).map(|role| self.gathered(role, DEPTH).into())
    }

    /// The rules written in a role; of an aggregated one into which nobody has written them, those of what it selects.
    fn gathered(&self, role: &Value, depth: usize) -> Vec<Rule> {
        let own = Rule::all_of(role);
        if !own.is_empty() || depth == 0 {
            return own;
        }
        let selectors = role["aggregationRule"].list("clusterRoleSelectors");
        let selected = |other: &&Value| {
            let labels = &other["metadata"]["labels"];
            object::name(other) != object::name(role) && selectors.iter().any(|one| selects(one, labels))
        };
        self.cluster.values().filter(selected).flat_map(|other| self.gathered(other, depth - 1)).collect()
    }
}

fn decoded<'a>(snapshot: &'a Snapshot, prefix: &'a str) -> impl Iterator<Item = Value> + 'a {
    snapshot.range(prefix, None).filter_map(|record| serde_json::from_slice(&record.bytes).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{Change, Draft, Expect, Header, Write};

    async fn put(store: &Store, key: &str, object: Value) {
        let change = Change::Put(Draft::encode(&object), Header::default());
        let expect = store.get(key).map_or(Expect::Absent, |there| Expect::Revision(there.revision));
        store.commit(Write { key: key.into(), expect, change }).await.unwrap();
    }

    fn get(namespace: &'static str, resource: &'static str) -> Act<'static> {
        Act { verb: "get", namespace, resource, ..Act::default() }
    }

    fn role(name: &str, resource: &str) -> Value {
        json!({"metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]})
    }

    #[tokio::test]
    async fn bindings_hold_where_they_are_and_follow_the_store() {
        let (store, roles) = (Store::in_memory(), Roles::default());
        let robot = User::new("system:serviceaccount:a:robot", ["system:serviceaccounts"]);
        let says = |act: Act<'_>| roles.policy(&store).allows(&robot, &act);
        let binding = json!({"metadata": {"name": "b", "namespace": "a"},
            "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot"}]});
        put(&store, &format!("{BINDINGS}a/b"), binding).await;
        assert_eq!(says(get("a", "pods")), None, "there is no such role yet");
        put(&store, &format!("{CLUSTER_ROLES}r"), role("r", "pods")).await;
        let why = r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "r" to ServiceAccount "robot/a""#;
        assert_eq!(says(get("a", "pods")).as_deref(), Some(why));
        assert_eq!((says(get("b", "pods")), says(get("", "pods"))), (None, None));
        put(&store, "/registry/core/pods/a/x", json!({"metadata": {"name": "x"}})).await;
        put(&store, &format!("{CLUSTER_ROLES}r"), role("r", "services")).await;
        assert_eq!(says(get("a", "pods")), None, "the role was changed");
        assert!(says(get("a", "services")).is_some());
        let everywhere = json!({"metadata": {"name": "c"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "Group", "name": "system:serviceaccounts"}]});
        put(&store, &format!("{CLUSTER_BINDINGS}c"), everywhere).await;
        assert!(says(get("b", "services")).is_some() && says(get("", "services")).is_some());
        assert!(roles.policy(&store).allows(&User::anonymous(), &get("b", "services")).is_none());
    }

    #[tokio::test]
    async fn aggregated_roles_gather() {
        let store = Store::in_memory();
        let gathers = |name: &str, label: &str, own: Value| {
            json!({"metadata": {"name": name, "labels": own}, "rules": null,
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}})
        };
        let mut leaf = role("leaf", "pods");
        leaf["metadata"]["labels"] = json!({"view": "true"});
        put(&store, &format!("{CLUSTER_ROLES}leaf"), leaf).await;
        put(&store, &format!("{CLUSTER_ROLES}view"), gathers("view", "view", json!({"edit": "true"}))).await;
        put(&store, &format!("{CLUSTER_ROLES}edit"), gathers("edit", "edit", json!({"edit": "true"}))).await;
        let book = Book::read(&store.snapshot());
        for name in ["leaf", "view", "edit"] {
            let rules = book.rules("ClusterRole", "", name).unwrap();
            assert!(rules.iter().any(|rule| rule.allows(&get("x", "pods"))), "{name}");
        }
        assert!(book.rules("ClusterRole", "", "absent").is_none());
        assert!(book.rules("Role", "x", "leaf").is_none());
    }
}
