//! What a pod is called: host name and `/etc/hosts`.
//!
//! Promise: pure; upstream's rules and limits (`kubelet_pods.go`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

/// Longest host name that the kernel takes.
const HOST_NAME_BYTES: usize = 63;

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

fn truncated(name: &str) -> String {
    if name.len() <= HOST_NAME_BYTES {
        return name.to_owned();
    }
    // A name must not end with these.
    name.chars().take(HOST_NAME_BYTES).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> core::Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "n"}, "spec": spec}))
            .unwrap()
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
