//! A proxy in front of the port that names its users in request headers.
//!
//! Promise: headers are read only on a connection whose client certificate is of the proxies' CA, under one of the names
//! that are allowed. Upstream: `authentication/request/headerrequest`, `--requestheader-*`.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::{AUTHENTICATED, Caller};

/// Where a proxy names the user if nothing is said.
pub const USERNAME_HEADERS: &str = "x-remote-user";
/// Where it names the groups.
pub const GROUP_HEADERS: &str = "x-remote-group";
/// What stands before the names of other headers about the user.
pub const EXTRA_PREFIXES: &str = "x-remote-extra-";

/// What is trusted of such proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontProxy {
    /// The CA of their client certificates, in PEM.
    pub authority: Vec<u8>,
    /// Common names that a certificate may have; any if there is none.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name; the first that is there counts.
    pub username_headers: Vec<String>,
    /// Headers with the user's UID; the first that is there counts.
    pub uid_headers: Vec<String>,
    /// Headers with the user's groups; all count.
    pub group_headers: Vec<String>,
    /// What stands before the names of headers with more about the user.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// The user whom a proxy with a certificate of this name has put into the headers.
    pub(super) fn user(&self, proxy: &str, headers: &HeaderMap) -> Option<Caller> {
        if !self.allowed_names.is_empty() && !self.allowed_names.iter().any(|name| name == proxy) {
            tracing::debug!(proxy, "a certificate of the proxies' CA has a name that is not allowed");
            return None;
        }
        let name = first(headers, &self.username_headers)?;
        let groups = self.group_headers.iter().flat_map(|header| all(headers, header));
        let mut groups: Vec<String> = groups.collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        let uid = first(headers, &self.uid_headers).unwrap_or_default();
        let mut caller = Caller { name, uid, groups, ..Caller::default() };
        for header in headers.keys() {
            let prefixes = self.extra_prefixes.iter().map(|prefix| prefix.to_ascii_lowercase());
            let key = prefixes.filter_map(|prefix| header.as_str().strip_prefix(&*prefix).map(str::to_owned));
            for key in key {
                let key = percent_decode_str(&key).decode_utf8_lossy().to_lowercase();
                caller.extra.entry(key).or_default().extend(all(headers, header.as_str()));
            }
        }
        Some(caller)
    }
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = String> + use<'h> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok().map(str::to_owned))
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().flat_map(|name| all(headers, name).next()).find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn trusted(names: &[&str]) -> FrontProxy {
        let list = |text: &str| vec![text.to_owned()];
        FrontProxy {
            allowed_names: names.iter().map(|name| (*name).to_owned()).collect(),
            username_headers: vec!["X-Remote-User".to_owned(), "X-Other-User".to_owned()],
            uid_headers: list("X-Remote-Uid"),
            group_headers: list("X-Remote-Group"),
            extra_prefixes: list("X-Remote-Extra-"),
            ..FrontProxy::default()
        }
    }

    #[test]
    fn who_is_named() {
        let ann = [("x-remote-user", "ann")];
        for (name, names, list, want) in [
            ("a user", vec![], &ann[..], Some("ann")),
            ("by a proxy that may", vec!["other", "front"], &ann, Some("ann")),
            ("by one that may not", vec!["other"], &ann, None),
            ("nobody", vec![], &[], None),
            ("an empty name", vec![], &[("x-remote-user", "")], None),
            ("in the second header", vec![], &[("x-other-user", "bob")], Some("bob")),
            ("in both", vec![], &[("x-other-user", "bob"), ("x-remote-user", "ann")], Some("ann")),
        ] {
            let caller = trusted(&names).user("front", &headers(list));
            assert_eq!(caller.map(|caller| caller.name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn what_is_told_of_the_user() {
        let caller = trusted(&[])
            .user(
                "front",
                &headers(&[
                    ("x-remote-user", "ann"),
                    ("x-remote-uid", "7"),
                    ("x-remote-group", "dev"),
                    ("x-remote-group", "ops"),
                    ("x-remote-extra-example.com%2fscopes", "a"),
                    ("x-remote-extra-example.com%2fscopes", "b"),
                ]),
            )
            .unwrap();
        assert_eq!(caller.uid, "7");
        assert_eq!(caller.groups, ["dev", "ops", AUTHENTICATED]);
        assert_eq!(caller.extra["example.com/scopes"], ["a", "b"]);
        assert_eq!(caller.extra.len(), 1);
    }
}
