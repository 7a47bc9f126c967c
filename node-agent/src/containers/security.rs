//! Security contexts of pods and containers.
//!
//! Promise: the container's value wins over the pod's; what neither says is the runtime's default. A container that
//! must not run as root is refused when it would (`verify_non_root`), with upstream's text.

use k8s_openapi::api::core::v1 as core;

use crate::runtime::config::{Seccomp, Security};
use crate::runtime::{Image, ImageUser};

/// Directory below the agent's root that holds seccomp profiles of type Localhost.
const SECCOMP_DIR: &str = "seccomp";

/// Paths hidden from, and read-only for, containers that are not privileged (procMount Default).
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container runs with.
pub(crate) fn container(
    spec: &core::PodSpec,
    container: &core::Container,
    image: &Image,
    root_dir: &std::path::Path,
) -> Security {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let user = own.and_then(|own| own.run_as_user).or_else(|| pod.and_then(|pod| pod.run_as_user));
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let profile = own
        .and_then(|own| own.seccomp_profile.as_ref())
        .or_else(|| pod.and_then(|pod| pod.seccomp_profile.as_ref()));
    let unmasked = own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked");
    let paths =
        |of: &[&str]| if unmasked { Vec::new() } else { of.iter().map(|&path| path.to_owned()).collect() };
    // The image's user has to be repeated: the runtime would take root otherwise.
    let (image_user, image_user_name) = match (&image.user, user) {
        (ImageUser::Number(number), None) => (Some(*number), None),
        (ImageUser::Name(name), None) => (None, Some(name.clone())),
        _ => (None, None),
    };
    Security {
        privileged,
        run_as_user: user.or(image_user),
        run_as_group: own.and_then(|own| own.run_as_group).or_else(|| pod.and_then(|pod| pod.run_as_group)),
        run_as_user_name: image_user_name,
        supplemental_groups: supplemental_groups(pod),
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        add_capabilities: capabilities.and_then(|c| c.add.clone()).unwrap_or_default(),
        drop_capabilities: capabilities.and_then(|c| c.drop.clone()).unwrap_or_default(),
        seccomp: seccomp(profile, root_dir),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
    }
}

/// What the sandbox runs with.
pub(crate) fn sandbox(spec: &core::PodSpec, root_dir: &std::path::Path) -> Security {
    let pod = spec.security_context.as_ref();
    let privileged = |container: &core::Container| {
        container.security_context.as_ref().and_then(|own| own.privileged).unwrap_or(false)
    };
    Security {
        privileged: spec.init_containers.iter().flatten().chain(&spec.containers).any(privileged),
        run_as_user: pod.and_then(|pod| pod.run_as_user),
        run_as_group: pod
            .and_then(|pod| pod.run_as_group)
            .filter(|_| pod.is_some_and(|p| p.run_as_user.is_some())),
        supplemental_groups: supplemental_groups(pod),
        seccomp: match seccomp(pod.and_then(|pod| pod.seccomp_profile.as_ref()), root_dir) {
            // The sandbox's own process is ours: the default profile always fits it.
            Seccomp::Unconfined => Seccomp::RuntimeDefault,
            profile => profile,
        },
        ..Default::default()
    }
}

/// Refuses a container that would run as root although it must not.
pub(crate) fn verify_non_root(
    spec: &core::PodSpec,
    container: &core::Container,
    image: &Image,
    pod_text: &str,
) -> Result<(), String> {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let must = own.and_then(|own| own.run_as_non_root).or_else(|| pod.and_then(|pod| pod.run_as_non_root));
    if must != Some(true) {
        return Ok(());
    }
    let about = format!("(pod: \"{pod_text}\", container: {})", container.name);
    let user = own.and_then(|own| own.run_as_user).or_else(|| pod.and_then(|pod| pod.run_as_user));
    match (user, &image.user) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {about}")),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Number(0) | ImageUser::Unset) => {
            Err(format!("container has runAsNonRoot and image will run as root {about}"))
        }
        (None, ImageUser::Name(name)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {about}"
        )),
        (None, ImageUser::Number(_)) => Ok(()),
    }
}

fn supplemental_groups(pod: Option<&core::PodSecurityContext>) -> Vec<i64> {
    let Some(pod) = pod else { return Vec::new() };
    let fs_group = pod.fs_group.into_iter();
    pod.supplemental_groups.iter().flatten().copied().chain(fs_group).collect()
}

fn seccomp(profile: Option<&core::SeccompProfile>, root_dir: &std::path::Path) -> Seccomp {
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => Seccomp::RuntimeDefault,
        Some(("Localhost", Some(file))) => {
            Seccomp::Localhost(root_dir.join(SECCOMP_DIR).join(file).display().to_string())
        }
        _ => Seccomp::Unconfined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn made(
        pod: serde_json::Value,
        own: serde_json::Value,
        image: ImageUser,
    ) -> (Security, Result<(), String>) {
        let spec: core::PodSpec = serde_json::from_value(
            json!({"securityContext": pod, "containers": [{"name": "c", "securityContext": own}]}),
        )
        .unwrap();
        let image = Image { user: image, ..Default::default() };
        let security = container(&spec, &spec.containers[0], &image, Path::new("/r"));
        let verdict = verify_non_root(&spec, &spec.containers[0], &image, "p_n(u)");
        (security, verdict)
    }

    #[test]
    fn the_container_wins_over_the_pod() {
        let (security, _) = made(
            json!({"runAsUser": 1, "fsGroup": 7, "seccompProfile": {"type": "RuntimeDefault"}}),
            json!({"runAsUser": 2, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "allowPrivilegeEscalation": false}),
            ImageUser::Unset,
        );
        assert_eq!((security.run_as_user, security.supplemental_groups), (Some(2), vec![7]));
        assert_eq!((security.seccomp, security.no_new_privileges), (Seccomp::RuntimeDefault, true));
        assert_eq!(
            (security.add_capabilities, security.drop_capabilities),
            (vec!["NET_ADMIN".into()], vec!["ALL".into()])
        );
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let strict = || json!({"runAsNonRoot": true});
        assert!(
            made(strict(), json!({}), ImageUser::Unset).1.unwrap_err().contains("image will run as root")
        );
        assert!(
            made(strict(), json!({"runAsUser": 0}), ImageUser::Unset)
                .1
                .unwrap_err()
                .contains("breaks non-root")
        );
        assert!(
            made(strict(), json!({}), ImageUser::Name("app".into()))
                .1
                .unwrap_err()
                .contains("non-numeric user (app)")
        );
        assert_eq!(made(strict(), json!({}), ImageUser::Number(5)).1, Ok(()));
        assert_eq!(made(strict(), json!({}), ImageUser::Number(5)).0.run_as_user, Some(5));
    }
}
