//! The `resolv.conf` of a pod, from its `dnsPolicy` and `dnsConfig`.
//!
//! Promise: pure; upstream's rules, limits and event texts (`pkg/kubelet/network/dns`). What does not fit is left out and
//! said, never a reason to refuse the pod.

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use crate::runtime::config::Dns;

/// Limits of `resolv.conf`: servers, search domains, bytes of the search line.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_BYTES: usize = 2048;

/// How many dots a name needs to be asked for as it is before the search domains.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// What the cluster and the node say about names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The node's own `resolv.conf`.
    pub node: Dns,
}

/// A pod's `resolv.conf`, and what its owner is told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub dns: Dns,
    pub warnings: Vec<Warning>,
}

/// An event about a pod's `resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub reason: &'static str,
    pub message: String,
}

/// The `resolv.conf` of a pod.
pub(crate) fn resolve(pod: &core::Pod, names: &Names) -> Resolved {
    let Some(spec) = &pod.spec else { return Resolved::default() };
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => spec.host_network != Some(true),
        _ => false,
    };
    let mut warnings = Vec::new();
    let mut dns = if policy == "None" {
        Dns::default()
    } else if cluster && !names.cluster_dns.is_empty() {
        cluster_first(pod, names)
    } else {
        if cluster {
            warnings.push(missing_cluster_dns(policy));
        }
        names.node.clone()
    };
    if let Some(own) = &spec.dns_config {
        add(&mut dns, own);
    }
    fit(&mut dns, &mut warnings);
    Resolved { dns, warnings }
}

/// Reads a `resolv.conf`.
pub(crate) fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            // A domain counts once, with its last full stop or without.
            Some("search") => {
                let plain =
                    |word: &str| if word == "." { word } else { word.trim_end_matches('.') }.to_owned();
                dns.searches = words.map(plain).collect();
            }
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

fn cluster_first(pod: &core::Pod, names: &Names) -> Dns {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = names.cluster_domain.trim_end_matches('.');
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.extend([format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()]);
    }
    searches.extend(names.node.searches.iter().cloned());
    dedup(&mut searches);
    let servers = names.cluster_dns.iter().map(ToString::to_string).collect();
    Dns { servers, searches, options: vec![CLUSTER_OPTIONS.to_owned()] }
}

/// Merges what the pod itself asks for.
fn add(dns: &mut Dns, own: &core::PodDNSConfig) {
    dns.servers.extend(own.nameservers.iter().flatten().cloned());
    dns.searches.extend(own.searches.iter().flatten().cloned());
    dedup(&mut dns.servers);
    dedup(&mut dns.searches);
    for option in own.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        dns.options.retain(|old| old.split(':').next() != Some(&name));
        let text = option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}"));
        dns.options.push(text);
    }
}

fn fit(dns: &mut Dns, warnings: &mut Vec<Warning>) {
    let mut warn = |message: String| warnings.push(Warning { reason: "DNSConfigForming", message });
    if dns.servers.len() > SERVERS {
        dns.servers.truncate(SERVERS);
        warn(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            dns.servers.join(" ")
        ));
    }
    let wanted = dns.searches.len();
    dns.searches.truncate(SEARCHES);
    while dns.searches.join(" ").len() > SEARCH_BYTES {
        dns.searches.pop();
    }
    if dns.searches.len() < wanted {
        warn(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            dns.searches.join(" ")
        ));
    }
}

fn missing_cluster_dns(policy: &str) -> Warning {
    let message = format!(
        "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"{policy}\" policy. Falling back \
         to \"Default\" policy."
    );
    Warning { reason: "MissingClusterDNS", message }
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CLUSTER: &str = "nameserver 10.96.0.10\nsearch n.svc.cluster.local svc.cluster.local cluster.local corp\noptions ndots:5";
    const NODE: &str = "nameserver 9.9.9.9\nsearch corp\noptions edns0";

    fn names() -> Names {
        Names {
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            node: parse("# a comment\nnameserver 9.9.9.9\nsearch old\nsearch corp.\noptions edns0"),
        }
    }

    fn of(mut spec: Value, names: &Names) -> Resolved {
        spec["containers"] = json!([]);
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        resolve(&serde_json::from_value(pod).unwrap(), names)
    }

    fn text(dns: &Dns) -> String {
        let mut lines: Vec<String> =
            dns.servers.iter().map(|server| format!("nameserver {server}")).collect();
        lines.extend((!dns.searches.is_empty()).then(|| format!("search {}", dns.searches.join(" "))));
        lines.extend((!dns.options.is_empty()).then(|| format!("options {}", dns.options.join(" "))));
        lines.join("\n")
    }

    #[test]
    fn each_policy_has_its_file() {
        for (spec, wanted) in [
            (json!({}), CLUSTER),
            (json!({"dnsPolicy": "ClusterFirst"}), CLUSTER),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), NODE),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), CLUSTER),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet"}), CLUSTER),
            (json!({"dnsPolicy": "Default"}), NODE),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "use-vc"}]}}),
                "nameserver 1.1.1.1\nsearch a\noptions ndots:2 use-vc",
            ),
        ] {
            let resolved = of(spec.clone(), &names());
            assert_eq!((text(&resolved.dns).as_str(), resolved.warnings), (wanted, vec![]), "{spec}");
        }
    }

    #[test]
    fn the_pods_own_wishes_are_merged() {
        let own = json!({"dnsConfig": {"nameservers": ["10.96.0.10", "1.1.1.1"], "searches": ["corp", "lab"],
            "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}});
        let wanted = "nameserver 10.96.0.10\nnameserver 1.1.1.1\n\
                      search n.svc.cluster.local svc.cluster.local cluster.local corp lab\noptions ndots:1 edns0";
        assert_eq!(text(&of(own, &names()).dns), wanted);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_told() {
        let own = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"],
            "searches": (0..40).map(|number| format!("d{number}")).collect::<Vec<_>>()}});
        let resolved = of(own, &names());
        assert_eq!((resolved.dns.servers.len(), resolved.dns.searches.len()), (3, 32));
        let messages: Vec<_> = resolved.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(
            messages[0],
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
             1.1.1.1 1.1.1.2 1.1.1.3"
        );
        assert!(
            messages[1].starts_with("Search Line limits were exceeded, some search paths have been omitted")
        );
        assert!(messages[1].ends_with(" d30 d31") && resolved.warnings[1].reason == "DNSConfigForming");

        let long = (0..20).map(|number| format!("{number:0>150}")).collect::<Vec<_>>();
        let resolved = of(json!({"dnsPolicy": "None", "dnsConfig": {"searches": long}}), &names());
        assert_eq!(resolved.dns.searches.len(), 13, "13 of 150 bytes with spaces are 1962 bytes");
        assert_eq!(resolved.warnings.len(), 1);
    }

    #[test]
    fn without_cluster_dns_the_nodes_is_used_and_told() {
        let resolved = of(json!({}), &Names { cluster_dns: vec![], ..names() });
        assert_eq!(text(&resolved.dns), NODE);
        assert_eq!(
            resolved.warnings[0].message,
            "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. \
             Falling back to \"Default\" policy."
        );
        assert_eq!(of(json!({"dnsPolicy": "Default"}), &Names::default()).warnings, []);
    }

    #[test]
    fn without_a_domain_there_are_no_search_domains_of_the_cluster() {
        let resolved = of(json!({}), &Names { cluster_domain: String::new(), ..names() });
        assert_eq!(resolved.dns.searches, ["corp"]);
    }
}
