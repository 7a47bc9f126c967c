//! Network policies against real packets: who reaches whom on which port, in both families.
//!
//! The cases follow each other on one world, so that each but the first is programmed as a difference. What this kernel
//! may lack, IPVS and SCTP, is asked in a virtual machine.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use component::clock::Clock;
use component::informers::Key;
use harness::vm;
use node_agent::policy::Enforcer;
use node_agent::policy::model::{Changes, PodFacts, Policy, World};
use node_agent::proxy::ipvs::{Ipvs, Options};
use node_agent::proxy::model::{
    Changes as ProxyChanges, DataPlane, EndpointSlice, Family, Service, plan_service,
};
use node_agent::proxy::{Backend, Nftables};
use serde_json::{Value, json};

use crate::ask::{Answer, BRIEFLY, Way, here};
use crate::cases;
use crate::namespace::{nft, ruleset};
use crate::network::Network;
use crate::table::{address, node};

/// Questions until one is answered that has to be.
const TRIES: usize = 6;

/// A state of the cluster's policies, and connections that are allowed and denied. A connection is
/// `FROM > TO PORT[/udp|/sctp]`; FROM may name its source address: `outside@192.168.50.3`.
struct Case {
    name: &'static str,
    policies: Vec<Value>,
    allowed: &'static [&'static str],
    denied: &'static [&'static str],
}

