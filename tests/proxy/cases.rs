//! The table: Services, their endpoints, and what clients see of them. Data only; every back end answers to it.

use node_agent::proxy::model::{Cidr, PodDetection, Settings};
use serde_json::{Value, json};

use crate::ask::Way::{self, Tcp, Udp};

/// One Service, and questions to it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// `spec` and `status`; the metadata is added.
    pub(crate) service: Value,
    /// Endpoints as `POD [not-ready] [terminating] [zone=Z]`.
    pub(crate) endpoints: &'static [&'static str],
    /// Where they are not the usual ones.
    pub(crate) settings: Option<Settings>,
    pub(crate) questions: Vec<Question>,
}

/// Who asks what, and who must answer.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) from: &'static str,
    pub(crate) source: Option<&'static str>,
    pub(crate) way: Way,
    pub(crate) to: &'static str,
    pub(crate) expect: Expect,
}

/// Everything that may come, and must come when asked often enough.
#[derive(Debug)]
pub(crate) enum Expect {
    /// These pods answer, and see this source address.
    Answers(&'static [&'static str], &'static str),
    /// Only one of these pods answers, always the same.
    Sticks(&'static [&'static str]),
    Refused,
    Silence,
}

use Expect::{Answers, Refused, Silence, Sticks};

/// The settings of all cases that have none of their own.
pub(crate) fn settings() -> Settings {
    let ranges = ["10.244.0.0/16", "fd00:244::/32", "fd00:245::/32"];
    let ranges: Vec<Cidr> = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Settings { pods: PodDetection::Cidrs(ranges), ..Settings::default() }
}

fn ask(from: &'static str, to: &'static str, expect: Expect) -> Question {
    Question { from, source: None, way: Tcp, to, expect }
}

fn ask_udp(from: &'static str, to: &'static str, expect: Expect) -> Question {
    Question { way: Udp, ..ask(from, to, expect) }
}

fn case(
    name: &'static str,
    spec: Value,
    endpoints: &'static [&'static str],
    questions: Vec<Question>,
) -> Case {
    Case { name, service: json!({"spec": spec}), endpoints, settings: None, questions }
}

fn cluster_ip(ip: &str, more: &Value) -> Value {
    let mut spec = json!({"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
        "ports": [{"port": 80, "protocol": "TCP"}, {"name": "udp", "port": 53, "protocol": "UDP"}]});
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    spec
}

const BOTH: &[&str] = &["pod1", "pod2"];
const ALL: &[&str] = &["pod1", "pod2", "far"];
/// The node's address towards its pods, and towards the other node.
const BRIDGE: &str = "10.244.0.1";
const UPLINK: &str = "192.168.60.1";

/// All cases, in the order in which they are run on one data plane: each replaces the one before.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = inside();
    all.extend(policies());
    all.extend(outside());
    all.extend(sources_and_addresses());
    all.extend(v6());
    if crate::sctp::is_here() {
        all.extend(sctp());
    }
    all
}

/// For kernels that have SCTP.
fn sctp() -> Vec<Case> {
    let ask = |from, to, expect| Question { way: Way::Sctp, ..ask(from, to, expect) };
    let ports = json!([{"name": "sctp", "port": 36412, "protocol": "SCTP", "nodePort": 30412}]);
    vec![
        case(
            "SCTP on a cluster IP",
            cluster_ip("10.96.0.60", &json!({"ports": ports})),
            BOTH,
            vec![
                ask("pod3", "10.96.0.60:36412", Answers(BOTH, "10.244.0.13")),
                ask("outside", "10.96.0.60:36412", Answers(BOTH, BRIDGE)),
                ask("node", "10.96.0.60:36412", Answers(BOTH, BRIDGE)),
            ],
        ),
        case(
            "SCTP on a node port",
            cluster_ip("10.96.0.61", &json!({"type": "NodePort", "ports": ports})),
            BOTH,
            vec![
                ask("outside", "192.168.50.1:30412", Answers(BOTH, BRIDGE)),
                ask("pod3", "10.96.0.61:36412", Answers(BOTH, "10.244.0.13")),
            ],
        ),
    ]
}

