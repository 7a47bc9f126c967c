//! The environment of a container.
//!
//! Promise: upstream's order and precedence: service variables, then `envFrom` in order, then `env` in order, where
//! a later name replaces an earlier one and `$(NAME)` sees what stands before it. A missing config map, secret or
//! key is an error unless it is optional; the texts are upstream's (they end up in CreateContainerConfigError).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;

use super::downward::{self, Context};
use super::expand::expand;

/// Config maps and secrets that a container's environment names, by name; `None`: it does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub config_maps: BTreeMap<String, Option<core::ConfigMap>>,
    pub secrets: BTreeMap<String, Option<core::Secret>>,
}

/// Which objects have to be looked up for this container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    pub config_maps: Vec<String>,
    pub secrets: Vec<String>,
}

pub(crate) fn needed(container: &core::Container) -> Needed {
    let mut needed = Needed::default();
    for source in container.env_from.iter().flatten() {
        needed.config_maps.extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
        needed.secrets.extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        needed.config_maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        needed.secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    needed
}

/// The variables, in order, each name once.
pub(crate) fn environment(
    pod: &core::Pod,
    container: &core::Container,
    services: Vec<(String, String)>,
    sources: &Sources,
    context: &Context,
) -> Result<Vec<(String, String)>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut env = Environment::default();
    for (name, value) in services {
        env.set(name, value);
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        for (name, value) in env_from(source, sources, namespace)? {
            env.set(format!("{prefix}{name}"), value);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(from)) => match value_from(pod, container, from, sources, context)? {
                Some(value) => value,
                None => continue,
            },
            (Some(value), None) => expand(value, |name| env.get(name)),
            (None, None) => String::new(),
        };
        env.set(variable.name.clone(), value);
    }
    Ok(env.0)
}

/// Command and arguments with `$(NAME)` replaced.
pub(crate) fn expand_all(texts: Option<&Vec<String>>, env: &[(String, String)]) -> Vec<String> {
    let value_of = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    texts.into_iter().flatten().map(|text| expand(text, value_of)).collect()
}

/// `{NAME}_SERVICE_HOST` and friends, for the services that a pod sees: those of its namespace, and `kubernetes`.
pub(crate) fn service_variables<'a>(
    services: impl Iterator<Item = (&'a str, &'a core::ServiceSpec)>,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, spec) in services {
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let name = name.to_ascii_uppercase().replace('-', "_");
        variables.push((format!("{name}_SERVICE_HOST"), ip.to_owned()));
        variables.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in ports {
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let port_name = port_name.to_ascii_uppercase().replace('-', "_");
                variables.push((format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string()));
            }
        }
        // The variables of Docker links.
        for (index, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let lower = protocol.to_ascii_lowercase();
            let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let url = format!("{lower}://{host}:{}", port.port);
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
            if index == 0 {
                variables.push((format!("{name}_PORT"), url.clone()));
            }
            variables.push((prefix.clone(), url));
            variables.push((format!("{prefix}_PROTO"), lower));
            variables.push((format!("{prefix}_PORT"), port.port.to_string()));
            variables.push((format!("{prefix}_ADDR"), ip.to_owned()));
        }
    }
    variables
}

#[derive(Debug, Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }
}