/// Pods: `pod1` is default/pod1 with role web, `pod2` default/pod2 with role client, `pod3` other/pod3 with role
/// client; `far` is other/far on another node. All call 8080 `web` and 9090 `metrics`.
pub(crate) fn facts(name: &str) -> (Key, PodFacts) {
    let namespace = if matches!(name, "pod1" | "pod2") { "default" } else { "other" };
    let role = if name == "pod1" { "web" } else { "client" };
    let ports = json!([{"name": "web", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]);
    let pod = json!({"metadata": {"name": name, "namespace": namespace, "labels": {"role": role}},
        "spec": {"nodeName": if name == "far" { "other-node" } else { "node" }, "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address(name, "IPv4")}, {"ip": address(name, "IPv6")}]}});
    let facts = PodFacts::of(&serde_json::from_value(pod).unwrap(), "node", &[]).unwrap();
    (Key::new(namespace, name), facts)
}

/// A policy of namespace `default`.
pub(crate) fn policy(name: &str, spec: &Value) -> (Key, Policy) {
    let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    (Key::new("default", name), Policy::of(&serde_json::from_value(object).unwrap()).unwrap())
}

/// The pods of the network and their namespaces.
pub(crate) fn world() -> World {
    let (mut world, mut changes) = (World::default(), Changes::default());
    for (name, team) in [("default", "blue"), ("other", "red")] {
        world.set_namespace(name, Some([("team".to_owned(), team.to_owned())].into()), &mut changes);
    }
    for name in crate::network::PODS {
        let (key, facts) = facts(name);
        world.set_pod(&key, Some(facts), &mut changes);
    }
    world
}

fn cases() -> Vec<Case> {
    let case = |name, policies: &[Value], allowed, denied| Case {
        name,
        policies: policies.to_vec(),
        allowed,
        denied,
    };
    let web = json!({"matchLabels": {"role": "web"}});
    let clients = json!({"podSelector": {"matchLabels": {"role": "client"}}});
    let ingress = |rules: Value| json!({"podSelector": web, "policyTypes": ["Ingress"], "ingress": rules});
    let egress = |rules: Value| json!({"podSelector": {"matchLabels": {"role": "client"}}, "policyTypes": ["Egress"], "egress": rules});
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let block = |cidr: &str, except: Value| json!({"ipBlock": {"cidr": cidr, "except": except}});
    vec![
        case(
            "no policy",
            &[],
            &["pod2 > pod1 8080", "far > pod1 8080", "outside > pod1 8080", "pod1 > far 8080/udp"],
            &[],
        ),
        case(
            "deny all, in and out",
            std::slice::from_ref(&deny),
            // The node reaches its pods, they reach it, and other pods are not concerned.
            &[
                "node > pod1 8080",
                "node > pod1 8080/udp",
                "pod1 > node 8080",
                "pod3 > far 8080",
                "far > pod3 9090",
            ],
            &[
                "pod2 > pod1 8080",
                "pod1 > pod2 8080/udp",
                "pod3 > pod1 8080",
                "far > pod1 8080",
                "outside > pod1 8080",
                "pod1 > far 8080",
                "pod1 > outside 8080/udp",
            ],
        ),
        case(
            "from pods of the namespace",
            &[ingress(json!([{"from": [clients]}]))],
            &["pod2 > pod1 8080", "pod2 > pod1 9090/udp", "pod1 > pod2 8080", "far > pod2 8080"],
            &["pod3 > pod1 8080", "far > pod1 8080", "outside > pod1 8080/udp"],
        ),
        case(
            "policies add up",
            &[
                deny.clone(),
                ingress(json!([{"from": [clients], "ports": [{"port": 8080}]}])),
                egress(json!([{"to": [{"podSelector": {}}]}])),
            ],
            &["pod2 > pod1 8080"],
            &[
                "pod2 > pod1 9090",
                "pod2 > pod1 8080/udp",
                "pod2 > far 8080",
                "pod1 > pod2 8080",
                "pod3 > pod1 8080",
            ],
        ),
        case(
            "from namespaces, and from pods in namespaces",
            &[ingress(
                json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}], "ports": [{"port": 8080}]},
                {"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}, "podSelector": {"matchLabels": {"role": "web"}}}]}]),
            )],
            &["pod3 > pod1 8080", "far > pod1 8080"],
            &["pod2 > pod1 8080", "pod3 > pod1 9090", "outside > pod1 8080"],
        ),
        case(
            "ports by number, range and name",
            &[ingress(json!([{"from": [clients], "ports": [{"port": "web"}]},
                {"from": [{"namespaceSelector": {}}], "ports": [{"port": 9000, "endPort": 9090}, {"port": 8000, "endPort": 8079, "protocol": "UDP"}]}]))],
            &["pod2 > pod1 8080", "pod2 > pod1 9090", "far > pod1 9090"],
            &["far > pod1 8080", "pod2 > pod1 8080/udp", "pod2 > pod1 9090/udp", "outside > pod1 9090"],
        ),
        case(
            "blocks with exceptions",
            &[ingress(
                json!([{"from": [block("192.168.50.0/24", json!(["192.168.50.3/32"])), block("fd00:50::/64", json!(null))]}]),
            )],
            &["outside > pod1 8080", "outside@192.168.50.2 > pod1 8080/udp"],
            &["outside@192.168.50.3 > pod1 8080", "far > pod1 8080", "pod2 > pod1 8080"],
        ),
        case(
            "egress to ports of pods by name, and to a block",
            &[egress(
                json!([{"to": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}], "ports": [{"port": "metrics"}]},
                {"to": [block("10.244.0.11/32", json!(null)), block("fd00:244::11/128", json!(null))]}]),
            )],
            &[
                "pod2 > far 9090",
                "pod2 > pod3 9090",
                "pod2 > pod1 8080/udp",
                "pod1 > far 8080",
                "pod3 > pod2 8080",
                "pod2 > node 9090",
            ],
            &["pod2 > far 8080", "pod2 > pod3 8080", "pod2 > outside 8080"],
        ),
        case(
            "everybody may come in",
            &[deny, ingress(json!([{}]))],
            &["outside > pod1 8080", "far > pod1 9090/udp"],
            &["outside > pod2 8080"],
        ),
    ]
}