fn inside() -> Vec<Case> {
    vec![
        case(
            "cluster IP",
            cluster_ip("10.96.0.1", &json!({})),
            BOTH,
            vec![
                ask("pod3", "10.96.0.1:80", Answers(BOTH, "10.244.0.13")),
                ask_udp("pod3", "10.96.0.1:53", Answers(BOTH, "10.244.0.13")),
                ask("outside", "10.96.0.1:80", Answers(BOTH, BRIDGE)),
                ask_udp("outside", "10.96.0.1:53", Answers(BOTH, BRIDGE)),
                ask("node", "10.96.0.1:80", Answers(BOTH, BRIDGE)),
                ask_udp("node", "10.96.0.1:53", Answers(BOTH, BRIDGE)),
                ask("pod3", "10.96.0.1:81", Refused),
                ask_udp("pod3", "10.96.0.1:80", Refused),
                ask("node", "10.96.0.1:81", Refused),
            ],
        ),
        case(
            "three endpoints, one on another node",
            cluster_ip("10.96.0.2", &json!({})),
            ALL,
            vec![ask("pod3", "10.96.0.2:80", Answers(ALL, "10.244.0.13"))],
        ),
        case(
            "hairpin",
            cluster_ip("10.96.0.3", &json!({})),
            &["pod1"],
            vec![
                ask("pod1", "10.96.0.3:80", Answers(&["pod1"], BRIDGE)),
                ask_udp("pod1", "10.96.0.3:53", Answers(&["pod1"], BRIDGE)),
                ask("pod2", "10.96.0.3:80", Answers(&["pod1"], "10.244.0.12")),
            ],
        ),
        case(
            "no endpoints",
            cluster_ip("10.96.0.4", &json!({})),
            &[],
            vec![
                ask("pod3", "10.96.0.4:80", Refused),
                ask_udp("pod3", "10.96.0.4:53", Refused),
                ask("outside", "10.96.0.4:80", Refused),
                ask("node", "10.96.0.4:80", Refused),
                ask_udp("node", "10.96.0.4:53", Refused),
            ],
        ),
        case(
            "several ports",
            cluster_ip(
                "10.96.0.5",
                &json!({"ports": [{"name": "", "port": 80, "protocol": "TCP"},
                {"name": "other", "port": 81, "protocol": "TCP"}, {"name": "udp", "port": 80, "protocol": "UDP"}]}),
            ),
            BOTH,
            vec![
                ask("pod3", "10.96.0.5:80", Answers(BOTH, "10.244.0.13")),
                ask("pod3", "10.96.0.5:81", Answers(BOTH, "10.244.0.13")),
                ask_udp("pod3", "10.96.0.5:80", Answers(BOTH, "10.244.0.13")),
            ],
        ),
        case(
            "session affinity",
            cluster_ip(
                "10.96.0.6",
                &json!({"sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}),
            ),
            ALL,
            vec![
                ask("pod3", "10.96.0.6:80", Sticks(ALL)),
                ask("outside", "10.96.0.6:80", Sticks(ALL)),
                ask("node", "10.96.0.6:80", Sticks(ALL)),
                ask_udp("pod3", "10.96.0.6:53", Sticks(ALL)),
            ],
        ),
        // The client's endpoint is gone: it goes on with another.
        case(
            "session affinity to a pod that went",
            cluster_ip("10.96.0.6", &json!({"sessionAffinity": "ClientIP"})),
            &["far"],
            vec![
                ask("pod3", "10.96.0.6:80", Answers(&["far"], "10.244.0.13")),
                ask_udp("pod3", "10.96.0.6:53", Answers(&["far"], "10.244.0.13")),
            ],
        ),
    ]
}

fn policies() -> Vec<Case> {
    let local = json!({"internalTrafficPolicy": "Local"});
    vec![
        case(
            "internal traffic policy Local",
            cluster_ip("10.96.1.1", &local),
            ALL,
            vec![ask("pod3", "10.96.1.1:80", Answers(BOTH, "10.244.0.13"))],
        ),
        case(
            "internal traffic policy Local without a pod here",
            cluster_ip("10.96.1.2", &local),
            &["far"],
            vec![ask("pod3", "10.96.1.2:80", Silence)],
        ),
        case(
            "endpoints that are not ready",
            cluster_ip("10.96.1.3", &json!({})),
            &["pod1", "pod2 not-ready", "far terminating"],
            vec![ask("pod3", "10.96.1.3:80", Answers(&["pod1"], "10.244.0.13"))],
        ),
        case(
            "terminating endpoints as the last resort",
            cluster_ip("10.96.1.4", &json!({})),
            &["pod1 terminating", "pod2 not-ready"],
            vec![ask("pod3", "10.96.1.4:80", Answers(&["pod1"], "10.244.0.13"))],
        ),
        case(
            "topology hints",
            cluster_ip("10.96.1.5", &json!({"trafficDistribution": "PreferSameZone"})),
            &["pod1 zone=z1", "pod2 zone=z2", "far zone=z2"],
            vec![ask("pod3", "10.96.1.5:80", Answers(&["pod1"], "10.244.0.13"))],
        ),
        Case {
            settings: Some(Settings { masquerade_all: true, ..settings() }),
            ..case(
                "masquerade all",
                cluster_ip("10.96.1.6", &json!({})),
                &["pod1"],
                vec![ask("pod3", "10.96.1.6:80", Answers(&["pod1"], BRIDGE))],
            )
        },
    ]
}

fn outside() -> Vec<Case> {
    let node_port = |ip: &str, more: &Value| {
        let mut spec = cluster_ip(ip, more);
        spec["type"] = json!("NodePort");
        spec["ports"] = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"name": "udp", "port": 53, "nodePort": 30053, "protocol": "UDP"}]);
        spec
    };
    let local = json!({"externalTrafficPolicy": "Local"});
    vec![
        case(
            "node port",
            node_port("10.96.2.1", &json!({})),
            BOTH,
            vec![
                ask("outside", "192.168.50.1:30080", Answers(BOTH, BRIDGE)),
                ask_udp("outside", "192.168.50.1:30053", Answers(BOTH, BRIDGE)),
                ask("outside", "10.244.0.1:30080", Answers(BOTH, BRIDGE)),
                ask("node", "192.168.50.1:30080", Answers(BOTH, BRIDGE)),
                ask("pod3", "192.168.50.1:30080", Answers(BOTH, BRIDGE)),
                // The port is the node's, not the cluster IP's, and no other host's.
                ask("pod3", "10.96.2.1:30080", Refused),
                ask("pod3", "192.168.50.2:30080", Refused),
                ask("outside", "192.168.50.1:30081", Refused),
            ],
        ),
        case(
            "node port to another node",
            node_port("10.96.2.2", &json!({})),
            &["far"],
            vec![ask("outside", "192.168.50.1:30080", Answers(&["far"], UPLINK))],
        ),
        case(
            "external traffic policy Local",
            node_port("10.96.2.3", &local),
            ALL,
            vec![
                ask("outside", "192.168.50.1:30080", Answers(BOTH, "192.168.50.2")),
                ask_udp("outside", "192.168.50.1:30053", Answers(BOTH, "192.168.50.2")),
                ask("pod3", "192.168.50.1:30080", Answers(ALL, "10.244.0.13")),
                ask("pod3", "10.96.2.3:80", Answers(ALL, "10.244.0.13")),
            ],
        ),
        case(
            "external traffic policy Local without a pod here",
            node_port("10.96.2.4", &local),
            &["far"],
            vec![
                ask("outside", "192.168.50.1:30080", Silence),
                ask("pod3", "192.168.50.1:30080", Answers(&["far"], "10.244.0.13")),
                ask("node", "192.168.50.1:30080", Answers(&["far"], UPLINK)),
            ],
        ),
        case(
            "external traffic policy Local, the last pod here ends",
            node_port("10.96.2.5", &local),
            &["far", "pod1 terminating"],
            vec![ask("outside", "192.168.50.1:30080", Answers(&["pod1"], "192.168.50.2"))],
        ),
        case(
            "node port without endpoints",
            node_port("10.96.2.6", &json!({})),
            &[],
            vec![
                ask("outside", "192.168.50.1:30080", Refused),
                ask_udp("outside", "192.168.50.1:30053", Refused),
                ask("node", "192.168.50.1:30080", Refused),
            ],
        ),
        case(
            "node port with session affinity",
            node_port("10.96.2.7", &json!({"sessionAffinity": "ClientIP"})),
            ALL,
            vec![ask("outside", "192.168.50.1:30080", Sticks(ALL))],
        ),
        case(
            "external IP",
            cluster_ip("10.96.2.8", &json!({"externalIPs": ["198.51.100.1"]})),
            BOTH,
            vec![
                ask("outside", "198.51.100.1:80", Answers(BOTH, BRIDGE)),
                ask("pod3", "198.51.100.1:80", Answers(BOTH, BRIDGE)),
                ask("node", "198.51.100.1:80", Answers(BOTH, BRIDGE)),
            ],
        ),
    ]
}

