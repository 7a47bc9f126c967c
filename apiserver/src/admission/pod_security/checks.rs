//! What a pod may not ask for at each level.
//!
//! Promise: the levels and texts are those of the Pod Security Standards as upstream tells them: one violation for each
//! control, in the order of upstream's registry. Source: kubernetes `staging/src/k8s.io/pod-security-admission/policy`,
//! the latest version of each control.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Level;
use crate::field::quote;
use crate::kinds::read::Read;

/// One control that a pod does not meet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

/// Capabilities that the baseline lets a container add.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// Volumes that the restricted level allows.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A control: `None` where the pod meets it.
type Control = fn(&Pod<'_>) -> Option<Violation>;

const BASELINE: [Control; 12] = [
    app_armor,
    capabilities,
    host_namespaces,
    host_path_volumes,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    selinux,
    seccomp,
    sysctls,
    windows_host_process,
];
/// The restricted level says more of capabilities, volumes and seccomp than the baseline.
const RESTRICTED: [Control; 15] = [
    app_armor,
    host_namespaces,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    selinux,
    sysctls,
    windows_host_process,
    privilege_escalation,
    capabilities_dropped,
    restricted_volumes,
    run_as_non_root,
    run_as_user,
    seccomp_set,
];

/// What a pod or a template would do wrong at this level.
pub(super) fn violations(level: Level, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let pod = Pod { metadata, spec };
    let controls: &[Control] = match level {
        Level::Privileged => &[],
        Level::Baseline => &BASELINE,
        Level::Restricted => &RESTRICTED,
    };
    controls.iter().filter_map(|control| control(&pod)).collect()
}

struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| spec.list(list))
    }

    /// The names of the containers of which this is true.
    fn those(&self, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| bad(container)).map(|container| container.text("name")).collect()
    }

    fn is_windows(&self) -> bool {
        self.spec["os"].text("name") == "windows"
    }

    /// A user namespace of its own makes root harmless.
    fn has_own_users(&self) -> bool {
        self.spec.get("hostUsers").and_then(Value::as_bool) == Some(false)
    }

    /// `pod and containers "a", "b"`: who set something bad.
    fn setters(&self, mut bad: impl FnMut(&'a Value) -> bool) -> Option<String> {
        let mut setters = Vec::new();
        if bad(&self.spec["securityContext"]) {
            setters.push("pod".to_owned());
        }
        let containers = self.those(|container| bad(&container["securityContext"]));
        if !containers.is_empty() {
            setters.push(named("container", &containers));
        }
        (!setters.is_empty()).then(|| setters.join(" and "))
    }
}

fn violation(reason: &str, detail: impl Into<String>) -> Violation {
    Violation { reason: reason.to_owned(), detail: detail.into() }
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    names.into_iter().map(|name| quote(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `container "a"` or `containers "a", "b"`.
fn named(word: &str, names: &[&str]) -> String {
    format!("{} {}", plural(word, names.len()), quoted(names))
}

fn uses(count: usize) -> &'static str {
    if count == 1 { "uses" } else { "use" }
}

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let setters = pod.setters(|context| {
        let kind = context["appArmorProfile"].text("type");
        let bad = !matches!(kind, "" | "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind);
        }
        bad
    });
    let annotations = pod.metadata.entries("annotations").filter(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        key.starts_with(APPARMOR)
            && !matches!(value, "" | "runtime/default")
            && !value.starts_with("localhost/")
    });
    let annotations: Vec<String> = annotations.map(|(key, value)| format!("{key}={value}")).collect();
    let mut details = Vec::new();
    if !annotations.is_empty() {
        details.push(format!("{} {}", plural("annotation", annotations.len()), annotations.join(", ")));
    }
    if let Some(setters) = setters {
        details.push(format!("{setters} must not set AppArmor profile type to {}", quoted(&values)));
    }
    let count = annotations.len() + values.len();
    let reason = plural("forbidden AppArmor profile", count);
    (count > 0).then(|| violation(&reason, details.join("; ")))
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let (containers, added) = adding(pod, &CAPABILITIES);
    (!containers.is_empty()).then(|| violation("non-default capabilities", must_not_add(&containers, &added)))
}

/// The containers that add other capabilities than these, and which.
fn adding<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut added = BTreeSet::new();
    let containers = pod.those(|container| {
        let all = container["securityContext"]["capabilities"].list("add").iter().filter_map(Value::as_str);
        let before: Vec<_> = all.filter(|name| !allowed.contains(name)).collect();
        added.extend(&before);
        !before.is_empty()
    });
    (containers, added)
}

