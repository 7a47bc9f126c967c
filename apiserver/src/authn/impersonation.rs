//! Acting as somebody else, for those who may (`Impersonate-*` headers).
//!
//! Promise: only users who may do everything impersonate anybody, until roles are read. Source: apiserver
//! `pkg/endpoints/filters/impersonation.go`.

use http::HeaderMap;

use super::{ANONYMOUS, MASTERS, User};
use crate::status::{ApiError, ApiResult};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// The user that the headers name, or the one who asks.
pub(crate) fn impersonate(user: User, headers: &HeaderMap) -> ApiResult<User> {
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
    if !user.is_in(MASTERS) {
        let why = format!(
            "User {:?} cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            user.name()
        );
        return Err(ApiError::forbidden("", "users", name, &why));
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
    for key in headers.keys().filter(|key| key.as_str().starts_with(EXTRA)) {
        let values = headers.get_all(key).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
        other = other.with_extra(&key.as_str()[EXTRA.len()..], values);
    }
    Ok(other)
}

/// The groups of `system:serviceaccount:NAMESPACE:NAME`.
pub(crate) fn service_account_groups(name: &str) -> Option<Vec<String>> {
    let (namespace, _) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")])
}
