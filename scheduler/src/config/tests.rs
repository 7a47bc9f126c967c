//! What must hold of the module above, as tables and scenarios.

use super::*;
use crate::framework::Score;
use crate::plugins;
use crate::plugins::args::ScoringStrategyType;
use crate::plugins::fixtures;
use crate::preempt::{Afresh, Attempt};
use component::random::Random;
use serde_json::json;
use std::time::Duration;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

/// The file with this text below its head.
fn file(text: &str) -> Result<File, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    File::read(file.path())
}

fn config(text: &str) -> Config {
    file(&format!("{HEAD}{text}")).unwrap().config("me").unwrap_or_else(|faults| panic!("{faults}"))
}

/// What is wrong with it.
fn faults(text: &str) -> String {
    file(&format!("{HEAD}{text}")).unwrap().config("me").unwrap_err().to_string()
}

fn syntax(text: &str) -> String {
    let error = file(text).unwrap_err();
    let (text, source) = (error.to_string(), std::error::Error::source(&error));
    let at = text.find("/tmp").map_or(0, |at| at + text[at..].find(' ').unwrap_or(0));
    format!("{}{}", &text[at..], source.map(|source| format!(": {source}")).unwrap_or_default())
}

fn only_profile(text: &str) -> Profile {
    config(text).profiles[0].profile()
}

fn weights(profile: &Profile) -> Vec<(&'static str, i64)> {
    profile.scores().map(|(score, weight): (&dyn Score, i64)| (score.name(), weight)).collect()
}

fn filters(profile: &Profile) -> Vec<&'static str> {
    profile.filters().map(|filter| filter.name()).collect()
}

#[test]
fn names_must_be_given_and_different() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert!(matches!(Config::for_names(&names(&["a", ""])).unwrap_err(), ConfigError::EmptyName));
    let twice = Config::for_names(&names(&["a", "a"])).unwrap_err();
    assert!(matches!(twice, ConfigError::DuplicateName(name) if name == "a"));
    let profiles = Config::for_names(&names(&["a", "b"])).unwrap().profiles();
    assert!(profiles.get("a").is_some() && profiles.get("b").is_some());
    assert!(profiles.get(DEFAULT_SCHEDULER).is_none());
    assert!(Config::for_names(&[]).unwrap().profiles().get(DEFAULT_SCHEDULER).is_some());
}

#[test]
fn an_empty_file_is_upstreams_default() {
    let config = config("");
    assert_eq!(config.scheduler_names().collect::<Vec<_>>(), [DEFAULT_SCHEDULER]);
    let leader = config.leader.clone().unwrap();
    assert_eq!((leader.name.as_str(), leader.namespace.as_str()), ("kube-scheduler", "kube-system"));
    assert_eq!(leader.lease_duration, Duration::from_secs(15));
    let profile = config.profiles[0].profile();
    let default = Profile::new("", plugins::defaults());
    assert_eq!((weights(&profile), filters(&profile)), (weights(&default), filters(&default)));
    assert_eq!(profile.plugins().count(), plugins::defaults().len(), "one entry a plugin");
    assert_eq!(profile.enough(5000), None, "every node is scored");
}

#[test]
fn several_profiles_with_their_own_plugins_weights_and_arguments() {
    let config = config(
        "
leaderElection: {leaderElect: false}
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
percentageOfNodesToScore: 10
profiles:
- schedulerName: spread
  plugins:
    score:
      disabled: [{name: ImageLocality}]
      enabled: [{name: TaintToleration, weight: 7}]
- schedulerName: pack
  percentageOfNodesToScore: 0
  plugins:
    multiPoint:
      disabled: [{name: InterPodAffinity}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}, {name: example.com/gpu}]}
",
    );
    assert_eq!(config.leader, None);
    assert_eq!((config.backoff.initial.as_secs(), config.backoff.max.as_secs()), (2, 20));
    assert_eq!(config.scheduler_names().collect::<Vec<_>>(), ["spread", "pack"]);
    let [spread, pack] = &config.profiles[..] else { panic!("two profiles") };
    let scores = weights(&spread.profile());
    assert_eq!(scores[0], ("TaintToleration", 7), "named at the point and in multiPoint: goes first");
    assert!(!scores.iter().any(|(name, _)| *name == "ImageLocality"));
    assert_eq!(spread.profile().enough(5000), Some(500));
    assert_eq!(spread.profile().enough(900), Some(100), "never fewer than 100");
    assert_eq!(spread.profile().enough(90), None);

    assert_eq!(pack.profile().enough(5000), None);
    assert!(!filters(&pack.profile()).contains(&"InterPodAffinity"));
    let strategy = &pack.args.fit.scoring_strategy;
    assert_eq!(strategy.kind, ScoringStrategyType::MostAllocated);
    let resources: Vec<_> =
        strategy.resources.iter().map(|resource| (resource.name.as_str(), resource.weight)).collect();
    assert_eq!(resources, [("cpu", 3), ("example.com/gpu", 1)]);
}

