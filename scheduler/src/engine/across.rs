//! What pods elsewhere mean to a pod: the rules of spreading and of pods near pods, resolved to tables.
//!
//! Two pods with equal [`Rules`] get the same answers, so the sums behind them are kept for the next one
//! ([`AcrossNodes`]).

use super::groups::Groups;
use super::log::{Mark, Stale, What};
use super::plan::{self, Across, Plan};
use super::shape::Shape;
use super::sums::{Source, Sum, Terms, World};
use super::tables::{At, ClassId, Kind, Tables, Who};
use super::topology::{KeyId, NOWHERE, Topology};
use crate::cache::Snapshot;
use crate::framework::Profile;
use crate::plugins::{Constraint, HOSTNAME};
use crate::pod::PodInfo;
use crate::terms::Term;
use std::sync::Arc;

/// All rules that concern a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    /// DoNotSchedule constraints, in order.
    pub(super) spread: Vec<SpreadRule>,
    /// ScheduleAnyway constraints, in order.
    pub(super) rather_spread: Vec<SpreadRule>,
    /// Nodes without the keys of all these are left out of that score.
    pub(super) all_keys: bool,
    /// Required pod affinity: one sum a term, all of pods that every term means.
    pub(super) near: Vec<Terms>,
    /// The pod is one of those it wants to be near.
    pub(super) near_itself: bool,
    /// Required anti-affinity of its own.
    pub(super) far: Vec<Terms>,
    /// Required anti-affinity of pods that are there.
    pub(super) unwelcome: Vec<Terms>,
    /// Weights of preferred terms, its own and of others.
    pub(super) wishes: Vec<Terms>,
}

/// One constraint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SpreadRule {
    pub(super) terms: Terms,
    pub(super) max_skew: i64,
    pub(super) min_domains: usize,
    /// 1 if the pod counts itself.
    pub(super) own: i64,
    /// Domains are hosts, whose pods count without looking at policies.
    pub(super) hosts: bool,
    policies: (bool, bool),
}

/// The rules and the constraints they came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    pub(super) rules: Rules,
    pub(super) required: Vec<Constraint>,
    pub(super) preferred: Vec<Constraint>,
}

/// What a sum is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Spread,
    RatherSpread {
        /// Pods are counted host by host.
        hosts: bool,
    },
    Near,
    Far,
    Unwelcome,
    Wish,
}

/// Rules with the sums behind them, and the groups of nodes that they make.
#[derive(Debug)]
pub(super) struct AcrossNodes {
    pub(super) resolved: Resolved,
    /// In the order of [`Rules::kinds`].
    pub(super) sums: Vec<Sum>,
    kinds: Vec<Rule>,
    pub(super) groups: Groups,
    mark: Option<Mark>,
    /// Nodes whose sums are those of other rules yet.
    foreign: Vec<(At, What)>,
}

impl AcrossNodes {
    pub(super) fn new(resolved: Resolved) -> Self {
        let rules = &resolved.rules;
        let sums = rules.terms().cloned().map(Sum::new).collect();
        let (groups, mark, foreign) = Default::default();
        Self { sums, kinds: rules.kinds().collect(), groups, mark, foreign, resolved }
    }

    /// Other rules for pods of the same shape that sum by the same keys over the same nodes, as a new deployment like
    /// the one before it has: what is kept is taken over, and only nodes with pods that either counts are looked at.
    pub(super) fn with_rules(&self, resolved: &Resolved, tables: &Tables) -> Option<Self> {
        if !self.resolved.rules.sum_like(&resolved.rules) || !self.groups.usable() {
            return None;
        }
        let sources = resolved.rules.terms().map(|terms| terms.sources.clone());
        let sums: Vec<Sum> = self.sums.iter().zip(sources).map(|(sum, sources)| sum.of(sources)).collect();
        let places = sums.iter().flat_map(|sum| sum.with_something(tables));
        let foreign = self.foreign.iter().copied().chain(places.map(|at| (at, What::Pods))).collect();
        let (kinds, groups, mark) = (self.kinds.clone(), self.groups.clone(), self.mark);
        Some(Self { resolved: resolved.clone(), sums, kinds, groups, mark, foreign })
    }

