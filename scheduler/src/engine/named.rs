//! Pods that ask for nodes by name, as each pod of a DaemonSet does: no two are of one shape, and only the nodes they
//! name have to be asked.

use super::Engine;
use super::local::Local;
use super::plan::{self, Across, Plan};
use super::tables::Kind;
use crate::cache::Snapshot;
use crate::cycle::Placement;
use crate::failure::{Failure, Rejection};
use crate::framework::Profile;
use crate::pod::PodInfo;
use std::sync::Arc;

impl Engine {
    /// Decides for a pod with a list of names; `None`: the plain path has to.
    pub(super) fn decide_named(
        &mut self,
        pod: &Arc<PodInfo>,
        profile: &Profile,
        cluster: &Snapshot,
    ) -> Option<Result<Placement, Failure>> {
        if pod.terms().is_some() || cluster.promised_to(&pod.uid).is_some() {
            return None;
        }
        let class = self.tables.class(pod, cluster.namespaces());
        let plan = self.plans.get(&profile.scheduler_name)?;
        let unwelcome = || self.tables.wishes_about(class).any(|(_, wish)| wish.kind == Kind::AntiAffinity);
        if plan.across.iter().any(|(_, kind)| *kind == Across::Pods) && unwelcome()
            || is_spread(plan, pod, profile, cluster)
        {
            return None;
        }
        let (local, named) = Local::prepare_named(pod, plan, profile, cluster)?;
        let named = named.filter(|named| !named.names.is_empty())?;
        let mut feasible = Vec::new();
        let mut rejections = Vec::new();
        for at in named.names.iter().filter_map(|name| cluster.position(name)) {
            let node = &cluster.nodes()[at];
            match local.ask_with_promised(pod, node, cluster) {
                None => feasible.push(node),
                Some((plugin, verdict)) => rejections.push(Rejection { node: at, plugin, verdict }),
            }
        }
        match feasible.as_slice() {
            [] => Some(Err(Failure::no_fit(cluster.len(), rejections, named.by))),
            [one] => Some(Ok(Placement { node: one.name.clone(), feasible: 1 })),
            _ => None,
        }
    }
}

fn is_spread(plan: &Plan, pod: &PodInfo, profile: &Profile, cluster: &Snapshot) -> bool {
    let spreads = |(at, kind): &(usize, Across)| {
        *kind == Across::Spread && !plan::spread(profile, *at).required(pod, cluster).is_empty()
    };
    plan.across.iter().any(spreads)
}