#[test]
fn sets_merge_as_upstreams_do() {
    let all_off =
        "profiles: [{plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeAffinity}]}}}]";
    assert_eq!(weights(&only_profile(all_off)), [("NodeAffinity", 1)], "no weight counts as one");

    let again = "profiles: [{plugins: {multiPoint: {enabled: [{name: NodeAffinity, weight: 9}]}}}]";
    let profile = only_profile(again);
    assert!(weights(&profile).contains(&("NodeAffinity", 9)));
    assert_eq!(filters(&profile), filters(&only_profile("")), "it keeps its place");

    let order = "profiles: [{plugins: {filter: {enabled: [{name: NodePorts}, {name: NodeName}]}}}]";
    let profile = only_profile(order);
    assert_eq!(filters(&profile)[..2], ["NodePorts", "NodeName"]);
    assert_eq!(filters(&profile).len(), filters(&only_profile("")).len());
    assert_eq!(weights(&profile), weights(&only_profile("")));

    let back = "profiles: [{plugins: {multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, \
                {name: DefaultBinder}, {name: NodeResourcesFit, weight: 2}]}}}]";
    let profile = only_profile(back);
    assert_eq!(
        (filters(&profile), weights(&profile)),
        (vec!["NodeResourcesFit"], vec![("NodeResourcesFit", 2)])
    );
    assert!(profile.binder().is_some());
    assert!(profile.preempts().next().is_none());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let profile = |text: &str| faults(&format!("profiles: [{{{text}}}]"));
    for (name, said, want) in [
        (
            "parallelism",
            faults("parallelism: 0"),
            "parallelism: Invalid value: 0: should be an integer value greater than zero",
        ),
        (
            "percentage",
            faults("percentageOfNodesToScore: 101"),
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "back-off",
            faults("podInitialBackoffSeconds: 11"),
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "lease",
            faults("leaderElection: {leaseDuration: 5s}"),
            "leaderElection.leaseDuration: Invalid value: \"5s\": LeaseDuration must be greater than RenewDeadline",
        ),
        (
            "lock",
            faults("leaderElection: {resourceLock: endpoints}"),
            "leaderElection.resourceLock: Invalid value: \"endpoints\": resourceLock value must be \"leases\"",
        ),
        (
            "names",
            faults("profiles: [{schedulerName: a}, {schedulerName: a}]"),
            "profiles[1].schedulerName: Duplicate value: \"profiles[0].schedulerName\"",
        ),
        (
            "no name",
            faults("profiles: [{schedulerName: a}, {}]"),
            "profiles[1].schedulerName: Required value",
        ),
        (
            "queue sort",
            faults(
                "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]",
            ),
            "profiles[1].plugins.queueSort: Forbidden: has to match for all profiles",
        ),
        (
            "unknown plugin",
            profile("plugins: {score: {enabled: [{name: Foo}]}}"),
            "profiles[0].plugins.score.enabled[0]: Invalid value: \"Foo\": there is no plugin of that name",
        ),
        (
            "bad weight",
            profile("plugins: {score: {enabled: [{name: NodeAffinity, weight: -1}]}}"),
            "profiles[0].plugins.score.enabled[0].weight: Invalid value: -1: a weight has to be positive",
        ),
        (
            "wrong point",
            profile("plugins: {score: {enabled: [{name: NodeName}]}}"),
            "profiles[0].plugins.score.enabled[0]: Invalid value: \"NodeName\": the plugin has no part in score",
        ),
        (
            "no binder",
            profile("plugins: {bind: {disabled: [{name: '*'}]}}"),
            "profiles[0].plugins.bind: Required value: at least one bind plugin is needed",
        ),
        (
            "no order",
            profile("plugins: {queueSort: {disabled: [{name: PrioritySort}]}}"),
            "profiles[0].plugins.queueSort: Required value: one queue sort plugin is needed",
        ),
        (
            "args twice",
            profile("pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]"),
            "profiles[0].pluginConfig[1]: Duplicate value: \"NodeAffinity\"",
        ),
        (
            "args of nobody",
            profile("pluginConfig: [{name: Foo}]"),
            "profiles[0].pluginConfig[0].name: Invalid value: \"Foo\": there is no plugin of that name that takes arguments",
        ),
        (
            "kind of args",
            profile("pluginConfig: [{name: NodeAffinity, args: {kind: NodeResourcesFitArgs}}]"),
            "profiles[0].pluginConfig[0].args: Invalid value: \"NodeResourcesFitArgs\": args for plugin NodeAffinity have to be of kind NodeAffinityArgs",
        ),
        (
            "weight of affinity",
            profile("pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]"),
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "unknown strategy",
            profile("pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]"),
            "profiles[0].pluginConfig[0].args: unknown variant `Best`, expected one of `LeastAllocated`, `MostAllocated`, `RequestedToCapacityRatio`",
        ),
        (
            "default constraints",
            profile(
                "pluginConfig: [{name: PodTopologySpread, args: {defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}}]",
            ),
            "profiles[0].pluginConfig[0].args.defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
        ),
        (
            "field of an API type",
            profile("pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {required: {}, oops: 1}}}]"),
            "profiles[0].pluginConfig[0].args.addedAffinity.oops: Forbidden: unknown field",
        ),
        (
            "devices that have no time",
            profile("pluginConfig: [{name: DynamicResources, args: {bindingTimeout: 500ms}}]"),
            "profiles[0].pluginConfig[0].args.bindingTimeout: Invalid value: \"500ms\": must be at least 1 second",
        ),
        (
            "two at once",
            faults("parallelism: -1\npercentageOfNodesToScore: -1"),
            "[parallelism: Invalid value: -1: should be an integer value greater than zero, percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]]",
        ),
        (
            "weight of an extender",
            faults("extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]"),
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            "two binders",
            faults("extenders: [{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}]"),
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ),
    ] {
        assert_eq!(said, want, "{name}");
    }
}

