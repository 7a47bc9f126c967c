//! Policies programmed as differences end in the kernel's state that one fresh sync makes; what others or the kernel do
//! wrong is noticed and repaired; and what a sync costs with thousands of policies and pods.

use std::collections::BTreeMap;

use component::informers::Key;
use component::random::Random;
use harness::bench::say;
use node_agent::netlink::SyncError;
use node_agent::policy::model::{Changes, PodFacts, Policy, World};
use node_agent::policy::{Enforcer, Report};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::diffs::normal;
use crate::faults::give_up_capabilities;
use crate::namespace::{in_new_namespace, nft, ruleset};
use crate::policies::{policy, world};

const SEQUENCES: u64 = 15;
const STEPS: usize = 25;

#[test]
fn differences_of_policies_end_where_a_fresh_sync_ends() {
    for seed in 0..SEQUENCES {
        let (world, by_differences) = in_new_namespace(|| {
            let mut enforcer = Enforcer::open().unwrap();
            let world = walk(&Random::from_seed(seed), &mut enforcer);
            // Nothing is left to do for one who compares everything, be it the same process or its successor.
            for enforcer in [&mut enforcer, &mut Enforcer::open().unwrap()] {
                let report = enforcer.sync(&world.plane, &Changes::everything()).unwrap();
                assert_eq!(report, Report::default(), "seed {seed}");
            }
            (world, ruleset())
        });
        let fresh = in_new_namespace(|| {
            Enforcer::open().unwrap().sync(&world.plane, &Changes::everything()).unwrap();
            ruleset()
        });
        assert_eq!(normal(&by_differences), normal(&fresh), "seed {seed}");
    }
}

/// Random changes, each synced.
fn walk(random: &Random, enforcer: &mut Enforcer) -> World {
    let mut world = World::default();
    for _ in 0..STEPS {
        let mut changes = Changes::default();
        for _ in 0..=random.below(3) {
            let namespace = pick(random, &["a", "b", "c"]);
            let gone = random.below(4) == 0;
            match random.below(5) {
                0 => {
                    let labels =
                        BTreeMap::from([("team".to_owned(), pick(random, &["red", "blue"]).to_owned())]);
                    world.set_namespace(namespace, Some(labels), &mut changes);
                }
                1 | 2 => {
                    let key = Key::new(namespace, format!("p{}", random.below(8)));
                    let facts = (!gone).then(|| random_pod(random, &key));
                    world.set_pod(&key, facts, &mut changes);
                }
                _ => {
                    let key = Key::new(namespace, format!("p{}", random.below(4)));
                    let policy = (!gone).then(|| random_policy(random, &key));
                    world.set_policy(&key, policy);
                }
            }
        }
        world.settle(&mut changes);
        enforcer.sync(&world.plane, &changes).unwrap();
    }
    world
}

fn random_pod(random: &Random, key: &Key) -> PodFacts {
    // Few addresses for many pods: some have the same.
    let last = 1 + random.below(12);
    let mut ips = vec![json!({"ip": format!("10.244.0.{last}")})];
    if random.below(2) == 0 {
        ips.push(json!({"ip": format!("fd00:244::{last:x}")}));
    }
    let ports = json!([{"name": pick(random, &["web", "dns"]), "containerPort": 8000 + random.below(3), "protocol": pick(random, &["TCP", "UDP", "SCTP"])}]);
    let pod = json!({"metadata": {"name": key.name, "namespace": key.namespace, "labels": {"role": pick(random, &["web", "client"])}},
        "spec": {"nodeName": pick(random, &["node", "other"]), "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": ips}});
    PodFacts::of(&serde_json::from_value(pod).unwrap(), "node", &[]).unwrap()
}

