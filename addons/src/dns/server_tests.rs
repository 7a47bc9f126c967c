//! Questions against a server whose upstream is only its cache: forwarding, aliases, autopath.

use component::metrics::Registry;
use component::random::Random;
use hickory_proto::op::{MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use serde_json::json;

use super::*;
use crate::dns::cache::{Limits, Question};

const POD: &str = "10.0.0.9";

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn server(autopath: bool) -> Server {
    let mut index = Index::new();
    index.set_namespace("n", true);
    let mut service = |name: &str, spec: serde_json::Value| {
        let object = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
        index.set_service("n", name, Some(&serde_json::from_value(object).unwrap()));
    };
    let external = |name: &str| json!({"type": "ExternalName", "externalName": name});
    service("web", json!({"clusterIP": "10.96.0.1"}));
    service("out", external("db.example.com"));
    service("inside", external("web.n.svc.cluster.local"));
    service("round", external("about.n.svc.cluster.local"));
    service("about", external("round.n.svc.cluster.local"));
    service("nowhere", external("absent.n.svc.cluster.local"));
    let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"podIPs": [{"ip": POD}]}});
    index.set_pod(None, Some(&serde_json::from_value(pod).unwrap()));
    index.set_synced();
    let metrics = Arc::new(Metrics::new(&Registry::new(), "dns://:53"));
    let (limits, random) = (Limits::default(), Random::from_seed(1));
    Server {
        zone: Zone::new(&name("cluster.local.")),
        index: Arc::new(RwLock::new(index)),
        upstream: Upstream::new(Vec::new(), Vec::new(), limits, random, Arc::clone(&metrics)),
        searches: autopath.then(|| vec![name("corp.")]),
        metrics,
    }
}

/// Makes upstream know names: an address each, `None` for those that do not exist.
fn upstream_knows(server: &Server, names: &[(&str, Option<[u8; 4]>)]) {
    for (text, address) in names {
        let question = Question { name: name(text), kind: RecordType::A, dnssec: false, unchecked: false };
        let record = |[a, b, c, d]: [u8; 4]| Record::from_rdata(name(text), 60, RData::A(A::new(a, b, c, d)));
        let soa = soa(&Index::new(), &Zone::new(&name("upstream.")));
        let response = Response {
            code: if address.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain },
            authentic: false,
            answers: address.map(record).into_iter().collect(),
            authorities: if address.is_some() { Vec::new() } else { vec![soa] },
            additionals: Vec::new(),
        };
        server.upstream.keep(question, response, Instant::now());
    }
}

fn begin(server: &Server, text: &str, kind: RecordType, client: &str) -> Step {
    let mut request = Message::new(1, MessageType::Query, OpCode::Query);
    request.add_query(Query::query(name(text), kind));
    server.begin(request, client.parse().unwrap())
}