#[test]
fn every_part_of_upstreams_plugins_can_be_named() {
    // Written by hand, point by point, as before there was multiPoint.
    for (point, names) in [
        ("preEnqueue", "SchedulingGates DynamicResources DefaultPreemption GangScheduling"),
        ("postFilter", "DynamicResources DefaultPreemption"),
        ("score", "NodeResourcesFit VolumeBinding DynamicResources ImageLocality"),
        ("reserve", "VolumeBinding DynamicResources GangScheduling"),
        ("permit", "GangScheduling"),
        ("preBind", "VolumeBinding DynamicResources"),
        ("filter", "NodeName NodeDeclaredFeatures NodeVolumeLimits DynamicResources"),
    ] {
        let named: Vec<String> = names.split(' ').map(|name| format!("{{name: {name}}}")).collect();
        let set = format!("disabled: [{{name: '*'}}], enabled: [{}]", named.join(", "));
        let text = format!("{HEAD}profiles: [{{plugins: {{{point}: {{{set}}}}}}}]");
        let config = file(&text).unwrap().config("me");
        assert!(config.is_ok(), "{point}: {config:?}");
    }
}

#[test]
fn an_unknown_field_or_another_kind_is_refused() {
    let unknown = syntax(&format!("{HEAD}profiles:\n- schedulerName: a\n  plugin: {{}}\n"));
    assert!(
        unknown.contains("profiles[0]: unknown field `plugin`") && unknown.contains("line 5"),
        "{unknown}"
    );
    let wrong = syntax(&format!(
        "{HEAD}profiles: [{{plugins: {{score: {{enabled: [{{name: a, weight: heavy}}]}}}}}}]"
    ));
    assert!(
        wrong.contains("weight") && wrong.contains("invalid type: string \"heavy\", expected i32"),
        "{wrong}"
    );
    let time = syntax(&format!("{HEAD}leaderElection: {{leaseDuration: 15}}"));
    assert!(time.contains("leaderElection: invalid duration \"15\": write it as 15s"), "{time}");
    for old in ["kubescheduler.config.k8s.io/v1beta3", "v1"] {
        let said = syntax(&format!("apiVersion: {old}\nkind: KubeSchedulerConfiguration\n"));
        let want = format!(
            " has kind \"KubeSchedulerConfiguration\" and apiVersion {old:?}: it has to be a \
             KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"
        );
        assert_eq!(said, want);
    }
    let missing = File::read(std::path::Path::new("/nonexistent/c")).unwrap_err();
    assert_eq!(missing.to_string(), "cannot read configuration /nonexistent/c");
}

