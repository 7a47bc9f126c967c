//! The image of a container: is it here, may it be pulled, is the last failure long enough ago.
//!
//! Promise: `imagePullPolicy` as documented; an image that is here is used without asking a registry unless the policy
//! is Always. Failures end as ErrImagePull, then ImagePullBackOff with a pause that doubles; events as upstream.

use std::time::Duration;

use component::events::Type;
use k8s_openapi::api::core::v1 as core;

use super::observed::{Backoff, IMAGE_BACKOFF, Waiting};
use super::worker::{Worker, field_path};
use crate::runtime::{Image, Login};

/// What keeps a container from its image.
#[derive(Debug)]
pub(super) enum ImageFailure {
    Waiting(Waiting),
    /// The pod has to end; pulling was given up.
    Ending,
}

impl Worker {
    pub(super) async fn image(
        &mut self,
        pod: &core::Pod,
        container: &core::Container,
    ) -> Result<Image, ImageFailure> {
        let name = container.image.clone().unwrap_or_default();
        let policy = container.image_pull_policy.clone().unwrap_or_else(|| default_policy(&name).to_owned());
        let of = self.pod_ref(Some(pod));
        let field = field_path(pod, &container.name);
        let node = std::sync::Arc::clone(self.pods.node());
        let local = node.runtime.image(&name).await.map_err(|error| {
            let text = format!("Failed to inspect image \"{name}\": {error}");
            node.event(&of, Some(&field), Type::Warning, "InspectFailed", text.clone());
            ImageFailure::Waiting(waiting("ImageInspectError", text))
        })?;
        match (policy.as_str(), local) {
            ("IfNotPresent" | "Never", Some(image)) => {
                let text = format!(
                    "Container image \"{name}\" already present on machine and can be accessed by the pod"
                );
                node.event(&of, Some(&field), Type::Normal, "Pulled", text);
                self.memory.pulls.remove(&container.name);
                Ok(image)
            }
            ("Never", None) => {
                let text = format!("Container image \"{name}\" is not present with pull policy of Never");
                node.event(&of, Some(&field), Type::Warning, "ErrImageNeverPull", text.clone());
                Err(ImageFailure::Waiting(waiting("ErrImageNeverPull", text)))
            }
            _ => self.pull(pod, container, &name).await,
        }
    }

    async fn pull(
        &mut self,
        pod: &core::Pod,
        container: &core::Container,
        name: &str,
    ) -> Result<Image, ImageFailure> {
        let of = self.pod_ref(Some(pod));
        let field = field_path(pod, &container.name);
        let node = std::sync::Arc::clone(self.pods.node());
        node.event(&of, Some(&field), Type::Normal, "Pulling", format!("Pulling image \"{name}\""));
        let started = self.now();
        let logins = self.logins(pod, name).await;
        let mut result = Err(crate::runtime::RuntimeError::Refused("no pull was tried".to_owned()));
        // Without credentials last: a public image needs none.
        for login in logins.iter().map(Some).chain([None]) {
            result = tokio::select! {
                result = node.runtime.pull(name, login) => result,
                () = self.must_end() => return Err(ImageFailure::Ending),
            };
            if result.is_ok() {
                break;
            }
        }
        match result {
            Ok(id) => {
                let took = Duration::try_from(self.now().duration_since(started)).unwrap_or_default();
                let image = node.runtime.image(&id).await.ok().flatten().unwrap_or_default();
                let image = Image { id, ..image };
                let took = format!("{:.3}s", took.as_secs_f64());
                let text = format!(
                    "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {} bytes.",
                    image.bytes
                );
                node.event(&of, Some(&field), Type::Normal, "Pulled", text);
                self.memory.pulls.remove(&container.name);
                Ok(image)
            }
            Err(error) => {
                let text = format!("Failed to pull image \"{name}\": {error}");
                node.event(&of, Some(&field), Type::Warning, "Failed", text);
                node.event(&of, Some(&field), Type::Warning, "Failed", "Error: ErrImagePull");
                let now = self.now();
                let backoff =
                    Backoff::next(self.memory.pulls.get(&container.name).copied(), now, IMAGE_BACKOFF);
                self.memory.pulls.insert(container.name.clone(), backoff);
                Err(ImageFailure::Waiting(waiting("ErrImagePull", error.to_string())))
            }
        }
    }

