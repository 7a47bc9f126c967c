//! What a file must not say, outside of plugins: upstream's checks, in upstream's words.

use super::faults::Faults;
use super::file::{Extender, Profile};
use component::leader::LeaderConfig;
use objects::validity::qualified_name;
use std::collections::{BTreeMap, BTreeSet};

/// A percentage, or nothing for zero, which stands for the default.
pub(super) fn percentage(given: Option<i32>, path: &str, faults: &mut Faults) -> Option<u8> {
    let given = given?;
    match u8::try_from(given) {
        Ok(0) => None,
        Ok(percentage @ ..=100) => Some(percentage),
        _ => {
            faults.invalid(path, given, "not in valid range [0-100]");
            None
        }
    }
}

/// Every profile has a name of its own.
pub(super) fn names(profiles: &[Profile], faults: &mut Faults) {
    let mut seen = BTreeMap::new();
    for (at, profile) in profiles.iter().enumerate() {
        let path = format!("profiles[{at}].schedulerName");
        match profile.scheduler_name.as_deref() {
            None | Some("") => faults.required(path, ""),
            Some(name) => {
                if let Some(first) = seen.insert(name, at) {
                    faults.duplicate(path, &format!("profiles[{first}].schedulerName"));
                }
            }
        }
    }
}

/// There is one queue, so all profiles have to order it in the same way.
pub(super) fn queue_order(profiles: &[Profile], faults: &mut Faults) {
    let set = |profile: &Profile| {
        profile.plugins.as_ref().map(|plugins| plugins.queue_sort.clone()).unwrap_or_default()
    };
    let Some((first, others)) = profiles.split_first() else { return };
    for (at, other) in others.iter().enumerate() {
        if set(first) != set(other) {
            let path = format!("profiles[{}].plugins.queueSort", at + 1);
            faults.forbidden(path, "has to match for all profiles");
        }
    }
}

/// The times and names of an election; `path` is where they stand.
pub(super) fn election(leader: &LeaderConfig, lock: &str, path: &str, faults: &mut Faults) {
    let seconds = |duration: std::time::Duration| format!("\"{}\"", super::duration::GoDuration(duration));
    if leader.lease_duration <= leader.renew_deadline {
        let (path, value) = (format!("{path}.leaseDuration"), seconds(leader.lease_duration));
        faults.invalid(path, value, "LeaseDuration must be greater than RenewDeadline");
    }
    if leader.renew_deadline <= leader.retry_period {
        let (path, value) = (format!("{path}.renewDeadline"), seconds(leader.renew_deadline));
        faults.invalid(path, value, "RenewDeadline must be greater than RetryPeriod");
    }
    let times = [
        ("leaseDuration", leader.lease_duration),
        ("renewDeadline", leader.renew_deadline),
        ("retryPeriod", leader.retry_period),
    ];
    for (name, _) in times.iter().filter(|(_, time)| time.is_zero()) {
        faults.invalid(format!("{path}.{name}"), "\"0s\"", "must be greater than zero");
    }
    if lock != "leases" {
        faults.invalid(
            format!("{path}.resourceLock"),
            format!("{lock:?}"),
            "resourceLock value must be \"leases\"",
        );
    }
    for (name, value) in [("resourceName", &leader.name), ("resourceNamespace", &leader.namespace)] {
        if value.is_empty() {
            faults.required(format!("{path}.{name}"), &format!("{name} is required"));
        }
    }
}

/// What extenders must not say.
pub(super) fn extenders(extenders: &[Extender], faults: &mut Faults) {
    let mut managed = BTreeSet::new();
    for (at, extender) in extenders.iter().enumerate() {
        let path = format!("extenders[{at}]");
        if extender.url_prefix.is_empty() {
            faults.required(format!("{path}.urlPrefix"), "");
        }
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let why = "must have a positive weight applied to it";
            faults.invalid(format!("{path}.weight"), extender.weight, why);
        }
        for (at, resource) in extender.managed_resources.iter().enumerate() {
            let (path, name) = (format!("{path}.managedResources[{at}].name"), &resource.name);
            let quoted = format!("{name:?}");
            let problems = qualified_name(name);
            let extended =
                name.contains('/') && !name.starts_with("requests.") && !name.contains("kubernetes.io/");
            if problems.is_empty() && !extended {
                faults.invalid(&path, &quoted, "is an invalid extended resource name");
            }
            for problem in problems {
                faults.invalid(&path, &quoted, problem);
            }
            if !managed.insert(name) {
                faults.invalid(&path, &quoted, "duplicate extender managed resource name");
            }
        }
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        let found = format!("\"found {binders} extenders implementing bind\"");
        faults.invalid("extenders", found, "only one extender can implement bind");
    }
}
