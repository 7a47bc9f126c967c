//! Which plugins a profile has, at which extension points, in which order and with which weights: the default list
//! with the changes of `plugins` laid over it, by upstream's rules.
//!
//! `multiPoint` changes the default list; the set of one extension point then adds to it, takes away from it, or gives
//! another weight there. Those named at the point itself go first if `multiPoint` has them too, and last if not.

use super::args::Args;
use super::build;
use super::faults::Faults;
use super::file::{Plugin as Named, PluginSet, Plugins};
use crate::framework::{Enabled, Plugin, Points};
use crate::plugins;
use std::collections::BTreeSet;

/// Stands for all plugins in `disabled`.
const ALL: &str = "*";

/// A plugin of a profile, not built yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub name: &'static str,
    /// What its score counts.
    pub weight: i64,
    /// In which of its roles it is used.
    pub points: Points,
}

/// Where a file has the set of an extension point.
type SetOf = fn(&Plugins) -> &PluginSet;

/// The roles of the framework, with the extension point by which a file names them.
struct Role {
    point: &'static str,
    set: SetOf,
    plays: fn(&dyn Plugin) -> bool,
    flag: fn(&mut Points) -> &mut bool,
}

const ROLES: &[Role] = &[
    Role {
        point: "preEnqueue",
        set: |plugins| &plugins.pre_enqueue,
        plays: |plugin| plugin.gate().is_some(),
        flag: |points| &mut points.gate,
    },
    Role {
        point: "queueSort",
        set: |plugins| &plugins.queue_sort,
        plays: |plugin| plugin.order().is_some(),
        flag: |points| &mut points.order,
    },
    Role {
        point: "filter",
        set: |plugins| &plugins.filter,
        plays: |plugin| plugin.filter().is_some(),
        flag: |points| &mut points.filter,
    },
    Role {
        point: "postFilter",
        set: |plugins| &plugins.post_filter,
        plays: |plugin| plugin.preempt().is_some(),
        flag: |points| &mut points.preempt,
    },
    Role {
        point: "score",
        set: |plugins| &plugins.score,
        plays: |plugin| plugin.score().is_some(),
        flag: |points| &mut points.score,
    },
    Role {
        point: "reserve",
        set: |plugins| &plugins.reserve,
        plays: |plugin| plugin.reserve().is_some(),
        flag: |points| &mut points.reserve,
    },
    Role {
        point: "permit",
        set: |plugins| &plugins.permit,
        plays: |plugin| plugin.permit().is_some(),
        flag: |points| &mut points.permit,
    },
    Role {
        point: "preBind",
        set: |plugins| &plugins.pre_bind,
        plays: |plugin| plugin.pre_bind().is_some(),
        flag: |points| &mut points.pre_bind,
    },
    Role {
        point: "bind",
        set: |plugins| &plugins.bind,
        plays: |plugin| plugin.bind().is_some(),
        flag: |points| &mut points.bind,
    },
];

/// Extension points that are part of a role above (preFilter of filter, preScore of score) or have no plugin of
/// their own here: names are checked, and the role decides.
const PARTS: &[(&str, SetOf)] = &[
    ("preFilter", |plugins| &plugins.pre_filter),
    ("preScore", |plugins| &plugins.pre_score),
    ("postBind", |plugins| &plugins.post_bind),
    ("placementGenerate", |plugins| &plugins.placement_generate),
    ("placementScore", |plugins| &plugins.placement_score),
];

/// Parts of upstream's plugins that ours do elsewhere: to name them there changes nothing.
const ELSEWHERE: &[(&str, &str)] =
    &[("preEnqueue", "DefaultPreemption"), ("postFilter", "DynamicResources"), ("score", "VolumeBinding")];

/// The plugins of a profile whose changes stand at `path`.
pub(super) fn resolve(custom: &Plugins, path: &str, faults: &mut Faults) -> Vec<Chosen> {
    let known = Known::new();
    for (point, set) in PARTS {
        known.check(set(custom), &format!("{path}.{point}"), faults);
    }
    known.check(&custom.multi_point, &format!("{path}.multiPoint"), faults);
    let multi = merged(&known.defaults, &custom.multi_point);
    let mut lists = Vec::new();
    for role in ROLES {
        let (set, path) = (&(role.set)(custom), format!("{path}.{}", role.point));
        known.check(set, &path, faults);
        for (at, plugin) in set.enabled.iter().enumerate() {
            let elsewhere = ELSEWHERE.contains(&(role.point, &plugin.name));
            if !elsewhere && known.get(&plugin.name).is_some_and(|plugin| !(role.plays)(plugin)) {
                let (path, name) = (format!("{path}.enabled[{at}]"), format!("{:?}", plugin.name));
                faults.invalid(path, name, format!("the plugin has no part in {}", role.point));
            }
        }
        lists.push(known.list(role, set, &multi));
    }
    let of = |point: &str| ROLES.iter().position(|role| role.point == point).expect("is a role");
    match lists[of("queueSort")].len() {
        1 => {}
        0 => faults.required(format!("{path}.queueSort"), "one queue sort plugin is needed"),
        several => {
            let path = format!("{path}.queueSort.enabled");
            faults.invalid(path, several, "only one queue sort plugin can be enabled");
        }
    }
    if lists[of("bind")].is_empty() {
        faults.required(format!("{path}.bind"), "at least one bind plugin is needed");
    }
    joined(&multi, &lists)
}