fn sources_and_addresses() -> Vec<Case> {
    let load_balancer = |ip: &str, more: &Value, mode: &str| {
        let mut spec = cluster_ip(ip, more);
        spec["type"] = json!("LoadBalancer");
        json!({"spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.2", "ipMode": mode}]}}})
    };
    let from =
        |source, expect| Question { source: Some(source), ..ask("outside", "198.51.100.2:80", expect) };
    let restricted =
        json!({"loadBalancerSourceRanges": ["192.168.50.3/32", "10.244.0.0/24", "10.244.0.12/32"]});
    vec![
        Case {
            service: load_balancer("10.96.3.1", &json!({}), "VIP"),
            ..case(
                "load balancer",
                json!({}),
                BOTH,
                vec![
                    ask("outside", "198.51.100.2:80", Answers(BOTH, BRIDGE)),
                    ask("pod3", "198.51.100.2:80", Answers(BOTH, BRIDGE)),
                ],
            )
        },
        Case {
            service: load_balancer("10.96.3.2", &json!({"externalTrafficPolicy": "Local"}), "VIP"),
            ..case(
                "load balancer with policy Local",
                json!({}),
                ALL,
                vec![
                    ask("outside", "198.51.100.2:80", Answers(BOTH, "192.168.50.2")),
                    ask("pod3", "198.51.100.2:80", Answers(ALL, "10.244.0.13")),
                ],
            )
        },
        Case {
            service: load_balancer("10.96.3.3", &restricted, "VIP"),
            ..case(
                "load balancer with source ranges",
                json!({}),
                BOTH,
                vec![
                    from("192.168.50.3", Answers(BOTH, BRIDGE)),
                    from("192.168.50.2", Silence),
                    ask("pod3", "198.51.100.2:80", Answers(BOTH, BRIDGE)),
                    ask("far", "198.51.100.2:80", Silence),
                    // Only the load balancer's address is restricted.
                    ask("far", "10.96.3.3:80", Answers(BOTH, "10.244.1.11")),
                ],
            )
        },
        Case {
            service: load_balancer("10.96.3.4", &json!({}), "Proxy"),
            ..case(
                "load balancer that is asked itself",
                json!({}),
                BOTH,
                vec![
                    ask("pod3", "198.51.100.2:80", Silence),
                    ask("pod3", "10.96.3.4:80", Answers(BOTH, "10.244.0.13")),
                ],
            )
        },
        Case {
            settings: Some(Settings {
                node_port_addresses: vec!["192.168.50.0/24".parse().unwrap()],
                ..settings()
            }),
            ..case(
                "node ports on chosen addresses",
                json!({"type": "NodePort", "clusterIP": "10.96.3.5", "clusterIPs": ["10.96.3.5"],
                    "ports": [{"port": 80, "nodePort": 30080}]}),
                BOTH,
                vec![
                    ask("outside", "192.168.50.1:30080", Answers(BOTH, BRIDGE)),
                    ask("outside", "10.244.0.1:30080", Refused),
                    ask("far", "192.168.60.1:30080", Refused),
                ],
            )
        },
    ]
}