/// For kernels with SCTP.
fn sctp_cases() -> Vec<Case> {
    let clients = json!({"podSelector": {"matchLabels": {"role": "client"}}});
    let ingress = |ports: Value| json!({"podSelector": {"matchLabels": {"role": "web"}}, "ingress": [{"from": [clients], "ports": ports}]});
    let egress = |ports: Value| json!({"podSelector": {"matchLabels": {"role": "client"}}, "policyTypes": ["Egress"], "egress": [{"ports": ports}]});
    vec![
        Case {
            name: "SCTP, no policy",
            policies: Vec::new(),
            allowed: &["pod2 > pod1 8080/sctp", "outside > pod1 9090/sctp", "pod3 > far 8080/sctp"],
            denied: &[],
        },
        Case {
            name: "SCTP by number",
            policies: vec![ingress(json!([{"port": 8080, "protocol": "SCTP"}]))],
            allowed: &["pod2 > pod1 8080/sctp", "pod1 > far 8080/sctp", "far > pod2 9090/sctp"],
            denied: &[
                "pod2 > pod1 9090/sctp",
                "pod2 > pod1 8080",
                "pod3 > pod1 8080/sctp",
                "outside > pod1 8080/sctp",
            ],
        },
        Case {
            name: "SCTP by range, others' ports for TCP and UDP only",
            policies: vec![
                egress(json!([{"port": 8000, "endPort": 8080, "protocol": "SCTP"}, {"port": 9090}])),
                ingress(json!([{"port": 8080}, {"port": 8080, "protocol": "UDP"}])),
            ],
            allowed: &["pod2 > far 8080/sctp", "pod2 > far 9090", "pod1 > far 9090/sctp"],
            denied: &["pod2 > far 9090/sctp", "pod2 > far 8080/udp", "pod2 > pod1 8080/sctp"],
        },
    ]
}

#[test]
fn packets_pass_as_policies_say() {
    let mut network = Network::start();
    network.serve("node");
    network.serve("outside");
    let mut enforcer = network.within("node", || Enforcer::open().unwrap());
    let mut world = world();
    let wrong = run(&network, &mut enforcer, &mut world, &cases());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Operators look at it with nft.
    let shown = network.within("node", ruleset);
    assert!(shown.contains("table ip6 steersman-policy {") && shown.contains("chain ingress-"), "{shown}");
    // Who finds everything in place changes nothing; and what is in force stays so without anybody.
    let mut successor = network.within("node", || Enforcer::open().unwrap());
    assert_eq!(successor.sync(&world.plane, &Changes::everything()).unwrap(), Default::default());
    drop((enforcer, successor));
    let last = cases().pop().unwrap();
    assert_eq!(ask_all(&network, &last), Vec::<String>::new());
    let mut enforcer = network.within("node", || Enforcer::open().unwrap());
    enforcer.cleanup().unwrap();
    assert_eq!(network.within("node", ruleset), "", "cleanup leaves nothing");
    assert_eq!(
        ask(&network, "outside", "pod2 8080", Family::V4),
        Answer::From("pod2".to_owned(), "192.168.50.2".parse().unwrap())
    );
}

/// Runs cases one after the other; answers what was wrong.
fn run(network: &Network, enforcer: &mut Enforcer, world: &mut World, cases: &[Case]) -> Vec<String> {
    let (mut wrong, mut there) = (Vec::new(), 0);
    for case in cases {
        let mut changes = Changes::default();
        for index in 0..there.max(case.policies.len()) {
            let name = format!("p{index}");
            let new = case.policies.get(index).map(|spec| policy(&name, spec).1);
            world.set_policy(&Key::new("default", name), new);
        }
        there = case.policies.len();
        world.settle(&mut changes);
        enforcer.sync(&world.plane, &changes).unwrap();
        wrong.extend(ask_all(network, case));
    }
    wrong
}

/// Asks everything at the same time; answers what was wrong.
fn ask_all(network: &Network, case: &Case) -> Vec<String> {
    let asked = [(case.allowed, true), (case.denied, false)];
    let all = asked.iter().flat_map(|(all, expected)| all.iter().map(move |text| (*text, *expected)));
    std::thread::scope(|scope| {
        let asking: Vec<_> = all
            .flat_map(|(text, expected)| Family::BOTH.map(|family| (text, expected, family)))
            .map(|(text, expected, family)| {
                scope.spawn(move || {
                    let (from, to) = text.split_once(" > ").unwrap();
                    if from.contains('@') && family == Family::V6 {
                        return None;
                    }
                    let mut answer = ask(network, from, to, family);
                    // Neighbours that are not known yet are looked for first.
                    for _ in 0..TRIES {
                        if !expected || matches!(answer, Answer::From(..)) {
                            break;
                        }
                        answer = ask(network, from, to, family);
                    }
                    let passed = matches!(answer, Answer::From(..));
                    // What is denied is dropped without a word.
                    let right = if expected { passed } else { answer == Answer::Silence };
                    (!right).then(|| format!("{}: {text} {family:?}: {answer:?}", case.name))
                })
            })
            .collect();
        asking.into_iter().filter_map(|one| one.join().unwrap()).collect()
    })
}

