//! The downward API: fields of the pod and resources of its containers as text.
//!
//! Promise: upstream's `fieldpath.ExtractFieldPathAsString` and `resource.ExtractContainerResourceValue`. A limit
//! that is not set reads as what the node can give.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use objects::quantity::Quantity;

use super::resources;

/// What a value may come from, beside the spec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    pub pod_addresses: Vec<IpAddr>,
    pub node_addresses: Vec<IpAddr>,
    /// Allocatable CPU of the node in thousandths.
    pub node_milli_cpu: i64,
    /// Allocatable memory of the node in bytes.
    pub node_memory: i64,
}

/// The value of a `fieldRef`.
pub(crate) fn field(pod: &core::Pod, context: &Context, path: &str) -> Result<String, String> {
    let metadata = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let values = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(format!("fieldPath \"{map}\" does not support subscript")),
        };
        return Ok(values.and_then(|values| values.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&metadata.name),
        "metadata.namespace" => text(&metadata.namespace),
        "metadata.uid" => text(&metadata.uid),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => spec.map(|spec| text(&spec.node_name)).unwrap_or_default(),
        "spec.serviceAccountName" => spec.map(|spec| text(&spec.service_account_name)).unwrap_or_default(),
        "status.hostIP" => first(&context.node_addresses),
        "status.hostIPs" => joined(&context.node_addresses),
        "status.podIP" => first(pod_addresses(spec, context)),
        "status.podIPs" => joined(pod_addresses(spec, context)),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of a `resourceFieldRef`.
pub(crate) fn resource(
    spec: &core::PodSpec,
    own: &str,
    selector: &core::ResourceFieldSelector,
    context: &Context,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(own);
    let mut containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let container = containers
        .find(|container| container.name == name)
        .ok_or_else(|| format!("container {name} not found"))?;
    let divisor = selector.divisor.as_ref().and_then(|divisor| divisor.0.parse::<Quantity>().ok());
    let (kind, what) = selector.resource.split_once('.').unwrap_or(("", &selector.resource));
    let amount = match kind {
        "limits" => resources::limit(container, what),
        "requests" => resources::request(container, what),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let value = match what {
        "cpu" => {
            let default = if kind == "limits" { context.node_milli_cpu } else { 0 };
            let milli = amount.map_or(default, Quantity::milli_value);
            let unit = divisor.map_or(1000, Quantity::milli_value);
            round_up(milli, if unit == 0 { 1000 } else { unit })
        }
        "memory" | "ephemeral-storage" => {
            let default = if kind == "limits" && what == "memory" { context.node_memory } else { 0 };
            let bytes = amount.map_or(default, Quantity::value);
            let unit = divisor.map_or(1, Quantity::value);
            round_up(bytes, if unit == 0 { 1 } else { unit })
        }
        what if what.starts_with("hugepages-") => amount.map_or(0, Quantity::value),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    Ok(value.to_string())
}

fn round_up(amount: i64, unit: i64) -> i64 {
    (amount + unit - 1) / unit
}

fn pod_addresses<'a>(spec: Option<&core::PodSpec>, context: &'a Context) -> &'a [IpAddr] {
    let host = spec.is_some_and(|spec| spec.host_network == Some(true));
    if host { &context.node_addresses } else { &context.pod_addresses }
}

fn first(addresses: &[IpAddr]) -> String {
    addresses.first().map(ToString::to_string).unwrap_or_default()
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `metadata.labels['key']` as (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, values quoted as Go does.
fn lines(values: Option<&BTreeMap<String, String>>) -> String {
    let line =
        |(key, value): (&String, &String)| format!("{key}={}", serde_json::Value::from(value.as_str()));
    values.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> core::Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "1", "b": "x y"}},
            "spec": {"nodeName": "node", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn fields_read_as_text() {
        let context = Context { pod_addresses: vec!["10.0.0.2".parse().unwrap()], ..Default::default() };
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.labels['b']", "x y"),
            ("metadata.labels", "a=\"1\"\nb=\"x y\""),
            ("spec.nodeName", "node"),
            ("status.podIP", "10.0.0.2"),
            ("metadata.annotations['none']", ""),
        ] {
            assert_eq!(field(&pod(), &context, path).unwrap(), expected, "{path}");
        }
        assert!(field(&pod(), &context, "spec.containers").is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let context = Context { node_milli_cpu: 4000, node_memory: 1 << 30, ..Default::default() };
        let value = |resource: &str, divisor: &str| {
            let selector = core::ResourceFieldSelector {
                resource: resource.into(),
                divisor: Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(divisor.into())),
                container_name: None,
            };
            super::resource(pod.spec.as_ref().unwrap(), "c", &selector, &context).unwrap()
        };
        assert_eq!(value("limits.cpu", "0"), "2");
        assert_eq!(value("limits.cpu", "1m"), "1500");
        assert_eq!(value("requests.memory", "1Mi"), "64");
        assert_eq!(value("limits.memory", "0"), "67108864");
        assert_eq!(value("requests.ephemeral-storage", "0"), "0");
    }
}