/// The default list as changed by `multiPoint`: name and weight of each.
pub(super) fn multi_point(custom: &PluginSet) -> Vec<(&'static str, i64)> {
    merged(&Known::new().defaults, custom)
}

/// Builds them.
pub(super) fn enabled(chosen: &[Chosen], args: &Args) -> Vec<Enabled> {
    let build = |chosen: &Chosen| {
        let Chosen { name, weight, points } = *chosen;
        build::plugin(name, args).map(|plugin| Enabled { plugin, weight, points })
    };
    chosen.iter().filter_map(build).collect()
}

/// Every plugin there is.
struct Known {
    plugins: Vec<Box<dyn Plugin>>,
    /// Name and weight in the default profile, in order.
    defaults: Vec<(&'static str, i64)>,
}

impl Known {
    fn new() -> Self {
        let all = plugins::defaults();
        let defaults = all.iter().map(|enabled| (enabled.plugin.name(), enabled.weight)).collect();
        Self { plugins: all.into_iter().map(|enabled| enabled.plugin).collect(), defaults }
    }

    fn get(&self, name: &str) -> Option<&dyn Plugin> {
        self.plugins.iter().find(|plugin| plugin.name() == name).map(|plugin| &**plugin)
    }

    fn check(&self, set: &PluginSet, path: &str, faults: &mut Faults) {
        let mut seen = BTreeSet::new();
        for (at, plugin) in set.enabled.iter().enumerate() {
            let (path, name) = (format!("{path}.enabled[{at}]"), format!("{:?}", plugin.name));
            if self.get(&plugin.name).is_none() {
                faults.invalid(&path, name, "there is no plugin of that name");
            } else if !seen.insert(&plugin.name) {
                faults.duplicate(&path, &plugin.name);
            }
            if let Some(weight) = plugin.weight.filter(|weight| *weight < 0) {
                faults.invalid(format!("{path}.weight"), weight, "a weight has to be positive");
            }
        }
    }

    /// The plugins that play a role, with their weights.
    fn list(&self, role: &Role, set: &PluginSet, multi: &[(&'static str, i64)]) -> Vec<(&'static str, i64)> {
        let explicit = merged_names(self, &set.enabled);
        if disables(set, ALL) {
            return explicit;
        }
        let plays = |name: &str| self.get(name).is_some_and(role.plays);
        let is_explicit = |name: &str| explicit.iter().any(|(other, _)| *other == name);
        let in_multi = |name: &str| multi.iter().any(|(other, _)| *other == name);
        let first = explicit.iter().filter(|(name, _)| in_multi(name));
        let rest = multi.iter().filter(|(name, _)| plays(name) && !is_explicit(name) && !disables(set, name));
        let last = explicit.iter().filter(|(name, _)| !in_multi(name));
        first.chain(rest).chain(last).copied().collect()
    }
}

fn merged_names(known: &Known, named: &[Named]) -> Vec<(&'static str, i64)> {
    let known = named.iter().filter_map(|plugin| {
        let name = known.get(&plugin.name)?.name();
        Some((name, weight(plugin)))
    });
    known.collect()
}

/// A list with the changes of a set: what is named again keeps its place and gets the new weight.
fn merged(defaults: &[(&'static str, i64)], set: &PluginSet) -> Vec<(&'static str, i64)> {
    let again = |name: &str| set.enabled.iter().find(|plugin| plugin.name == name);
    let kept = |name: &str| !disables(set, ALL) && !disables(set, name);
    let mut list: Vec<(&'static str, i64)> = defaults
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, default)| (*name, again(name).map_or(*default, weight)))
        .collect();
    for plugin in &set.enabled {
        let known = defaults.iter().find(|(name, _)| *name == plugin.name);
        if let Some((name, _)) = known.filter(|(name, _)| !list.iter().any(|(other, _)| other == name)) {
            list.push((*name, weight(plugin)));
        }
    }
    list
}

/// A weight that is not given, or zero, counts as one.
fn weight(plugin: &Named) -> i64 {
    plugin.weight.filter(|weight| *weight != 0).map_or(1, i64::from)
}

fn disables(set: &PluginSet, name: &str) -> bool {
    set.disabled.iter().any(|plugin| plugin.name == name)
}

/// One entry a plugin, in an order that is right for as many roles as possible; a role with another order gets entries
/// of its own behind them.
fn joined(multi: &[(&'static str, i64)], lists: &[Vec<(&'static str, i64)>]) -> Vec<Chosen> {
    let mut names: Vec<&'static str> = multi.iter().map(|(name, _)| *name).collect();
    for (name, _) in lists.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let entry = |name, weight| Chosen { name, weight, points: Points::NONE };
    let mut chosen: Vec<Chosen> = names.iter().map(|name| entry(*name, 0)).collect();
    let mut behind = Vec::new();
    for (role, list) in ROLES.iter().zip(lists) {
        let places: Vec<_> =
            list.iter().filter_map(|(name, _)| names.iter().position(|other| other == name)).collect();
        let in_order = places.is_sorted();
        for (at, (name, weight)) in places.into_iter().zip(list) {
            let own = if in_order {
                &mut chosen[at]
            } else {
                behind.push(entry(*name, 0));
                behind.last_mut().expect("was pushed just now")
            };
            *(role.flag)(&mut own.points) = true;
            if role.point == "score" {
                own.weight = *weight;
            }
        }
    }
    chosen.append(&mut behind);
    chosen.retain(|chosen| chosen.points != Points::NONE);
    chosen
}