    /// Brings all sums up to date. The shape is up to date.
    pub(super) fn refresh(&mut self, shape: &Shape, world: &World<'_>) {
        let pod = shape.pod();
        let Resolved { rules, required, preferred } = &self.resolved;
        let stale = Mark::advance(&mut self.mark, world.order, world.cluster.len(), world.log);
        let mut all = std::mem::take(&mut self.foreign);
        let stale = match stale {
            Stale::Some(some) if !all.is_empty() => {
                all.extend_from_slice(some);
                Stale::Some(&all)
            }
            stale => stale,
        };
        let mut sums = self.sums.iter_mut();
        for (sum, constraint) in sums.by_ref().take(rules.spread.len()).zip(required) {
            sum.refresh(&stale, world, |at| counts(constraint, pod, &rules.spread, at, world));
        }
        for (sum, constraint) in sums.by_ref().take(rules.rather_spread.len()).zip(preferred) {
            let all: &[_] = if rules.all_keys { &rules.rather_spread } else { &[] };
            sum.refresh(&stale, world, |at| counts(constraint, pod, all, at, world));
        }
        sums.for_each(|sum| sum.refresh(&stale, world, |_| true));
        self.groups.refresh(rules, shape, &self.sums, &stale, world);
    }

    /// The sums of some rules, each with its place.
    pub(super) fn columns(&self, of: impl Fn(Rule) -> bool) -> impl Iterator<Item = (usize, &Sum)> {
        let columns = self.kinds.iter().zip(&self.sums).enumerate();
        columns.filter(move |(_, (rule, _))| of(**rule)).map(|(column, (_, sum))| (column, sum))
    }

    /// True when the sum at that place counts host by host.
    pub(super) fn counts_hosts(&self, column: usize) -> bool {
        self.kinds[column] == Rule::RatherSpread { hosts: true }
    }
}

/// True when pods on a node count for a constraint of `pod`, and it has the labels of all these rules.
fn counts(constraint: &Constraint, pod: &PodInfo, all: &[SpreadRule], at: At, world: &World<'_>) -> bool {
    let place = at as usize;
    let labelled = all.iter().all(|rule| world.topology.domains(rule.terms.key)[place] != NOWHERE);
    // The node itself is a step away, and few pods are particular about it.
    labelled
        && (!constraint.may_leave_out(&world.cluster.gauges()[place], pod)
            || constraint.counts_on(&world.cluster.nodes()[place], pod))
}

impl Rules {
    /// What each sum is for, in order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Rule> {
        let many = |rule, terms: &[Terms]| std::iter::repeat_n(rule, terms.len());
        let spread = std::iter::repeat_n(Rule::Spread, self.spread.len());
        spread
            .chain(self.rather_spread.iter().map(|rule| Rule::RatherSpread { hosts: rule.hosts }))
            .chain(many(Rule::Near, &self.near))
            .chain(many(Rule::Far, &self.far))
            .chain(many(Rule::Unwelcome, &self.unwelcome))
            .chain(many(Rule::Wish, &self.wishes))
    }

    /// What each sum is of, in the same order.
    fn terms(&self) -> impl Iterator<Item = &Terms> {
        let spread = self.spread.iter().chain(&self.rather_spread).map(|rule| &rule.terms);
        let pods = self.near.iter().chain(&self.far).chain(&self.unwelcome).chain(&self.wishes);
        spread.chain(pods)
    }

    /// True when both sum by the same keys over the same nodes, for pods of one shape.
    fn sum_like(&self, other: &Self) -> bool {
        let keys = |rules: &Self| rules.terms().map(|terms| terms.key).collect::<Vec<_>>();
        let policies = |rules: &Self| {
            let spread = rules.spread.iter().chain(&rules.rather_spread);
            spread.map(|rule| rule.policies).collect::<Vec<_>>()
        };
        self.all_keys == other.all_keys
            && self.kinds().eq(other.kinds())
            && keys(self) == keys(other)
            && policies(self) == policies(other)
    }

    /// True when nothing elsewhere can refuse a node.
    pub(super) fn refuse_nothing(&self) -> bool {
        self.spread.is_empty() && self.near.is_empty() && self.far.is_empty() && self.unwelcome.is_empty()
    }

    /// True when nothing elsewhere changes a score.
    pub(super) fn wish_nothing(&self) -> bool {
        self.rather_spread.is_empty() && self.wishes.is_empty()
    }
}

/// What rules are made from.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) profile: &'a Profile,
    pub(super) cluster: &'a Snapshot,
    pub(super) tables: &'a mut Tables,
    pub(super) topology: &'a mut Topology,
}

