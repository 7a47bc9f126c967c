//! The specification's records, one table a section: what is asked, and every record of the answer.

use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

use super::*;
use crate::dns::zone::{Pods, Zone};

/// A cluster with one Service of each sort.
fn index() -> Index {
    let mut index = Index::new();
    for namespace in ["default", "kube-system", "empty"] {
        index.set_namespace(namespace, true);
    }
    let mut service = |namespace: &str, name: &str, spec: serde_json::Value| {
        let object = json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec});
        index.set_service(namespace, name, Some(&serde_json::from_value(object).unwrap()));
    };
    let https = json!([{"name": "https", "port": 443}, {"port": 80, "protocol": "UDP"}]);
    service(
        "default",
        "kubernetes",
        json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": https}),
    );
    service(
        "default",
        "dual",
        json!({"clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2", "fd00::2"],
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]}),
    );
    service("default", "pets", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}));
    service("default", "resting", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}));
    service("default", "early", json!({"clusterIP": "None", "publishNotReadyAddresses": true}));
    service("default", "out", json!({"type": "ExternalName", "externalName": "db.example.com"}));
    service("default", "out-ip", json!({"type": "ExternalName", "externalName": "10.1.1.1"}));
    service("kube-system", "kube-dns", json!({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"]}));

    let mut slice = |service: &str, name: &str, port: u16, endpoints: serde_json::Value| {
        let object = json!({
            "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}, {"name": "", "port": 9}],
        });
        index.set_slice(None, Some(&serde_json::from_value(object).unwrap()));
    };
    let not_ready = json!({"ready": false});
    slice(
        "pets",
        "pets-1",
        8080,
        json!([
            {"addresses": ["10.0.0.1"], "hostname": "cat", "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"]},
            {"addresses": ["10.0.0.3"], "conditions": not_ready},
        ]),
    );
    slice("pets", "pets-2", 8080, json!([{"addresses": ["10.0.0.2"]}]));
    slice("pets", "pets-3", 8080, json!([{"addresses": ["fd00::1"], "hostname": "cat"}]));
    slice("resting", "resting-1", 80, json!([{"addresses": ["10.0.0.3"], "conditions": not_ready}]));
    slice("early", "early-1", 80, json!([{"addresses": ["10.0.0.4"], "conditions": not_ready}]));
    slice("kubernetes", "kubernetes", 6443, json!([{"addresses": ["172.17.0.2"]}]));
    slice("dual", "dual-1", 53, json!([{"addresses": ["10.0.0.6"], "hostname": "named"}]));
    index.set_synced();
    index
}

fn ask(index: &Index, pods: Pods, name: &str, kind: RecordType) -> String {
    let zone = Zone { pods, ..Zone::new(&Name::from_ascii("cluster.local.").unwrap()) };
    let full = match name {
        "" => "cluster.local.".to_owned(),
        name if name.ends_with('.') => name.to_owned(),
        name => format!("{name}.cluster.local."),
    };
    let text = |records: Vec<Record>| -> Vec<String> {
        let one = |record: Record| {
            let owner =
                if record.name.to_string() == full { "@".to_owned() } else { record.name.to_string() };
            format!("{owner} {} {} {}", record.ttl, record.record_type(), record.data)
                .replace(".cluster.local.", "")
        };
        records.into_iter().map(one).collect()
    };
    match lookup(index, &zone, &Name::from_ascii(&full).unwrap(), kind) {
        Answer::Records { answers, additionals } if additionals.is_empty() => text(answers).join("; "),
        Answer::Records { answers, additionals } => {
            format!("{} + {}", text(answers).join("; "), text(additionals).join("; "))
        }
        Answer::Alias(record, target) => format!("{} -> {target}", text(vec![*record]).join("; ")),
        other => format!("{other:?}"),
    }
}

fn check(rows: &[(&str, RecordType, &str)]) {
    let index = index();
    for (name, kind, wanted) in rows {
        assert_eq!(ask(&index, Pods::Insecure, name, *kind), *wanted, "{name} {kind}");
    }
}

use RecordType as T;

#[test]
fn section_2_2_the_schema_version() {
    check(&[
        ("dns-version", T::TXT, "@ 28800 TXT 1.1.0"),
        ("DNS-Version", T::TXT, "@ 28800 TXT 1.1.0"),
        ("dns-version", T::A, "NoData"),
        ("x.dns-version", T::TXT, "NoName"),
    ]);
}

#[test]
fn section_2_3_a_service_with_an_address() {
    check(&[
        ("kubernetes.default.svc", T::A, "@ 5 A 10.96.0.1"),
        ("KuberneTes.Default.SVC", T::A, "@ 5 A 10.96.0.1"),
        ("kubernetes.default.svc", T::AAAA, "NoData"),
        ("kubernetes.default.svc", T::MX, "NoData"),
        ("kubernetes.default.svc", T::ANY, "NoData"),
        ("dual.default.svc", T::A, "@ 5 A 10.96.0.2"),
        ("dual.default.svc", T::AAAA, "@ 5 AAAA fd00::2"),
        (
            "_https._tcp.kubernetes.default.svc",
            T::SRV,
            "@ 5 SRV 0 100 443 kubernetes.default.svc + kubernetes.default.svc 5 A 10.96.0.1",
        ),
        ("_https._tcp.kubernetes.default.svc", T::A, "NoData"),
        ("_https._udp.kubernetes.default.svc", T::SRV, "NoName"),
        ("_http._tcp.kubernetes.default.svc", T::SRV, "NoName"),
        ("_._udp.kubernetes.default.svc", T::SRV, "NoName"),
        ("_tcp.kubernetes.default.svc", T::SRV, "NoData"),
        ("_udp.kubernetes.default.svc", T::SRV, "NoName"),
        ("https.tcp.kubernetes.default.svc", T::SRV, "NoName"),
        (
            "_dns._udp.dual.default.svc",
            T::SRV,
            "@ 5 SRV 0 100 53 dual.default.svc + dual.default.svc 5 A 10.96.0.2; dual.default.svc 5 AAAA fd00::2",
        ),
        ("1.0.96.10.in-addr.arpa.", T::PTR, "@ 5 PTR kubernetes.default.svc"),
        ("1.0.96.10.in-addr.arpa.", T::TXT, "NoData"),
        (
            "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.",
            T::PTR,
            "@ 5 PTR dual.default.svc",
        ),
        ("absent.default.svc", T::A, "NoName"),
        ("kubernetes.absent.svc", T::A, "NoName"),
        ("a.b.c.kubernetes.default.svc", T::A, "NoName"),
    ]);
}

#[test]
fn section_2_4_a_headless_service() {
    check(&[
        ("pets.default.svc", T::A, "@ 5 A 10.0.0.1; @ 5 A 10.0.0.2"),
        ("pets.default.svc", T::AAAA, "@ 5 AAAA fd00::1"),
        ("cat.pets.default.svc", T::A, "@ 5 A 10.0.0.1"),
        ("CAT.pets.default.svc", T::AAAA, "@ 5 AAAA fd00::1"),
        ("10-0-0-2.pets.default.svc", T::A, "@ 5 A 10.0.0.2"),
        ("10-0-0-2.pets.default.svc", T::AAAA, "NoData"),
        ("10-0-0-1.pets.default.svc", T::A, "NoName"),
        ("10-0-0-3.pets.default.svc", T::A, "NoName"),
        (
            "_http._tcp.pets.default.svc",
            T::SRV,
            "@ 5 SRV 0 50 8080 10-0-0-2.pets.default.svc; @ 5 SRV 0 50 8080 cat.pets.default.svc + \
             10-0-0-2.pets.default.svc 5 A 10.0.0.2; cat.pets.default.svc 5 A 10.0.0.1; \
             cat.pets.default.svc 5 AAAA fd00::1",
        ),
        ("_http._udp.pets.default.svc", T::SRV, "NoName"),
        ("1.0.0.10.in-addr.arpa.", T::PTR, "@ 5 PTR cat.pets.default.svc"),
        ("2.0.0.10.in-addr.arpa.", T::PTR, "@ 5 PTR 10-0-0-2.pets.default.svc"),
        ("3.0.0.10.in-addr.arpa.", T::PTR, "Elsewhere"),
        ("resting.default.svc", T::A, "NoName"),
        ("resting.default.svc", T::AAAA, "NoName"),
        ("_http._tcp.resting.default.svc", T::SRV, "NoName"),
        ("early.default.svc", T::A, "@ 5 A 10.0.0.4"),
        ("4.0.0.10.in-addr.arpa.", T::PTR, "@ 5 PTR 10-0-0-4.early.default.svc"),
    ]);
}

#[test]
fn section_2_5_an_external_name() {
    check(&[
        ("out.default.svc", T::A, "@ 5 CNAME db.example.com. -> db.example.com."),
        ("out.default.svc", T::MX, "@ 5 CNAME db.example.com. -> db.example.com."),
        ("x.out.default.svc", T::A, "NoName"),
        ("out-ip.default.svc", T::A, "NoData"),
    ]);
}

#[test]
fn section_2_6_pods_by_address() {
    check(&[
        ("10-0-0-9.default.pod", T::A, "@ 5 A 10.0.0.9"),
        ("10-0-0-9.default.pod", T::AAAA, "NoData"),
        ("fd00--9.default.pod", T::AAAA, "@ 5 AAAA fd00::9"),
        ("10-0-0-9.absent.pod", T::A, "NoName"),
        ("web.default.pod", T::A, "NoName"),
        ("x.10-0-0-9.default.pod", T::A, "NoName"),
    ]);
    let mut index = index();
    let pod = json!({"metadata": {"name": "a", "namespace": "default"}, "status": {"podIPs": [{"ip": "10.0.0.9"}]}});
    index.set_pod(None, Some(&serde_json::from_value(pod).unwrap()));
    let ask = |pods, name| ask(&index, pods, name, T::A);
    assert_eq!(ask(Pods::Verified, "10-0-0-9.default.pod"), "@ 5 A 10.0.0.9");
    assert_eq!(ask(Pods::Verified, "10-0-0-9.empty.pod"), "NoName");
    assert_eq!(ask(Pods::Verified, "10-0-0-8.default.pod"), "NoName");
    assert_eq!(ask(Pods::Disabled, "10-0-0-9.default.pod"), "NoName");
}

#[test]
fn names_between_the_zone_and_its_records_exist() {
    check(&[
        ("", T::A, "NoData"),
        ("", T::NS, "@ 5 NS ns.dns + ns.dns 5 A 10.96.0.10"),
        ("dns", T::A, "NoData"),
        ("ns.dns", T::A, "@ 5 A 10.96.0.10"),
        ("svc", T::A, "NoData"),
        ("pod", T::A, "NoData"),
        ("default.svc", T::A, "NoData"),
        ("empty.svc", T::A, "NoData"),
        ("default.pod", T::A, "NoData"),
        ("absent.svc", T::A, "NoName"),
        ("absent.pod", T::A, "NoName"),
        ("default", T::A, "NoName"),
        ("kubernetes.default", T::A, "NoName"),
        ("example.com.", T::A, "Elsewhere"),
        ("local.", T::A, "Elsewhere"),
        ("9.9.9.9.in-addr.arpa.", T::PTR, "Elsewhere"),
    ]);
    assert!(ask(&index(), Pods::Insecure, "", T::SOA).starts_with("@ 5 SOA ns.dns hostmaster "));
}

#[test]
fn beyond_the_specification_as_coredns() {
    check(&[
        // The bare name has all ports, unnamed ones too.
        (
            "kubernetes.default.svc",
            T::SRV,
            "@ 5 SRV 0 50 443 kubernetes.default.svc; @ 5 SRV 0 50 80 kubernetes.default.svc + \
             @ 5 A 10.96.0.1",
        ),
        // Endpoints of a Service with an address have names, reverse ones if they were given a host name.
        ("172-17-0-2.kubernetes.default.svc", T::A, "@ 5 A 172.17.0.2"),
        ("2.0.17.172.in-addr.arpa.", T::PTR, "Elsewhere"),
        ("named.dual.default.svc", T::A, "@ 5 A 10.0.0.6"),
        ("6.0.0.10.in-addr.arpa.", T::PTR, "@ 5 PTR named.dual.default.svc"),
    ]);
}

#[test]
fn nothing_is_denied_before_everything_is_known() {
    let index = Index::new();
    let ask = |name, kind| ask(&index, Pods::Insecure, name, kind);
    assert_eq!(ask("kubernetes.default.svc", T::A), "NotSynced");
    assert_eq!(ask("1.0.96.10.in-addr.arpa.", T::PTR), "NotSynced");
    assert_eq!(ask("example.com.", T::A), "Elsewhere");
}