fn random_policy(random: &Random, key: &Key) -> Policy {
    let role = || {
        if random.below(3) == 0 {
            json!({})
        } else {
            json!({"matchLabels": {"role": pick(random, &["web", "client"])}})
        }
    };
    let team = || json!({"matchLabels": {"team": pick(random, &["red", "blue"])}});
    let peer = |_| match random.below(5) {
        0 => json!({"podSelector": role()}),
        1 => json!({"namespaceSelector": team(), "podSelector": role()}),
        2 => json!({"namespaceSelector": {}}),
        3 => {
            json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": [pick(random, &["10.244.0.0/24", "10.1.0.0/16", "10.244.0.3/32"])]}})
        }
        _ => {
            json!({"ipBlock": {"cidr": pick(random, &["fd00::/16", "2001:db8::/32", "0.0.0.0/0", "192.168.0.1/32"])}})
        }
    };
    let port = |_| match random.below(4) {
        0 => {
            json!({"port": pick(random, &["web", "dns", "none"]), "protocol": pick(random, &["TCP", "UDP"])})
        }
        1 => {
            json!({"port": 8000 + random.below(5), "endPort": 8005 + random.below(5), "protocol": pick(random, &["TCP", "UDP"])})
        }
        2 => json!({"protocol": pick(random, &["TCP", "SCTP"])}),
        _ => json!({"port": 80 + random.below(4)}),
    };
    let rules = |peers: &str| -> Vec<Value> {
        let rule = |_| json!({peers: (0..random.below(3)).map(peer).collect::<Vec<_>>(), "ports": (0..random.below(3)).map(port).collect::<Vec<_>>()});
        (0..random.below(3)).map(rule).collect()
    };
    let types = [json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]
        [random.below(3) as usize]
        .clone();
    let spec =
        json!({"podSelector": role(), "policyTypes": types, "ingress": rules("from"), "egress": rules("to")});
    let object = json!({"metadata": {"name": key.name, "namespace": key.namespace}, "spec": spec});
    Policy::of(&serde_json::from_value(object).unwrap()).unwrap()
}

fn pick<'a>(random: &Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

/// A world in which pod1 takes connections from clients only, in force.
fn started() -> (Enforcer, World) {
    let (mut enforcer, mut world) = (Enforcer::open().unwrap(), world());
    let spec = json!({"podSelector": {"matchLabels": {"role": "web"}}, "ingress": [{"from": [{"podSelector": {}}],
        "ports": [{"port": 8080}, {"port": 9000, "endPort": 9100}]}]});
    let (key, policy) = policy("web", &spec);
    world.set_policy(&key, Some(policy));
    world.settle(&mut Changes::default());
    enforcer.sync(&world.plane, &Changes::everything()).unwrap();
    (enforcer, world)
}

/// Isolates all pods of the namespace.
fn deny(world: &mut World) -> Changes {
    let (key, policy) = policy("deny", &json!({"podSelector": {}}));
    let mut changes = Changes::default();
    world.set_policy(&key, Some(policy));
    world.settle(&mut changes);
    changes
}

#[test]
fn what_others_do_to_the_policies_is_noticed_and_put_back() {
    in_new_namespace(|| {
        let (mut enforcer, world) = started();
        let right = normal(&ruleset());
        for disturbance in [
            "flush ruleset",
            "flush chain ip steersman-policy judge",
            "insert rule ip6 steersman-policy forward accept",
            "flush set ip steersman-policy members",
            "delete table ip6 steersman-policy",
            "add element ip steersman-policy ports { 1 . 2 . tcp . 80 }",
            "add chain ip steersman-policy strange",
        ] {
            nft(disturbance);
            assert!(enforcer.is_disturbed().unwrap(), "{disturbance}");
            enforcer.sync(&world.plane, &Changes::everything()).unwrap();
            assert_eq!(normal(&ruleset()), right, "{disturbance}");
            assert!(!enforcer.is_disturbed().unwrap(), "{disturbance}");
        }
    });
}

