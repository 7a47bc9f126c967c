//! Which kinds the server has, for the controllers that work on all of them.
//!
//! A group that cannot be asked (the server of an aggregated API is away) is reported and does not hide the others.

use std::collections::BTreeSet;

use kube::Client;
use kube::api::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery};

/// A kind that the server has, in the version it prefers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|found| found == verb)
    }

    /// `plural.group`, as conditions and messages name it.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.api.plural, self.api.group)
    }
}

/// What the server answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovered {
    /// All kinds, each once.
    pub(crate) resources: Vec<Resource>,
    /// The group versions that could not be asked, as `group/version`.
    pub(crate) missing: Vec<String>,
}

/// Asks the server, in two requests.
pub(crate) async fn discover(client: &Client) -> Result<Discovered, kube::Error> {
    let mut groups = client.list_core_api_versions_aggregated().await?.items;
    groups.extend(client.list_api_groups_aggregated().await?.items);
    Ok(read(&groups))
}

fn read(groups: &[APIGroupDiscovery]) -> Discovered {
    let mut discovered = Discovered::default();
    for group in groups {
        let name = group.metadata.as_ref().and_then(|meta| meta.name.as_deref()).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for version in &group.versions {
            let label = version.version.as_deref().unwrap_or_default();
            if version.freshness.as_deref() == Some("Stale") {
                discovered.missing.push(format!("{name}/{label}"));
            }
            // The preferred version comes first; later ones add only what it does not have.
            let new = version.resources.iter().filter_map(|found| resource(name, label, found));
            discovered.resources.extend(new.filter(|resource| seen.insert(resource.api.plural.clone())));
        }
    }
    discovered
}

fn resource(group: &str, version: &str, found: &APIResourceDiscovery) -> Option<Resource> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(Resource {
        api: ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: found.response_kind.as_ref()?.kind.clone()?,
            plural: found.resource.clone()?,
        },
        namespaced: found.scope.as_deref() == Some("Namespaced"),
        verbs: found.verbs.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::discovery::v2::APIGroupDiscoveryList;
    use serde_json::json;

    #[test]
    fn preferred_versions_and_stale_groups() {
        let kind = |name: &str| json!({"resource": name, "scope": "Namespaced", "verbs": ["list"], "responseKind": {"kind": name}});
        let list: APIGroupDiscoveryList = serde_json::from_value(json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [kind("pods")]}]},
            {"metadata": {"name": "x.io"}, "versions": [
                {"version": "v2", "resources": [kind("as")]},
                {"version": "v1", "resources": [kind("as"), kind("bs")]},
            ]},
            {"metadata": {"name": "away.io"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
        ]}))
        .unwrap();
        let found = read(&list.items);
        let versions: Vec<_> = found
            .resources
            .iter()
            .map(|resource| (&*resource.api.api_version, &*resource.api.plural))
            .collect();
        assert_eq!(versions, [("v1", "pods"), ("x.io/v2", "as"), ("x.io/v1", "bs")]);
        assert_eq!(found.missing, ["away.io/v1"]);
        assert!(found.resources[0].can("list") && !found.resources[0].can("delete"));
    }
}