fn env_from(
    source: &core::EnvFromSource,
    sources: &Sources,
    namespace: &str,
) -> Result<Vec<(String, String)>, String> {
    if let Some(reference) = &source.config_map_ref {
        return match sources.config_maps.get(&reference.name).and_then(Option::as_ref) {
            Some(map) => Ok(map.data.clone().unwrap_or_default().into_iter().collect()),
            None if reference.optional == Some(true) => Ok(Vec::new()),
            None => Err(format!("configmap \"{}\" not found", reference.name)),
        };
    }
    let Some(reference) = &source.secret_ref else { return Ok(Vec::new()) };
    match sources.secrets.get(&reference.name).and_then(Option::as_ref) {
        Some(secret) => {
            let data = secret.data.clone().unwrap_or_default().into_iter();
            Ok(data.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
        }
        None if reference.optional == Some(true) => Ok(Vec::new()),
        None => Err(missing_secret(&reference.name, namespace)),
    }
}

/// `None`: optional and absent.
fn value_from(
    pod: &core::Pod,
    container: &core::Container,
    from: &core::EnvVarSource,
    sources: &Sources,
    context: &Context,
) -> Result<Option<String>, String> {
    let metadata = &pod.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &from.field_ref {
        return downward::field(pod, context, &field.field_path).map(Some);
    }
    if let Some(selector) = &from.resource_field_ref {
        let spec = pod.spec.as_ref().ok_or("pod has no spec")?;
        return downward::resource(spec, &container.name, selector, context).map(Some);
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        return match sources.config_maps.get(&reference.name).and_then(Option::as_ref) {
            None if optional => Ok(None),
            None => Err(format!("configmap \"{}\" not found", reference.name)),
            Some(map) => match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
                Some(value) => Ok(Some(value.clone())),
                None if optional => Ok(None),
                None => Err(missing_key(&reference.key, "ConfigMap", namespace, &reference.name)),
            },
        };
    }
    let Some(reference) = &from.secret_key_ref else { return Ok(Some(String::new())) };
    let optional = reference.optional == Some(true);
    match sources.secrets.get(&reference.name).and_then(Option::as_ref) {
        None if optional => Ok(None),
        None => Err(missing_secret(&reference.name, namespace)),
        Some(secret) => match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(missing_key(&reference.key, "Secret", namespace, &reference.name)),
        },
    }
}

fn missing_secret(name: &str, _namespace: &str) -> String {
    format!("secret \"{name}\" not found")
}

fn missing_key(key: &str, kind: &str, namespace: &str, name: &str) -> String {
    format!("couldn't find key {key} in {kind} {namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment_of(
        container: serde_json::Value,
        sources: &Sources,
    ) -> Result<Vec<(String, String)>, String> {
        let pod: core::Pod = serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [container]}}),
        )
        .unwrap();
        let services = vec![("S".to_owned(), "1".to_owned())];
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        environment(&pod, &container, services, sources, &Context::default())
    }

    fn sources() -> Sources {
        let map = serde_json::from_value(json!({"data": {"k": "v", "S": "from map"}})).unwrap();
        let secret = serde_json::from_value(json!({"data": {"p": "cHc="}})).unwrap();
        Sources {
            config_maps: [("m".to_owned(), Some(map)), ("gone".to_owned(), None)].into(),
            secrets: [("s".to_owned(), Some(secret))].into(),
        }
    }

    #[test]
    fn later_sources_win_and_values_see_what_stands_before() {
        let got = environment_of(
            json!({"name": "c", "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "P_", "secretRef": {"name": "s"}}],
                "env": [{"name": "A", "value": "$(S)-$(LATER)"}, {"name": "LATER", "value": "x"},
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k", "optional": true}}},
                    {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}]}),
            &sources(),
        )
        .unwrap();
        let text: Vec<String> = got.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(text, ["S=from map", "k=v", "P_p=pw", "A=from map-$(LATER)", "LATER=x", "POD=p", "PW=pw"]);
        let command = vec!["echo $(A) $(NONE)".to_owned()];
        assert_eq!(expand_all(Some(&command), &got), ["echo from map-$(LATER) $(NONE)"]);
    }

    #[test]
    fn missing_things_are_named() {
        let error = |env: serde_json::Value| {
            environment_of(json!({"name": "c", "env": [env]}), &sources()).unwrap_err()
        };
        let missing_map =
            json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k"}}});
        assert_eq!(error(missing_map), "configmap \"gone\" not found");
        let missing_key = json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "zz"}}});
        assert_eq!(error(missing_key), "couldn't find key zz in Secret n/s");
    }

    #[test]
    fn services_show_as_variables() {
        let spec: core::ServiceSpec =
            serde_json::from_value(json!({"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80}]}))
                .unwrap();
        let got = service_variables([("web-1", &spec)].into_iter());
        let text: Vec<String> = got.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text,
            [
                "WEB_1_SERVICE_HOST=10.0.0.9",
                "WEB_1_SERVICE_PORT=80",
                "WEB_1_SERVICE_PORT_HTTP=80",
                "WEB_1_PORT=tcp://10.0.0.9:80",
                "WEB_1_PORT_80_TCP=tcp://10.0.0.9:80",
                "WEB_1_PORT_80_TCP_PROTO=tcp",
                "WEB_1_PORT_80_TCP_PORT=80",
                "WEB_1_PORT_80_TCP_ADDR=10.0.0.9",
            ]
        );
    }
}