impl Maker<'_> {
    /// The rules of a pod of that class.
    pub(super) fn resolve(&mut self, pod: &Arc<PodInfo>, class: ClassId) -> Resolved {
        let mut resolved = Resolved::default();
        for (at, kind) in &self.plan.across {
            match kind {
                Across::Spread => {
                    let required = plan::spread(self.profile, *at).required(pod, self.cluster);
                    resolved.rules.spread = self.spread(pod, &required);
                    resolved.required = required;
                }
                Across::Pods => self.required_terms(&mut resolved.rules, pod, class),
            }
        }
        for (at, kind, _) in &self.plan.wishes {
            match kind {
                Across::Spread => {
                    let (preferred, all_keys) = plan::spread(self.profile, *at).preferred(pod, self.cluster);
                    resolved.rules.rather_spread = self.spread(pod, &preferred);
                    resolved.rules.all_keys = all_keys;
                    resolved.preferred = preferred;
                }
                Across::Pods => {
                    let plugin = plan::pods(self.profile, *at);
                    let (hard, ignore) = (plugin.required_weight, plugin.ignore_preferred_of_others);
                    resolved.rules.wishes = self.wishes(pod, class, hard, ignore);
                }
            }
        }
        resolved
    }

    fn key(&mut self, name: &str) -> KeyId {
        self.topology.key(name, self.cluster)
    }

    fn counter(&mut self, who: Who) -> Source {
        Source::Counter(self.tables.counter(who, self.cluster.namespaces()))
    }

    fn spread(&mut self, pod: &PodInfo, constraints: &[Constraint]) -> Vec<SpreadRule> {
        let rule = |constraint: &Constraint| {
            let selector = &constraint.selector;
            let sources = if selector.is_everything() || selector.is_nothing() {
                Vec::new()
            } else {
                let namespace = pod.namespace().to_owned();
                vec![(self.counter(Who::Selected { namespace, selector: selector.clone() }), 1)]
            };
            SpreadRule {
                terms: Terms { key: self.key(&constraint.key), sources },
                max_skew: constraint.max_skew,
                min_domains: constraint.min_domains,
                own: i64::from(selector.matches(pod.labels())),
                hosts: constraint.key == HOSTNAME,
                policies: constraint.policies(),
            }
        };
        constraints.iter().map(rule).collect()
    }

    fn required_terms(&mut self, rules: &mut Rules, pod: &Arc<PodInfo>, class: ClassId) {
        if let Some(own) = pod.terms() {
            if !own.affinity.is_empty() {
                let everyone = self.counter(Who::Meant(own.affinity.clone()));
                let namespaces = self.cluster.namespaces();
                rules.near_itself = own.affinity.iter().all(|term| term.matches(pod, namespaces));
                rules.near = self.one_a_key(own.affinity.iter().map(|term| (term, everyone, 1)).collect());
                rules.near.iter_mut().for_each(|terms| terms.sources.truncate(1));
            }
            let far = own.anti_affinity.iter();
            let far = far.map(|term| (term, self.counter(Who::Meant(vec![term.clone()])), 1)).collect();
            rules.far = self.one_a_key(far);
        }
        let unwelcome = self.about(class, |kind| (kind == Kind::AntiAffinity).then_some(1));
        rules.unwelcome =
            self.one_a_key(unwelcome.iter().map(|(term, source, by)| (term, *source, *by)).collect());
    }

    fn wishes(&mut self, pod: &Arc<PodInfo>, class: ClassId, hard: i64, ignore: bool) -> Vec<Terms> {
        let mut all: Vec<(Term, Source, i64)> = Vec::new();
        if let Some(own) = pod.terms() {
            let liked = own.preferred.iter().map(|(term, weight)| (term, *weight));
            let disliked = own.preferred_anti.iter().map(|(term, weight)| (term, -*weight));
            for (term, weight) in liked.chain(disliked) {
                all.push((term.clone(), self.counter(Who::Meant(vec![term.clone()])), weight));
            }
        }
        if all.is_empty() && ignore {
            return Vec::new();
        }
        all.extend(self.about(class, |kind| match kind {
            Kind::Affinity if hard > 0 => Some(hard),
            Kind::Preferred(weight) if !ignore => Some(weight),
            Kind::PreferredAnti(weight) if !ignore => Some(-weight),
            _ => None,
        }));
        self.one_a_key(all.iter().map(|(term, source, by)| (term, *source, *by)).collect())
    }

    /// Wishes of others that mean the class, with what each of their pods counts.
    fn about(&self, class: ClassId, by: impl Fn(Kind) -> Option<i64>) -> Vec<(Term, Source, i64)> {
        let wishes = self.tables.wishes_about(class);
        wishes.filter_map(|(id, wish)| Some((wish.term.clone(), Source::Wish(id), by(wish.kind)?))).collect()
    }

    fn one_a_key(&mut self, parts: Vec<(&Term, Source, i64)>) -> Vec<Terms> {
        let mut all: Vec<Terms> = Vec::new();
        for (term, source, factor) in parts {
            let key = self.key(&term.topology_key);
            match all.iter_mut().find(|terms| terms.key == key) {
                Some(terms) => terms.sources.push((source, factor)),
                None => all.push(Terms { key, sources: vec![(source, factor)] }),
            }
        }
        all
    }
}