fn v6() -> Vec<Case> {
    let dual = |more: &Value| {
        let mut spec = cluster_ip("10.96.4.1", more);
        spec["clusterIPs"] = json!(["10.96.4.1", "fd00:96::1"]);
        spec["type"] = json!("NodePort");
        spec["ports"] = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"name": "udp", "port": 53, "nodePort": 30053, "protocol": "UDP"}]);
        spec
    };
    const BRIDGE_V6: &str = "fd00:244::1";
    vec![
        case(
            "dual stack",
            dual(&json!({})),
            BOTH,
            vec![
                ask("pod3", "10.96.4.1:80", Answers(BOTH, "10.244.0.13")),
                ask("pod3", "[fd00:96::1]:80", Answers(BOTH, "fd00:244::13")),
                ask_udp("pod3", "[fd00:96::1]:53", Answers(BOTH, "fd00:244::13")),
                ask("outside", "[fd00:96::1]:80", Answers(BOTH, BRIDGE_V6)),
                ask("node", "[fd00:96::1]:80", Answers(BOTH, BRIDGE_V6)),
                ask("outside", "[fd00:50::1]:30080", Answers(BOTH, BRIDGE_V6)),
                ask("pod3", "[fd00:96::1]:81", Refused),
            ],
        ),
        case(
            "dual stack, hairpin and affinity",
            dual(&json!({"sessionAffinity": "ClientIP"})),
            &["pod1"],
            vec![
                ask("pod1", "[fd00:96::1]:80", Answers(&["pod1"], BRIDGE_V6)),
                ask("outside", "[fd00:50::1]:30080", Answers(&["pod1"], BRIDGE_V6)),
            ],
        ),
        case(
            "dual stack, policy Local",
            dual(&json!({"externalTrafficPolicy": "Local"})),
            ALL,
            vec![
                ask("outside", "[fd00:50::1]:30080", Answers(BOTH, "fd00:50::2")),
                ask("pod3", "[fd00:50::1]:30080", Answers(ALL, "fd00:244::13")),
            ],
        ),
        case(
            "dual stack without endpoints",
            dual(&json!({})),
            &[],
            vec![
                ask("pod3", "[fd00:96::1]:80", Refused),
                ask("outside", "[fd00:50::1]:30080", Refused),
                ask("node", "[fd00:96::1]:80", Refused),
            ],
        ),
    ]
}