fn ask(server: &Server, text: &str, kind: RecordType, client: &str) -> String {
    match begin(server, text, kind, client) {
        Step::Ask(pending) => format!("asks upstream for {}", pending.name()),
        Step::Done(reply, _) => {
            let answers = reply.answers.iter().map(|record| format!("{} {}", record.name, record.data));
            let authority = if reply.metadata.authoritative { " aa" } else { "" };
            let code = reply.metadata.response_code;
            let soa = if reply.authorities.is_empty() { "" } else { " soa" };
            format!("{code:?}{authority}{soa} {}", answers.collect::<Vec<_>>().join("; "))
                .trim_end()
                .to_owned()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn denials_carry_the_zones_soa() {
    let server = server(false);
    let ask = |name, kind| ask(&server, name, kind, "10.9.9.9");
    assert_eq!(
        ask("web.n.svc.cluster.local.", RecordType::A),
        "NoError aa web.n.svc.cluster.local. 10.96.0.1"
    );
    assert_eq!(ask("web.n.svc.cluster.local.", RecordType::AAAA), "NoError aa soa");
    assert_eq!(ask("absent.n.svc.cluster.local.", RecordType::A), "NXDomain aa soa");
}

#[tokio::test(start_paused = true)]
async fn others_names_come_from_upstream_and_its_cache() {
    let server = server(false);
    assert_eq!(ask(&server, "Example.com.", RecordType::A, POD), "asks upstream for Example.com.");
    upstream_knows(&server, &[("example.com.", Some([1, 2, 3, 4])), ("absent.com.", None)]);
    assert_eq!(ask(&server, "Example.com.", RecordType::A, POD), "NoError Example.com. 1.2.3.4");
    assert_eq!(ask(&server, "absent.com.", RecordType::A, POD), "NXDomain soa");
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(ask(&server, "example.com.", RecordType::A, POD), "asks upstream for example.com.");
}

#[tokio::test(start_paused = true)]
async fn an_external_name_is_followed() {
    let server = server(false);
    upstream_knows(&server, &[("db.example.com.", Some([1, 2, 3, 4]))]);
    let ask = |name: &str, kind| ask(&server, &format!("{name}.n.svc.cluster.local."), kind, POD);
    assert_eq!(
        ask("out", RecordType::A),
        "NoError aa out.n.svc.cluster.local. db.example.com.; db.example.com. 1.2.3.4"
    );
    assert_eq!(ask("out", RecordType::CNAME), "NoError aa out.n.svc.cluster.local. db.example.com.");
    assert_eq!(ask("out", RecordType::AAAA), "asks upstream for db.example.com.");
    assert_eq!(
        ask("inside", RecordType::A),
        "NoError aa inside.n.svc.cluster.local. web.n.svc.cluster.local.; web.n.svc.cluster.local. 10.96.0.1"
    );
    assert!(
        ask("nowhere", RecordType::A).starts_with("NXDomain aa soa nowhere.n.svc.cluster.local. absent.")
    );
    assert!(ask("round", RecordType::A).starts_with("ServFail aa round"));
}

#[tokio::test(start_paused = true)]
async fn autopath_walks_the_search_list_of_a_pod() {
    let server = server(true);
    let long = "www.example.com.n.svc.cluster.local.";
    assert_eq!(ask(&server, long, RecordType::A, POD), "asks upstream for www.example.com.corp.");
    upstream_knows(&server, &[("www.example.com.corp.", None), ("www.example.com.", Some([1, 2, 3, 4]))]);
    assert_eq!(
        ask(&server, long, RecordType::A, POD),
        format!("NoError {long} www.example.com.; www.example.com. 1.2.3.4")
    );
    // A Service of another namespace: `web.n` as written in `default` is found under the second search domain.
    assert_eq!(
        ask(&server, "web.n.n.svc.cluster.local.", RecordType::A, POD),
        "NoError aa web.n.n.svc.cluster.local. web.n.svc.cluster.local.; web.n.svc.cluster.local. 10.96.0.1"
    );
    upstream_knows(&server, &[("gone.corp.", None), ("gone.", None)]);
    assert_eq!(ask(&server, "gone.n.svc.cluster.local.", RecordType::A, POD), "NXDomain aa soa");
    // Who is no pod of that namespace gets the plain answer.
    assert_eq!(ask(&server, long, RecordType::A, "10.9.9.9"), "NXDomain aa soa");
    assert_eq!(ask(&server, "www.example.com.m.svc.cluster.local.", RecordType::A, POD), "NXDomain aa soa");
}

/// The name that was asked for is known not to exist, whatever upstream would say of the later ones.
#[tokio::test(start_paused = true)]
async fn autopath_denies_what_is_not_there_although_upstream_is_silent() {
    let mut server = server(true);
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for upstreams in [Vec::new(), vec![silent.local_addr().unwrap()]] {
        let (limits, random) = (Limits::default(), Random::from_seed(1));
        server.upstream = Upstream::new(upstreams, Vec::new(), limits, random, Arc::clone(&server.metrics));
        let Step::Ask(pending) = begin(&server, "lost.n.svc.cluster.local.", RecordType::A, POD) else {
            panic!("the search goes on upstream")
        };
        let start = Instant::now();
        let (reply, _) = server.finish(*pending).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
        assert!(start.elapsed() <= SEARCH_PATIENCE, "resolvers wait for 5 s");
    }
}