fn ask(network: &Network, from: &str, to: &str, family: Family) -> Answer {
    let (from, source) =
        from.split_once('@').map_or((from, None), |(from, source)| (from, source.parse().ok()));
    let (to, port) = to.split_once(' ').unwrap();
    let (port, way) = match port.split_once('/') {
        None => (port, Way::Tcp),
        Some((port, "udp")) => (port, Way::Udp),
        Some((port, _)) => (port, Way::Sctp),
    };
    let at = SocketAddr::new(address_of(to, family), port.parse().unwrap());
    network.within(from, || here(way, source, at, BRIEFLY))
}

fn address_of(place: &str, family: Family) -> IpAddr {
    let text = match (place, family) {
        ("node", Family::V4) => "10.244.0.1".to_owned(),
        ("node", Family::V6) => "fd00:244::1".to_owned(),
        ("outside", Family::V4) => "192.168.50.2".to_owned(),
        ("outside", Family::V6) => "fd00:50::2".to_owned(),
        (pod, Family::V4) => address(pod, "IPv4"),
        (pod, Family::V6) => address(pod, "IPv6"),
    };
    text.parse().unwrap()
}

#[test]
fn services_are_judged_by_who_really_talks() {
    let network = Network::start();
    let mut proxy = network.within("node", || Nftables::open().unwrap());
    judge(&network, &mut proxy, &[Way::Tcp]);
}

/// IPVS sends packets on where the node's own come from, and has them pass policies all the same.
#[test]
fn policies_hold_with_ipvs_and_for_sctp() {
    vm::in_guest("policies::policies_hold_with_ipvs_and_for_sctp", || {
        let network = Network::start();
        for mode in ["nftables", "ipvs"] {
            let mut proxy: Box<dyn Backend> = network.within("node", || match mode {
                "ipvs" => {
                    Box::new(Ipvs::new(Options::default(), Clock::start()).unwrap()) as Box<dyn Backend>
                }
                _ => Box::new(Nftables::open().unwrap()),
            });
            judge(&network, proxy.as_mut(), &[Way::Tcp, Way::Udp, Way::Sctp]);
            network.within("node", || proxy.cleanup()).unwrap();
        }
        let mut enforcer = network.within("node", || Enforcer::open().unwrap());
        let wrong = run(&network, &mut enforcer, &mut world(), &sctp_cases());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Asks a Service of one pod under policies.
fn judge(network: &Network, proxy: &mut dyn Backend, ways: &[Way]) {
    let mut plane = DataPlane::new(cases::settings());
    let ports: Vec<Value> = ways
        .iter()
        .map(|way| json!({"name": name(*way), "port": 80, "nodePort": 30080, "protocol": name(*way)}))
        .collect();
    let whole = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.9",
        "clusterIPs": ["10.96.0.9"], "externalTrafficPolicy": "Cluster", "ports": ports}});
    let service: Service = serde_json::from_value(whole).unwrap();
    let targets: Vec<Value> =
        ways.iter().map(|way| json!({"name": name(*way), "port": 8080, "protocol": name(*way)})).collect();
    let slice: EndpointSlice =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.244.0.11"], "nodeName": "node"}], "ports": targets}))
        .unwrap();
    let plan = plan_service(&service, &[Arc::new(slice)], &node(), &plane.settings);
    plane.set(&Key::new("default", "s"), plan, &mut ProxyChanges::default());
    network.within("node", || proxy.sync(&plane, &ProxyChanges::everything())).unwrap();
    let mode = proxy.name();

    let mut enforcer = network.within("node", || Enforcer::open().unwrap());
    let (mut world, mut changes) = (world(), Changes::default());
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let allowed: Vec<Value> = ways.iter().map(|way| json!({"port": 8080, "protocol": name(*way)})).collect();
    let web = json!({"podSelector": {"matchLabels": {"role": "web"}}, "ingress": [
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}, {"ipBlock": {"cidr": "192.168.50.2/32"}}], "ports": allowed}]});
    for (name, spec) in [("deny", &deny), ("web", &web)] {
        let (key, policy) = policy(name, spec);
        world.set_policy(&key, Some(policy));
    }
    world.settle(&mut changes);
    enforcer.sync(&world.plane, &changes).unwrap();
    let table = [
        ("pod3", None, "10.96.0.9:80", true),
        ("far", None, "10.96.0.9:80", true),
        ("pod2", None, "10.96.0.9:80", false),
        // A pod reaches itself through its Service, whatever policies say.
        ("pod1", None, "10.96.0.9:80", true),
        ("outside", Some("192.168.50.2"), "192.168.50.1:30080", true),
        ("outside", Some("192.168.50.3"), "192.168.50.1:30080", false),
        ("node", None, "10.96.0.9:80", true),
    ];
    let ask_all = |judged: bool| {
        for (way, (from, source, to, allowed)) in ways.iter().flat_map(|way| table.map(|row| (*way, row))) {
            let expected = allowed || !judged;
            let source: Option<IpAddr> = source.map(|source| source.parse().unwrap());
            let once = || network.within(from, || here(way, source, to.parse().unwrap(), BRIEFLY));
            let passed = |answer: &Answer| matches!(answer, Answer::From(..));
            let mut answer = once();
            // Neighbours that are not known yet are looked for first.
            for _ in 0..TRIES {
                if !expected || passed(&answer) {
                    break;
                }
                answer = once();
            }
            assert_eq!(passed(&answer), expected, "{mode}: {from} {source:?} > {to} {way:?}: {answer:?}");
        }
    };
    ask_all(true);
    // It was the policies.
    enforcer.cleanup().unwrap();
    ask_all(false);
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Tcp => "TCP",
        Way::Udp => "UDP",
        Way::Sctp => "SCTP",
    }
}

