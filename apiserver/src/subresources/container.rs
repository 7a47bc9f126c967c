//! Which container of a pod a request means.
//!
//! Source: kubernetes `pkg/registry/core/pod/strategy.go` (`validateContainer`, `LogLocation`, `streamLocation`).

use serde_json::Value;

use crate::object;
use crate::status::{ApiError, ApiResult};

/// The container by the name given, or the only one, or the one the pod's annotation names.
pub(super) fn choose<'a>(pod: &'a Value, wanted: &'a str) -> ApiResult<&'a str> {
    let pod_name = object::name(pod);
    let names = |list: &str| -> Vec<&'a str> {
        let containers = object::list_at(pod, &["spec", list]);
        containers.iter().map(|container| object::str_at(container, &["name"])).collect()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !wanted.is_empty() {
        let known = [&main, &init, &ephemeral].into_iter().any(|names| names.contains(&wanted));
        return if known {
            Ok(wanted)
        } else {
            Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
        };
    }
    let default =
        object::str_at(pod, &["metadata", "annotations", "kubectl.kubernetes.io/default-container"]);
    if let Some(name) = main.iter().find(|name| **name == default && !default.is_empty()) {
        return Ok(name);
    }
    match main.as_slice() {
        [only] => Ok(only),
        [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        many => {
            let mut text = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                many.join(" ")
            );
            for (names, what) in [(init, "init"), (ephemeral, "ephemeral")] {
                if !names.is_empty() {
                    text.push_str(&format!(" or one of the {what} containers: [{}]", names.join(" ")));
                }
            }
            Err(ApiError::bad_request(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_chosen_or_asked_for() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(choose(&one, "").unwrap(), "a");
        assert_eq!(choose(&one, "x").unwrap_err().message(), "container x is not valid for pod p");
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}]}});
        assert_eq!(choose(&two, "i").unwrap(), "i");
        assert_eq!(
            choose(&two, "").unwrap_err().message(),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        let mut marked = two.clone();
        marked["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "b"});
        assert_eq!(choose(&marked, "").unwrap(), "b");
    }
}
