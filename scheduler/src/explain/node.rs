//! Why not this node: what each filter says about one node, with numbers, and what would help there.

use super::look::Case;
use super::numbers::numbers;
use super::relax;
use super::report::{NodeAnswer, NodeFilter};
use super::scores::{Ranked, rank};
use crate::cycle::Checks;
use crate::framework::{ForPod, Verdict};

/// Answers for the node of that name. `is_there`: the pod is on it.
pub(super) fn answer(case: &Case<'_>, name: &str, is_there: bool) -> NodeAnswer {
    let filters = filters(case, name);
    let fits = !filters.is_empty() && filters.iter().all(|filter| filter.fits) && fits(case, name);
    let ranked = || rank(case.pod, case.profile, case.cluster, usize::MAX).nodes;
    let place = fits.then(|| place(&ranked(), name)).flatten();
    NodeAnswer {
        node: name.to_owned(),
        fits,
        place,
        filters,
        fixes: if fits || is_there { Vec::new() } else { relax::fixes_on(case, name) },
    }
}

/// Equals share the first place among them, since one of them is drawn.
fn place(ranked: &[Ranked], name: &str) -> Option<usize> {
    let own = ranked.iter().find(|ranked| &*ranked.node == name)?.total;
    ranked.iter().position(|ranked| ranked.total == own).map(|before| before + 1)
}

/// Whether the pod fits, also beside the pods that were promised room there.
fn fits(case: &Case<'_>, name: &str) -> bool {
    let Some(node) = case.cluster.position(name).map(|at| &case.cluster.nodes()[at]) else { return false };
    Checks::prepare(case.pod, case.profile, case.cluster).is_ok_and(|checks| {
        !checks.leaves_out(node) && checks.ask_with_nominated(case.pod, node, case.cluster).is_none()
    })
}

/// Every filter that concerns the pod; none when there is no such node.
fn filters(case: &Case<'_>, name: &str) -> Vec<NodeFilter> {
    let Some(node) = case.cluster.position(name).map(|at| &*case.cluster.nodes()[at]) else {
        return Vec::new();
    };
    let ask = |filter: &dyn crate::framework::Filter| {
        let verdict = match filter.for_pod(case.pod, case.cluster) {
            ForPod::Nothing => return None,
            ForPod::Refuse(verdict) => verdict,
            ForPod::Check { check, only } => match only {
                Some(only) if !only.contains(&name) => Verdict::Never(
                    "the pod names the nodes that it may run on, and this is none of them".into(),
                ),
                _ => check.check(node),
            },
        };
        let fits = verdict.fits();
        Some(NodeFilter {
            plugin: filter.name().to_owned(),
            fits,
            reasons: verdict.reasons().iter().map(ToString::to_string).collect(),
            detail: numbers(filter.name(), case, node)
                .filter(|_| !fits || filter.name() == "NodeResourcesFit"),
            evicting_may_help: matches!(verdict, Verdict::Later(_)),
        })
    };
    case.profile.filters().filter_map(ask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_a_place() {
        let node = |name: &str, total| Ranked { node: name.into(), total, points: Vec::new() };
        let ranked = [node("a", 9), node("b", 9), node("c", 5), node("d", 5)];
        for (name, want) in [("a", Some(1)), ("b", Some(1)), ("c", Some(3)), ("d", Some(3)), ("e", None)] {
            assert_eq!(place(&ranked, name), want, "{name}");
        }
    }
}