/// As the common implementations do it: a policy is about connections that begin.
#[test]
fn connections_that_are_open_stay_open_and_new_ones_are_denied() {
    let network = Network::start();
    let mut enforcer = network.within("node", || Enforcer::open().unwrap());
    let (mut world, mut changes) = (world(), Changes::everything());
    world.settle(&mut changes);
    enforcer.sync(&world.plane, &changes).unwrap();
    let listener = network.within("pod1", || TcpListener::bind("10.244.0.11:7070").unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut word = [0; 4];
        while stream.read_exact(&mut word).is_ok() {
            stream.write_all(&word).unwrap();
        }
    });
    let mut open = network.within("pod2", || TcpStream::connect("10.244.0.11:7070").unwrap());
    open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut echo = |word: &[u8; 4]| {
        let mut back = [0; 4];
        open.write_all(word).and_then(|()| open.read_exact(&mut back)).map(|()| back)
    };
    assert_eq!(echo(b"one.").unwrap(), *b"one.");
    let (key, policy) = policy("deny", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    world.set_policy(&key, Some(policy));
    let mut changes = Changes::default();
    world.settle(&mut changes);
    enforcer.sync(&world.plane, &changes).unwrap();
    assert_eq!(ask(&network, "pod2", "pod1 8080", Family::V4), Answer::Silence);
    assert_eq!(echo(b"two.").unwrap(), *b"two.");
    drop(open);
    server.join().unwrap();
}

/// What the node's own programs and other tables decide is none of ours.
#[test]
fn other_tables_stay_as_they_are() {
    crate::namespace::in_new_namespace(|| {
        nft("add table ip other");
        let (mut enforcer, mut world) = (Enforcer::open().unwrap(), world());
        world.settle(&mut Changes::default());
        enforcer.sync(&world.plane, &Changes::everything()).unwrap();
        enforcer.cleanup().unwrap();
        assert_eq!(ruleset().trim(), "table ip other {\n}");
    });
}