#[test]
fn a_change_that_the_kernel_refuses_leaves_the_policies_in_force() {
    in_new_namespace(|| {
        let (mut enforcer, mut world) = started();
        // Somebody takes the element away that the next change replaces: all of that batch is refused.
        nft("delete element ip steersman-policy isolated-ingress { 10.244.0.11 }");
        let before = ruleset();
        let (key, policy) = policy("web", &json!({"podSelector": {}}));
        let mut changes = Changes::default();
        world.set_policy(&key, Some(policy));
        world.settle(&mut changes);
        let error = enforcer.sync(&world.plane, &changes).unwrap_err();
        assert_eq!(error.to_string(), "the kernel refuses to delete elements of isolated-ingress");
        assert_eq!(ruleset(), before);
        // The next sync compares everything, whatever it is told.
        enforcer.sync(&world.plane, &Changes::default()).unwrap();
        let repaired = normal(&ruleset());
        let fresh = in_new_namespace(|| {
            Enforcer::open().unwrap().sync(&world.plane, &Changes::everything()).unwrap();
            normal(&ruleset())
        });
        assert_eq!(repaired, fresh);
    });
}

#[test]
fn without_permission_policies_stay_and_it_is_said_why() {
    in_new_namespace(|| {
        let (mut enforcer, mut world) = started();
        let right = ruleset();
        std::thread::scope(|scope| {
            let (enforcer, world) = (&mut enforcer, &mut world);
            let powerless = move || {
                give_up_capabilities();
                assert!(matches!(Enforcer::open(), Err(SyncError::Permission)));
                let changes = deny(world);
                assert!(matches!(enforcer.sync(&world.plane, &changes), Err(SyncError::Permission)));
            };
            scope.spawn(powerless).join().unwrap();
        });
        assert_eq!(ruleset(), right);
    });
}

/// Pods of this node, pods of the cluster, namespaces with a policy or two each.
const LOCAL_PODS: usize = 110;
const PODS: usize = 10_000;
const NAMESPACES: usize = 1_000;

#[test]
fn a_change_among_thousands_costs_what_it_touches() {
    in_new_namespace(|| {
        let (mut world, mut changes) = (World::default(), Changes::everything());
        let started = Instant::now();
        for number in 0..PODS {
            let (key, facts) = numbered_pod(number);
            world.set_pod(&key, Some(facts), &mut changes);
        }
        for number in 0..NAMESPACES {
            let namespace = format!("ns{number}");
            world.set_namespace(
                &namespace,
                Some([("team".to_owned(), format!("t{}", number % 10))].into()),
                &mut changes,
            );
            let from = json!([{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"team": format!("t{}", number % 10)}}}]);
            for (name, spec) in [
                ("deny", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}]})),
                (
                    "allow",
                    json!({"podSelector": {"matchLabels": {"role": "web"}}, "ingress": [{"from": from, "ports": [{"port": 80}]}]}),
                ),
            ] {
                let key = Key::new(namespace.clone(), name);
                let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
                world.set_policy(&key, Some(Policy::of(&serde_json::from_value(object).unwrap()).unwrap()));
            }
        }
        world.settle(&mut changes);
        let planned = started.elapsed();
        let mut enforcer = Enforcer::open().unwrap();
        let started = Instant::now();
        let full = enforcer.sync(&world.plane, &changes).unwrap();
        let synced = started.elapsed();

        let started = Instant::now();
        let (key, facts) = numbered_pod(PODS);
        let mut changes = Changes::default();
        world.set_pod(&key, Some(facts), &mut changes);
        world.settle(&mut changes);
        let one = enforcer.sync(&world.plane, &changes).unwrap();
        say(&format!(
            "policies: {} over {PODS} pods ({LOCAL_PODS} here): planned in {planned:?}, {} additions synced in {synced:?}; one pod more: {} in {:?}",
            2 * NAMESPACES,
            full.added,
            one.added,
            started.elapsed()
        ));
        // One address in each family's group, nothing else.
        assert!(one.added <= 4 && one.removed == 0, "{one:?}");
        assert!(full.added > PODS, "{full:?}");
    });
}

fn numbered_pod(number: usize) -> (Key, PodFacts) {
    let key = Key::new(format!("ns{}", number % NAMESPACES), format!("p{number}"));
    let pod = json!({"metadata": {"name": key.name, "namespace": key.namespace, "labels": {"role": "web"}},
        "spec": {"nodeName": if number < LOCAL_PODS { "node" } else { "other" }, "containers": []},
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255)}]}});
    (key, PodFacts::of(&serde_json::from_value(pod).unwrap(), "node", &[]).unwrap())
}
