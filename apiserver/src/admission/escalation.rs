//! Nobody grants what he does not have.
//!
//! Promise: a role gets no rule, and a binding hands out no role, beyond what its writer may do in the same place, but
//! for those who may `escalate` the role or `bind` it. Source: kubernetes `pkg/registry/rbac/*/policybased`.

use std::sync::Arc;

use serde_json::Value;

use super::Attributes;
use crate::authn::User;
use crate::authz::is_unlimited;
use crate::authz::roles::Book;
use crate::authz::rules::{Act, Rule};
use crate::kinds::read::Read;
use crate::object;
use crate::status::{ApiError, ApiResult};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn validate(attributes: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let Attributes { call, kind, old, server, .. } = attributes;
    if kind.group != GROUP || is_unlimited(&call.user) {
        return Ok(());
    }
    let same = |field: &str| old.is_some_and(|old| old[field] == object[field]);
    let granted: Arc<[Rule]> = match &*kind.plural {
        "roles" | "clusterroles" => {
            if (same("rules") && same("aggregationRule"))
                || special(attributes, "escalate", &kind.plural, object::name(object))
            {
                return Ok(());
            }
            let mut granted = Rule::all_of(object);
            if object["aggregationRule"].is_object() {
                // What it will gather is not known yet.
                granted.extend(everything());
            }
            granted.into()
        }
        _ => {
            let role = &object["roleRef"];
            let (role_kind, name) = (role.text("kind"), role.text("name"));
            let plural = if role_kind == "Role" { "roles" } else { "clusterroles" };
            if (same("roleRef") && same("subjects")) || special(attributes, "bind", plural, name) {
                return Ok(());
            }
            let book = Book::read(&server.store.snapshot());
            let rules = book.rules(role_kind, object::namespace(object), name);
            rules.ok_or_else(|| ApiError::not_found(GROUP, plural, name))?
        }
    };
    let held = server.roles.policy(&server.store).rules(&call.user, object::namespace(object));
    let missing: Vec<&Rule> = granted.iter().filter(|rule| !rule.covered_by(&held)).collect();
    if missing.is_empty() { Ok(()) } else { Err(attributes.forbid(object, &refusal(&call.user, &missing))) }
}

/// Whether the user may do the special verb to that role.
fn special(attributes: &Attributes<'_>, verb: &str, plural: &str, name: &str) -> bool {
    let namespace = attributes.call.namespace();
    let act = Act { verb, namespace, group: GROUP, resource: plural, name, ..Act::default() };
    let server = attributes.server;
    server.roles.policy(&server.store).allows(&attributes.call.user, &act).is_some()
}

fn everything() -> [Rule; 2] {
    [
        serde_json::json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
        serde_json::json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
    ]
    .map(|rule| Rule::read(&rule))
}

fn refusal(user: &User, missing: &[&Rule]) -> String {
    let groups: Vec<String> = user.groups().iter().map(|group| format!("{group:?}")).collect();
    let rules: Vec<String> = missing.iter().map(ToString::to_string).collect();
    format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name(),
        groups.join(" "),
        rules.join("\n")
    )
}
