//! How many pods wait because of which plugin (`scheduler_unschedulable_pods`).
//!
//! Promise: a pod counts once for each plugin that refused it last, from the refusal until it is tried again or gone.

use rustc_hash::FxHashMap;

/// Pods by profile and plugin.
#[derive(Debug, Default)]
pub(super) struct Blame {
    pods: FxHashMap<String, Vec<(&'static str, i64)>>,
    changed: bool,
}

/// (profile, plugin, pods).
pub type Blamed = (String, &'static str, i64);

impl Blame {
    /// One pod more, or less (`by` is -1), for each of these plugins.
    pub(super) fn count(&mut self, profile: &str, plugins: &[&'static str], by: i64) {
        if plugins.is_empty() {
            return;
        }
        self.changed = true;
        if !self.pods.contains_key(profile) {
            self.pods.insert(profile.to_owned(), Vec::new());
        }
        let Some(of) = self.pods.get_mut(profile) else { return };
        for plugin in plugins {
            match of.iter_mut().find(|(known, _)| known == plugin) {
                Some((_, count)) => *count += by,
                None => of.push((plugin, by)),
            }
        }
    }

    /// All of them, if anything has changed since this was last asked.
    pub(super) fn take(&mut self) -> Vec<Blamed> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let all = self.pods.iter().flat_map(|(profile, of)| {
            of.iter().map(move |(plugin, count)| (profile.clone(), *plugin, *count))
        });
        all.collect()
    }
}
