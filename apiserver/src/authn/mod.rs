//! Who is asking: the identity of a request and where it comes from.
//!
//! Promise: an identity is only ever taken from a verified client certificate, a token this server signed, or
//! from code in this process that hands one over. Everybody else is anonymous.

pub mod certificate;
pub(crate) mod impersonation;
pub(crate) mod token;

use std::sync::Arc;

/// An authenticated (or anonymous) user. Cheap to clone: requests carry it in their extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(Arc<Identity>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: Vec<(String, Vec<String>)>,
}

/// May do everything; bound to cluster-admin upstream and never restricted by RBAC.
pub const MASTERS: &str = "system:masters";
/// Every user with an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Every user without.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of users without an identity.
pub const ANONYMOUS: &str = "system:anonymous";

impl User {
    /// A user with these groups; `system:authenticated` is added.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self(Arc::new(Identity { name: name.into(), groups, ..Identity::default() }))
    }

    /// A user that may do everything.
    pub fn system_masters(name: impl Into<String>) -> Self {
        Self::new(name, [MASTERS])
    }

    /// The user of a request without credentials.
    pub fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self(Arc::new(Identity { name: ANONYMOUS.to_owned(), groups, ..Identity::default() }))
    }

    /// The same user with a UID.
    pub fn with_uid(mut self, uid: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).uid = uid.into();
        self
    }

    /// The same user with one more extra key.
    pub fn with_extra(mut self, key: impl Into<String>, values: Vec<String>) -> Self {
        Arc::make_mut(&mut self.0).extra.push((key.into(), values));
        self
    }

    /// The user's name, such as `system:node:n1`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The user's UID, or empty.
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// The user's groups.
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// Facts beside name, UID and groups.
    pub fn extra(&self) -> &[(String, Vec<String>)] {
        &self.0.extra
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.0.groups.iter().any(|g| g == group)
    }

    /// Whether the user has no identity.
    pub fn is_anonymous(&self) -> bool {
        self.0.name == ANONYMOUS
    }
}