#[test]
fn what_is_written_reads_the_same() {
    let custom = file(&format!(
        "{HEAD}clientConnection: {{qps: 20, burst: 30}}\nprofiles: [{{schedulerName: mine, plugins: {{score: {{disabled: \
         [{{name: ImageLocality}}]}}}}, pluginConfig: [{{name: InterPodAffinity, args: {{hardPodAffinityWeight: 5}}}}]}}]"
    ))
    .unwrap();
    let out = tempfile::NamedTempFile::new().unwrap();
    custom.clone().spelt_out().write(out.path()).unwrap();
    let again = File::read(out.path()).unwrap();
    assert_eq!(again, custom.clone().spelt_out());
    let text = std::fs::read_to_string(out.path()).unwrap();
    for part in [
        "leaseDuration: 15s",
        "name: TaintToleration\n        weight: 3",
        "hardPodAffinityWeight: 5",
        "qps: 20.0",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let (first, second) = (custom.config("me").unwrap(), again.config("me").unwrap());
    assert_eq!(first.profiles[0].plugins, second.profiles[0].plugins);
    assert_eq!(first.profiles[0].args, second.profiles[0].args);
    assert_eq!(json!(first.profiles[0].args.inter_pod_affinity.hard_pod_affinity_weight), json!(5));
}

#[test]
fn arguments_reach_the_plugins() {
    let custom = only_profile(
        "profiles: [{pluginConfig: [{name: VolumeBinding, args: {bindTimeoutSeconds: 7}}, {name: DynamicResources, \
         args: {filterTimeout: 1ms, bindingTimeout: 3m}}, {name: DefaultPreemption, args: \
         {minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 1}}]}]",
    );
    let default = only_profile("");
    let limits = |profile: &Profile| -> Vec<(&'static str, i64)> {
        profile.pre_binds().map(|plugin| (plugin.name(), plugin.time_limit().as_secs())).collect()
    };
    assert_eq!(limits(&custom), [("VolumeBinding", 7), ("DynamicResources", 180)]);
    assert_eq!(limits(&default), [("VolumeBinding", 600), ("DynamicResources", 600)]);

    // Twenty devices of another driver: more steps than a millisecond has, fewer than ten seconds have.
    let devices: Vec<_> = (0..20).map(|at| json!({"name": format!("d{at}")})).collect();
    let objects = [
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu"},
            "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}}),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"}, "spec": {
            "driver": "nic.example.com", "nodeName": "n", "devices": devices,
            "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1}}}),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": "c", "namespace": "default", "uid": "c"},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}}),
    ];
    let cluster = fixtures::cluster_of([fixtures::node("n", json!({}))], &objects);
    let claiming = fixtures::pod("p", json!({"resourceClaims": [{"name": "c", "resourceClaimName": "c"}]}));
    let said = |profile: &Profile| {
        let filter = profile.filters().find(|filter| filter.name() == "DynamicResources").unwrap();
        fixtures::ask_in(filter, &claiming, &cluster.nodes()[0], &cluster).reasons().join(", ")
    };
    assert_eq!(said(&custom), "timed out trying to allocate devices");
    assert_eq!(said(&default), "cannot allocate all claims");

    // The cheapest of four nodes; with one candidate the first of any.
    let cpu = |priority: i32| json!({"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
    let full = |at: i32| {
        let room = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}});
        fixtures::node_with(&format!("n{at}"), room, [fixtures::pod(&format!("old{at}"), cpu(at))])
    };
    let cluster = fixtures::cluster([full(0), full(1), full(2), full(3)]);
    let chosen = |profile: &Profile| -> std::collections::BTreeSet<String> {
        let chosen = (0..30).filter_map(|at| {
            let pod = fixtures::pod(&format!("p{at}"), cpu(10));
            let failure = crate::cycle::place(&pod, profile, &cluster, &Random::from_seed(1)).unwrap_err();
            let (cluster, failure, now) = (&cluster, &failure, jiff::Timestamp::UNIX_EPOCH);
            let attempt = Attempt { pod: &pod, profile, cluster, failure, budgets: &[], now };
            let room = profile.preempts().next().unwrap().make_room(&attempt, &Afresh);
            room.made().map(|(node, _)| node.to_string())
        });
        chosen.collect()
    };
    assert_eq!(chosen(&default), ["n0".to_owned()].into());
    assert_eq!(chosen(&custom).len(), 4, "each node is the first for some pod");
}

#[test]
fn how_many_candidates_are_found() {
    let args = |text: &str| {
        let text = format!("profiles: [{{pluginConfig: [{{name: DefaultPreemption, args: {{{text}}}}}]}}]");
        let args = config(&text).profiles[0].args.default_preemption.clone();
        (args.min_candidate_nodes_percentage, args.min_candidate_nodes_absolute)
    };
    assert_eq!(args(""), (None, None), "all there are");
    assert_eq!(args("minCandidateNodesPercentage: 30"), (Some(30), Some(100)));
    assert_eq!(args("minCandidateNodesAbsolute: 7"), (Some(10), Some(7)));
    assert_eq!(args("minCandidateNodesAbsolute: 0"), (Some(10), Some(0)));
    let none = "profiles: [{pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}}]}]";
    assert!(faults(none).contains("cannot be zero at the same time"), "{}", faults(none));
}