fn must_not_add(containers: &[&str], added: &BTreeSet<&str>) -> String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        named("container", containers),
        quoted(added)
    )
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let used = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|key| pod.spec.flag(key));
    let used: Vec<_> = used.map(|key| format!("{key}=true")).collect();
    (!used.is_empty()).then(|| violation("host namespaces", used.join(", ")))
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec.list("volumes").iter().filter(|volume| volume.has("hostPath"));
    let names: Vec<_> = volumes.map(|volume| volume.text("name")).collect();
    (!names.is_empty()).then(|| violation("hostPath volumes", named("volume", &names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let containers = pod.those(|container| {
        let bad =
            container.list("ports").iter().filter_map(|port| port.int("hostPort")).filter(|port| *port != 0);
        let bad: Vec<_> = bad.map(|port| port.to_string()).collect();
        let any = !bad.is_empty();
        ports.extend(bad);
        any
    });
    let what = plural("hostPort", ports.len());
    let all = ports.into_iter().collect::<Vec<_>>().join(", ");
    let count = containers.len();
    (count > 0).then(|| {
        violation("hostPort", format!("{} {} {what} {all}", named("container", &containers), uses(count)))
    })
}

fn host_probes(pod: &Pod<'_>) -> Option<Violation> {
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    let containers = pod.those(|container| {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        let all = handlers
            .iter()
            .flat_map(|handler| [handler["httpGet"].text("host"), handler["tcpSocket"].text("host")]);
        let bad: Vec<_> = all.filter(|host| !host.is_empty()).collect();
        hosts.extend(&bad);
        !bad.is_empty()
    });
    let count = containers.len();
    let what = plural("probe or lifecycle host", hosts.len());
    (count > 0).then(|| {
        let detail = format!("{} {} {what} {}", named("container", &containers), uses(count), quoted(&hosts));
        violation("probe or lifecycle host", detail)
    })
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let containers = pod.those(|container| container["securityContext"].flag("privileged"));
    (!containers.is_empty()).then(|| {
        let who = named("container", &containers);
        violation("privileged", format!("{who} must not set securityContext.privileged=true"))
    })
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() {
        return None;
    }
    let mut values = BTreeSet::new();
    let containers = pod.those(|container| {
        let mount = container["securityContext"].text("procMount");
        let bad = !matches!(mount, "" | "Default");
        if bad {
            values.insert(mount);
        }
        bad
    });
    (!containers.is_empty()).then(|| {
        let who = named("container", &containers);
        violation("procMount", format!("{who} must not set securityContext.procMount to {}", quoted(&values)))
    })
}

fn selinux(pod: &Pod<'_>) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let setters = pod.setters(|context| {
        let options = &context["seLinuxOptions"];
        let bad_type = !SELINUX_TYPES.contains(&options.text("type"));
        let (sets_user, sets_role) = (!options.text("user").is_empty(), !options.text("role").is_empty());
        if bad_type {
            types.insert(options.text("type"));
        }
        user |= sets_user;
        role |= sets_role;
        bad_type || sets_user || sets_role
    })?;
    let mut parts = Vec::new();
    if !types.is_empty() {
        parts.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    parts.extend(user.then(|| "user may not be set".to_owned()));
    parts.extend(role.then(|| "role may not be set".to_owned()));
    let what = parts.join("; ");
    Some(violation(
        "seLinuxOptions",
        format!("{setters} set forbidden securityContext.seLinuxOptions: {what}"),
    ))
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let setters = pod.setters(|context| {
        let kind = context["seccompProfile"].text("type");
        let bad = context.has("seccompProfile") && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind);
        }
        bad
    })?;
    let what = quoted(&values);
    Some(violation(
        "seccompProfile",
        format!("{setters} must not set securityContext.seccompProfile.type to {what}"),
    ))
}

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.spec["securityContext"].list("sysctls").iter().map(|sysctl| sysctl.text("name"));
    let bad: Vec<_> = names.filter(|name| !SYSCTLS.contains(name)).collect();
    (!bad.is_empty()).then(|| violation("forbidden sysctls", bad.join(", ")))
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    let setters = pod.setters(|context| context["windowsOptions"].flag("hostProcess"))?;
    Some(violation(
        "hostProcess",
        format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"),
    ))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    let may = |container: &Value| {
        container["securityContext"].get("allowPrivilegeEscalation").and_then(Value::as_bool) != Some(false)
    };
    let containers = pod.those(may);
    (!containers.is_empty() && !pod.is_windows()).then(|| {
        let who = named("container", &containers);
        violation(
            "allowPrivilegeEscalation != false",
            format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
        )
    })
}

