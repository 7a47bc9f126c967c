//! What a pod sees of the network's names: host name, `/etc/hosts`, `resolv.conf`.
//!
//! Promise: pure; upstream's rules and limits (`pkg/kubelet/network/dns`, `kubelet_pods.go`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use crate::runtime::config::Dns;

/// Longest host name that the kernel takes.
const HOST_NAME_BYTES: usize = 63;

/// Limits of `resolv.conf`: servers, search domains, bytes of the search line.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_BYTES: usize = 2048;

/// What the cluster and the node say about names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The node's own `resolv.conf`.
    pub node: Dns,
}

/// Host name of the pod, and its full name when the pod has a subdomain.
pub(crate) fn host_name(pod: &core::Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.filter(|text| !text.is_empty()).cloned();
    if let Some(name) = spec.and_then(|spec| text(spec.hostname_override.as_ref())) {
        return (name, None);
    }
    let own = spec.and_then(|spec| text(spec.hostname.as_ref()));
    let name = own.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let short = truncated(&name);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let full = spec
        .and_then(|spec| text(spec.subdomain.as_ref()))
        .map(|subdomain| format!("{short}.{subdomain}.{namespace}.svc.{cluster_domain}"));
    match full {
        Some(full) if spec.is_some_and(|spec| spec.set_hostname_as_fqdn == Some(true)) => {
            (full.clone(), Some(full))
        }
        full => (short, full),
    }
}

/// `resolv.conf` for the pod's `dnsPolicy` and `dnsConfig`.
pub(crate) fn resolver(pod: &core::Pod, names: &Names) -> Dns {
    let Some(spec) = &pod.spec else { return Dns::default() };
    let host_network = spec.host_network == Some(true);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !host_network,
        _ => false,
    };
    let mut dns = match policy {
        "None" => Dns::default(),
        _ if cluster && !names.cluster_dns.is_empty() => cluster_first(pod, names),
        // Upstream: without a cluster DNS the node's resolver is used.
        _ => names.node.clone(),
    };
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        dns.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|old| old.split(':').next() != Some(&name));
            dns.options
                .push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
        }
    }
    dedup(&mut dns.servers);
    dedup(&mut dns.searches);
    dns.servers.truncate(SERVERS);
    dns.searches.truncate(SEARCHES);
    while dns.searches.join(" ").len() > SEARCH_BYTES {
        dns.searches.pop();
    }
    dns
}

/// Reads a `resolv.conf`.
pub(crate) fn parse_resolver(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

/// `/etc/hosts` of a pod with its own network.
pub(crate) fn hosts_file(pod: &core::Pod, addresses: &[IpAddr], cluster_domain: &str) -> String {
    let (host, full) = host_name(pod, cluster_domain);
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for address in addresses {
        match &full {
            Some(full) => text.push_str(&format!("{address}\t{full}\t{host}\n")),
            None => text.push_str(&format!("{address}\t{host}\n")),
        }
    }
    text + &alias_lines(pod)
}

/// `/etc/hosts` of a pod with the node's network: the node's own, and the pod's aliases.
pub(crate) fn host_network_hosts_file(pod: &core::Pod, node_hosts: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}{}", alias_lines(pod))
}

fn alias_lines(pod: &core::Pod) -> String {
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let lines: Vec<String> = aliases
        .map(|alias| format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t")))
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("\n# Entries added by HostAliases.\n{}", lines.concat())
}

fn cluster_first(pod: &core::Pod, names: &Names) -> Dns {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &names.cluster_domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    searches.extend(names.node.searches.iter().cloned());
    Dns {
        servers: names.cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn truncated(name: &str) -> String {
    if name.len() <= HOST_NAME_BYTES {
        return name.to_owned();
    }
    // A name must not end with these.
    name.chars().take(HOST_NAME_BYTES).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> core::Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "n"}, "spec": spec}))
            .unwrap()
    }

    fn names() -> Names {
        Names {
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            node: parse_resolver("nameserver 9.9.9.9\nsearch corp\noptions edns0"),
        }
    }

    #[test]
    fn resolver_follows_the_policy() {
        let of = |spec| resolver(&pod(spec), &names());
        let cluster = of(json!({"containers": []}));
        assert_eq!(cluster.servers, ["10.96.0.10"]);
        assert_eq!(cluster.searches, ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp"]);
        assert_eq!(cluster.options, ["ndots:5"]);
        assert_eq!(of(json!({"containers": [], "dnsPolicy": "Default"})), names().node);
        assert_eq!(of(json!({"containers": [], "hostNetwork": true})), names().node);
        let own = json!({"containers": [], "dnsPolicy": "None", "dnsConfig":
            {"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "2"}]}});
        assert_eq!(
            of(own),
            Dns {
                servers: vec!["1.1.1.1".into()],
                searches: vec!["a".into()],
                options: vec!["ndots:2".into()]
            }
        );
    }

    #[test]
    fn hosts_and_names() {
        let pod = pod(json!({"containers": [], "subdomain": "web",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let text = hosts_file(&pod, &["10.0.0.5".parse().unwrap()], "cluster.local");
        assert!(text.contains("10.0.0.5\tweb-0.web.n.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
        assert_eq!(truncated(&"a".repeat(80)).len(), 63);
    }
}