    /// While the pause lasts the reason reads ImagePullBackOff; told once a pause.
    pub(super) fn note_pull_back_off(&mut self, pod: &core::Pod, container: &core::Container) {
        let name = container.image.clone().unwrap_or_default();
        let Some(old) = self.memory.waiting.get(&container.name).filter(|old| old.reason == "ErrImagePull")
        else {
            return;
        };
        let text = format!("Back-off pulling image \"{name}\"");
        let message = format!("{text}: ErrImagePull: {}", old.message);
        self.memory.waiting.insert(container.name.clone(), waiting("ImagePullBackOff", message));
        let of = self.pod_ref(Some(pod));
        let field = field_path(pod, &container.name);
        let node = self.pods.node();
        node.event(&of, Some(&field), Type::Normal, "BackOff", text);
        node.event(&of, Some(&field), Type::Warning, "Failed", "Error: ImagePullBackOff");
    }

    /// Credentials from the pod's image pull secrets that fit the image's registry.
    async fn logins(&self, pod: &core::Pod, image: &str) -> Vec<Login> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut logins = Vec::new();
        for reference in spec.image_pull_secrets.iter().flatten() {
            let secret = self.pods.node().volumes.objects().secret(namespace, &reference.name).await;
            let Ok(Some(secret)) = secret else { continue };
            let data = secret.data.unwrap_or_default();
            if let Some(config) = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg")) {
                logins.extend(logins_in(&config.0, image));
            }
        }
        logins
    }
}

/// `latest`, or no tag at all, is pulled each time.
fn default_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let tagged = last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    if tagged || image.contains('@') { "IfNotPresent" } else { "Always" }
}

/// Entries of a docker configuration for the registry of this image.
fn logins_in(config: &[u8], image: &str) -> Vec<Login> {
    let Ok(config) = serde_json::from_slice::<serde_json::Value>(config) else { return Vec::new() };
    let entries = config.get("auths").unwrap_or(&config).as_object().cloned().unwrap_or_default();
    let registry = registry_of(image);
    let fits = |server: &str| {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        host == registry || registry == "docker.io" && host == "index.docker.io"
    };
    let login = |(server, entry): (&String, &serde_json::Value)| {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        let pair = text("auth").and_then(|auth| {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
            let pair = String::from_utf8(bytes).ok()?;
            pair.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
        });
        let (user, password) = match (text("username"), text("password"), pair) {
            (Some(user), Some(password), _) => (user, password),
            (_, _, pair) => pair.unwrap_or_default(),
        };
        Login {
            user,
            password,
            server: server.clone(),
            identity_token: text("identitytoken").unwrap_or_default(),
        }
    };
    entries.iter().filter(|(server, _)| fits(server)).map(login).collect()
}

/// The first part of an image name if it looks like a host, else Docker Hub.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn waiting(reason: &str, message: String) -> Waiting {
    Waiting { reason: reason.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_pulled_each_time() {
        for (image, policy) in [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("busybox:1", "IfNotPresent"),
            ("localhost:5000/busybox", "Always"),
            ("a/b@sha256:123", "IfNotPresent"),
        ] {
            assert_eq!(default_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn logins_fit_their_registry() {
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"r.io":{"username":"a","password":"b"}}}"#;
        let users =
            |image| logins_in(config, image).into_iter().map(|l| (l.user, l.password)).collect::<Vec<_>>();
        assert_eq!(users("busybox"), [("u".into(), "p".into())]);
        assert_eq!(users("r.io/x/y:1"), [("a".into(), "b".into())]);
        assert!(users("other.io/x").is_empty());
    }
}
