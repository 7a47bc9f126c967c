//! Acting as somebody else, for those who may (`Impersonate-*` headers).
//!
//! Promise: nobody acts as a user, in a group, under a UID or with an extra fact without the right to `impersonate` each of
//! them. Source: apiserver `pkg/endpoints/filters/impersonation.go`.

use http::HeaderMap;

use super::{ANONYMOUS, MASTERS, User};
use crate::authz::roles::Policy;
use crate::authz::rules::Act;
use crate::status::{ApiError, ApiResult};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// The group of what only impersonation knows as resources.
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The user that the headers name, or the one who asks.
pub(crate) fn impersonate<P: AsRef<Policy>>(
    user: User,
    headers: &HeaderMap,
    policy: impl FnOnce() -> P,
) -> ApiResult<User> {
    let one = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    let (name, uid) = (one(USER), one(UID));
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() {
            return Ok(user);
        }
        let quoted: Vec<String> = groups.iter().map(|group| format!("{group:?}")).collect();
        let groups = if quoted.is_empty() {
            "[]string(nil)".to_owned()
        } else {
            format!("[]string{{{}}}", quoted.join(", "))
        };
        return Err(ApiError::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid:?}, Groups:{groups}, \
             Extra:map[string][]string(nil)}} without impersonating a user name"
        )));
    }
    let extra = |key: &str| -> Vec<&str> {
        headers.get_all(key).iter().filter_map(|value| value.to_str().ok()).collect()
    };
    let extras =
        headers.keys().filter_map(|key| Some((key.as_str().strip_prefix(EXTRA)?, extra(key.as_str()))));
    let extras: Vec<(&str, Vec<&str>)> = extras.collect();
    if !user.is_in(MASTERS) {
        let policy = policy();
        let wanted = wanted(name, uid, &groups, &extras);
        if let Some(act) = wanted.iter().find(|act| policy.as_ref().allows(&user, act).is_none()) {
            return Err(refused(&user, act));
        }
    }
    if name == ANONYMOUS {
        return Ok(User::anonymous());
    }
    let groups = match service_account_groups(name) {
        Some(implied) if groups.is_empty() => implied,
        _ => groups,
    };
    let mut other = User::new(name, groups);
    if !uid.is_empty() {
        other = other.with_uid(uid);
    }
    for (key, values) in extras {
        other = other.with_extra(key, values.into_iter().map(str::to_owned).collect());
    }
    Ok(other)
}

/// All that has to be granted.
fn wanted<'a>(
    name: &'a str,
    uid: &'a str,
    groups: &'a [String],
    extras: &'a [(&'a str, Vec<&'a str>)],
) -> Vec<Act<'a>> {
    let act = |resource, name| Act { verb: "impersonate", resource, name, ..Act::default() };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let mut wanted = vec![match account {
        Some((namespace, name)) => Act { namespace, ..act("serviceaccounts", name) },
        None => act("users", name),
    }];
    wanted.extend(groups.iter().map(|group| act("groups", group)));
    wanted.extend((!uid.is_empty()).then(|| Act { group: AUTHENTICATION, ..act("uids", uid) }));
    for (key, values) in extras {
        let extra =
            |value: &&'a str| Act { group: AUTHENTICATION, subresource: key, ..act("userextras", value) };
        wanted.extend(values.iter().map(extra));
    }
    wanted
}

fn refused(user: &User, act: &Act<'_>) -> ApiError {
    let place = match act.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let resource = match act.subresource {
        "" => act.resource.to_owned(),
        subresource => format!("{}/{subresource}", act.resource),
    };
    let why = format!(
        "User {:?} cannot impersonate resource {resource:?} in API group {:?} {place}",
        user.name(),
        act.group
    );
    ApiError::forbidden(act.group, act.resource, act.name, &why)
}

/// The groups of `system:serviceaccount:NAMESPACE:NAME`.
pub(crate) fn service_account_groups(name: &str) -> Option<Vec<String>> {
    let (namespace, _) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")])
}