fn capabilities_dropped(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let keeping = pod.those(|container| {
        !container["securityContext"]["capabilities"].list("drop").iter().any(|name| name == "ALL")
    });
    let (containers, added) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = named("container", &keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !containers.is_empty() {
        details.push(must_not_add(&containers, &added));
    }
    (!details.is_empty()).then(|| violation("unrestricted capabilities", details.join("; ")))
}

fn restricted_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec.list("volumes") {
        let source =
            volume.as_object().into_iter().flatten().find(|(key, value)| *key != "name" && !value.is_null());
        let source = source.map_or("unknown", |(key, _)| key);
        if !VOLUMES.contains(&source) {
            names.push(volume.text("name"));
            types.insert(source);
        }
    }
    (!names.is_empty()).then(|| {
        let what = plural("restricted volume type", types.len());
        let detail = format!("{} {} {what} {}", named("volume", &names), uses(names.len()), quoted(&types));
        violation("restricted volume types", detail)
    })
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() {
        return None;
    }
    let set = |context: &Value| context.get("runAsNonRoot").and_then(Value::as_bool);
    const REASON: &str = "runAsNonRoot != true";
    if let Some(setters) = pod.setters(|context| set(context) == Some(false)) {
        return Some(violation(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false")));
    }
    if set(&pod.spec["securityContext"]) == Some(true) {
        return None;
    }
    let silent = pod.those(|container| set(&container["securityContext"]).is_none());
    (!silent.is_empty()).then(|| {
        let who = named("container", &silent);
        violation(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
    })
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_own_users() {
        return None;
    }
    let setters = pod.setters(|context| context.int("runAsUser") == Some(0))?;
    Some(violation("runAsUser=0", format!("{setters} must not set runAsUser=0")))
}

fn seccomp_set(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    if let Some(bad) = seccomp(pod) {
        return Some(bad);
    }
    if pod.spec["securityContext"].has("seccompProfile") {
        return None;
    }
    let silent = pod.those(|container| !container["securityContext"].has("seccompProfile"));
    (!silent.is_empty()).then(|| {
        let who = named("container", &silent);
        let detail = format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        );
        violation("seccompProfile", detail)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(level: Level, spec: &Value) -> Vec<String> {
        let all = violations(level, &json!({}), spec);
        all.iter().map(|one| format!("{} ({})", one.reason, one.detail)).collect()
    }

    #[test]
    fn the_baseline_leaves_ordinary_pods_alone() {
        let spec = json!({"containers": [{"name": "c"}], "volumes": [{"name": "v", "emptyDir": {}}]});
        assert!(told(Level::Baseline, &spec).is_empty());
        let spec = json!({"hostPID": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
            "securityContext": {"seLinuxOptions": {"user": "u"}, "sysctls": [{"name": "kernel.msgmax"}]},
            "containers": [{"name": "a", "ports": [{"hostPort": 80}], "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
                {"name": "b", "ports": [{"hostPort": 81}], "securityContext": {"privileged": true, "seccompProfile": {"type": "Unconfined"}}}]});
        let expected = [
            r#"non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)"#,
            "host namespaces (hostPID=true)",
            r#"hostPath volumes (volume "v")"#,
            r#"hostPort (containers "a", "b" use hostPorts 80, 81)"#,
            r#"privileged (container "b" must not set securityContext.privileged=true)"#,
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set)",
            r#"seccompProfile (container "b" must not set securityContext.seccompProfile.type to "Unconfined")"#,
            "forbidden sysctls (kernel.msgmax)",
        ];
        assert_eq!(told(Level::Baseline, &spec), expected);
    }

    #[test]
    fn the_restricted_level_asks_to_give_up_rights() {
        let context =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsUser": 0});
        let spec = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "v", "nfs": {}}], "containers": [{"name": "c", "securityContext": context}]});
        let expected = [
            r#"restricted volume types (volume "v" uses restricted volume type "nfs")"#,
            r#"runAsUser=0 (container "c" must not set runAsUser=0)"#,
        ];
        assert_eq!(told(Level::Restricted, &spec), expected);
        let bare = json!({"containers": [{"name": "c"}]});
        let reasons = violations(Level::Restricted, &json!({}), &bare);
        let reasons: Vec<_> = reasons.iter().map(|one| one.reason.as_str()).collect();
        let expected = [
            "allowPrivilegeEscalation != false",
            "unrestricted capabilities",
            "runAsNonRoot != true",
            "seccompProfile",
        ];
        assert_eq!(reasons, expected);
    }
}
