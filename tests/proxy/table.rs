//! Runs the table against a back end.
//!
//! The cases follow each other on one data plane, so that each but the first is programmed as a difference.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::informers::Key;
use harness::vm;
use node_agent::proxy::ipvs::{Ipvs, Options};
use node_agent::proxy::model::{
    Changes, DataPlane, EndpointSlice, NodeFacts, Service, ServicePlan, Settings, plan_service,
};
use node_agent::proxy::{Backend, Nftables};
use serde_json::{Value, json};

use crate::ask::{Answer, BRIEFLY, LONG, here};
use crate::cases::{Case, Expect, Question, cases, settings};
use crate::network::{Network, PORTS};
use crate::sctp;

/// Questions until everybody who should answer has; that two of three never do is one in a million then.
const MOST_TRIES: usize = 60;
/// Questions in which nobody else may answer.
const LEAST_TRIES: usize = 6;

/// The whole table once more where the kernel has SCTP too, on both back ends; IPVS with its sets in nf_tables.
#[test]
fn both_answer_as_the_table_says_on_one_kernel_with_sctp() {
    vm::in_guest("table::both_answer_as_the_table_says_on_one_kernel_with_sctp", || {
        assert!(sctp::is_here(), "the guest's kernel has SCTP");
        let network = Network::start();
        let mut nftables = network.within("node", || Nftables::open().unwrap());
        let mut wrong = run(&network, &mut nftables);
        wrong.iter_mut().for_each(|text| text.insert_str(0, "nftables: "));
        nftables.cleanup().unwrap();
        let options = Options { grace: Duration::ZERO, ..Options::default() };
        let mut ipvs = network.within("node", || Ipvs::new(options, Clock::start()).unwrap());
        wrong.extend(network.within("node", || run(&network, &mut ipvs)));
        assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
        let sets = listed(&network);
        assert!(sets.contains("steersman-ipvs"), "IPVS has its sets in nf_tables: {sets}");
        network.within("node", || ipvs.cleanup()).unwrap();
        let sets = listed(&network);
        assert!(!sets.contains("steersman"), "cleanup leaves nothing: {sets}");
    });
}

#[test]
fn nftables_answers_as_the_table_says() {
    let network = Network::start();
    let mut backend = network.within("node", || Nftables::open().unwrap());
    let wrong = run(&network, &mut backend);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Operators look at it with nft.
    let shown = listed(&network);
    assert!(shown.contains("table ip6 steersman-proxy {"), "{shown}");
    backend.cleanup().unwrap();
    assert_eq!(listed(&network), "", "cleanup leaves nothing");
}

/// Runs all cases; answers what was wrong.
pub(crate) fn run(network: &Network, backend: &mut dyn Backend) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut plane = DataPlane::new(settings());
    for case in cases() {
        let mut changes = Changes::default();
        plane.settings = case.settings.clone().unwrap_or_else(settings);
        plane.set(&Key::new("default", "s"), plan(&case, &plane.settings), &mut changes);
        if let Err(error) = backend.sync(&plane, &changes) {
            wrong.push(format!("{}: {error}: {:?}", case.name, std::error::Error::source(&error)));
            continue;
        }
        for question in &case.questions {
            wrong.extend(check(network, question).map(|text| format!("{}: {question:?}: {text}", case.name)));
        }
    }
    wrong
}

fn plan(case: &Case, settings: &Settings) -> ServicePlan {
    let mut whole = json!({"metadata": {"name": "s", "namespace": "default"}});
    for (key, value) in case.service.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    let service: Service = serde_json::from_value(whole).unwrap();
    let slices: Vec<Arc<EndpointSlice>> = ["IPv4", "IPv6"].map(|family| Arc::new(slice(case, family))).into();
    plan_service(&service, &slices, &node(), settings)
}

/// The node of the network.
pub(crate) fn node() -> NodeFacts {
    NodeFacts {
        name: "node".to_owned(),
        zone: "z1".to_owned(),
        addresses: vec!["192.168.50.1".parse().unwrap(), "fd00:50::1".parse().unwrap()],
        ..NodeFacts::default()
    }
}

fn slice(case: &Case, family: &str) -> EndpointSlice {
    let endpoint = |text: &&str| {
        let words: Vec<&str> = text.split(' ').collect();
        let has = |word: &str| words.contains(&word);
        let zones: Vec<Value> = words
            .iter()
            .filter_map(|word| word.strip_prefix("zone="))
            .map(|name| json!({"name": name}))
            .collect();
        let node = if words[0] == "far" { "other" } else { "node" };
        json!({"addresses": [address(words[0], family)], "nodeName": node, "hints": {"forZones": zones},
            "conditions": {"ready": !has("not-ready") && !has("terminating"), "serving": !has("not-ready"),
                "terminating": has("terminating")}})
    };
    let endpoints: Vec<Value> = case.endpoints.iter().map(endpoint).collect();
    let metadata =
        json!({"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}});
    let ports = json!([{"name": "", "port": PORTS[0], "protocol": "TCP"},
        {"name": "other", "port": PORTS[1], "protocol": "TCP"},
        {"name": "udp", "port": PORTS[0], "protocol": "UDP"},
        {"name": "sctp", "port": PORTS[0], "protocol": "SCTP"}]);
    serde_json::from_value(
        json!({"metadata": metadata, "addressType": family, "endpoints": endpoints, "ports": ports}),
    )
    .unwrap()
}

pub(crate) fn address(pod: &str, family: &str) -> String {
    match (pod, family) {
        ("far", "IPv4") => "10.244.1.11".to_owned(),
        ("far", _) => "fd00:245::11".to_owned(),
        (pod, "IPv4") => format!("10.244.0.1{}", &pod[3..]),
        (pod, _) => format!("fd00:244::1{}", &pod[3..]),
    }
}

/// Asks until everybody has answered who should; answers what is wrong.
fn check(network: &Network, question: &Question) -> Option<String> {
    let source = question.source.map(|source| source.parse().unwrap());
    let to = question.to.parse().unwrap();
    let patience = if matches!(question.expect, Expect::Silence) { BRIEFLY } else { LONG };
    let once = || network.within(question.from, || here(question.way, source, to, patience));
    let mut seen: BTreeSet<Answer> = BTreeSet::new();
    match &question.expect {
        Expect::Refused | Expect::Silence => {
            let wanted =
                if matches!(question.expect, Expect::Refused) { Answer::Refused } else { Answer::Silence };
            let answer = once();
            (answer != wanted).then(|| format!("{answer:?}"))
        }
        Expect::Answers(pods, source) => {
            let source = source.parse().unwrap();
            let wanted: BTreeSet<Answer> =
                pods.iter().map(|pod| Answer::From((*pod).to_owned(), source)).collect();
            for tries in 1..=MOST_TRIES {
                seen.insert(once());
                if !seen.is_subset(&wanted) || (tries >= LEAST_TRIES && seen == wanted) {
                    break;
                }
            }
            (seen != wanted).then(|| format!("{seen:?}"))
        }
        Expect::Sticks(pods) => {
            seen.extend((0..LEAST_TRIES * 2).map(|_| once()));
            let of_pods =
                |answer: &Answer| matches!(answer, Answer::From(pod, _) if pods.contains(&pod.as_str()));
            (seen.len() != 1 || !seen.iter().all(of_pods)).then(|| format!("{seen:?}"))
        }
    }
}

/// What nft shows of the node's rules.
pub(crate) fn listed(network: &Network) -> String {
    let node = network.namespace("node");
    let output = std::process::Command::new("ip")
        .args(["netns", "exec", &node, "nft", "list", "ruleset"])
        .output()
        .expect("nft is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
