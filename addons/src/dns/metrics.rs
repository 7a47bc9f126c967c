//! The server's metrics, under CoreDNS's names.
//!
//! Promise: counting a request takes no allocation: the series of a (protocol, family, type) is looked up once.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use component::metrics::{Counter, Counters, Gauges, Histogram, Histograms, Registry, exponential_buckets};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

/// The zone that CoreDNS names when one configuration serves everything.
const ZONE: &str = ".";

/// Types with a series of their own; the others share one, so that askers cannot make series.
const TYPES: [RecordType; 12] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::DNSKEY,
    RecordType::DS,
    RecordType::HTTPS,
    RecordType::MX,
    RecordType::NS,
    RecordType::PTR,
    RecordType::SOA,
    RecordType::SRV,
    RecordType::TXT,
];

/// Response codes with a series looked up once.
const CODES: [ResponseCode; 6] = [
    ResponseCode::NoError,
    ResponseCode::FormErr,
    ResponseCode::ServFail,
    ResponseCode::NXDomain,
    ResponseCode::NotImp,
    ResponseCode::Refused,
];

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

/// Who answered: CoreDNS's plug-in of that work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Kubernetes,
    Forward,
    None,
}

/// The metrics. One for the process.
#[derive(Debug)]
pub(super) struct Metrics {
    server: String,
    requests: Counters,
    request_cells: [[[OnceLock<Counter>; TYPES.len() + 1]; 2]; 2],
    responses: Counters,
    response_cells: [[OnceLock<Counter>; CODES.len()]; 3],
    seconds: Histogram,
    request_bytes: [Histogram; 2],
    response_bytes: [Histogram; 2],
    cache_hits: [Counter; 2],
    cache_misses: Counter,
    cache_requests: Counter,
    cache_entries: Gauges,
    exchanges: Histograms,
    rejected: Counter,
    programming: Histograms,
    completed: Counter,
}

impl Metrics {
    /// The metrics of a server that listens at `server`, such as `dns://:53`.
    pub(super) fn new(registry: &Registry, server: &str) -> Self {
        let own = || vec![("server", server.to_owned()), ("zone", ZONE.to_owned()), ("view", String::new())];
        let of = |protocol: &str| [own(), vec![("proto", protocol.to_owned())]].concat();
        let bytes = || [0., 100., 200., 300., 400., 511., 1023., 2047., 4095., 8291., 16e3, 32e3, 48e3, 64e3];
        let request_bytes = registry.histograms(
            "coredns_dns_request_size_bytes",
            "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol",
            bytes(),
        );
        let response_bytes = registry.histograms(
            "coredns_dns_response_size_bytes",
            "Size of the returned response in bytes",
            bytes(),
        );
        let seconds = registry.histograms(
            "coredns_dns_request_duration_seconds",
            "Histogram of the time (in seconds) each request took per zone",
            exponential_buckets(0.000_25, 2.0, 16),
        );
        let hits = registry.counters("coredns_cache_hits_total", "The count of cache hits");
        let cached = |kind: &str| {
            vec![
                ("server", server.to_owned()),
                ("type", kind.to_owned()),
                ("zones", ZONE.to_owned()),
                ("view", String::new()),
            ]
        };
        let zones =
            || vec![("server", server.to_owned()), ("zones", ZONE.to_owned()), ("view", String::new())];
        Self {
            server: server.to_owned(),
            requests: registry.counters(
                "coredns_dns_requests_total",
                "Counter of DNS requests made per zone, protocol and family",
            ),
            request_cells: Default::default(),
            responses: registry.counters("coredns_dns_responses_total", "Counter of response status codes"),
            response_cells: Default::default(),
            seconds: seconds.get_or_create_owned(&own()),
            request_bytes: ["udp", "tcp"].map(|protocol| request_bytes.get_or_create_owned(&of(protocol))),
            response_bytes: ["udp", "tcp"].map(|protocol| response_bytes.get_or_create_owned(&of(protocol))),
            cache_hits: ["success", "denial"].map(|kind| hits.get_or_create_owned(&cached(kind))),
            cache_misses: registry
                .counters("coredns_cache_misses_total", "The count of cache misses")
                .get_or_create_owned(&zones()),
            cache_requests: registry
                .counters("coredns_cache_requests_total", "The count of cache requests")
                .get_or_create_owned(&zones()),
            cache_entries: registry.gauges("coredns_cache_entries", "The number of elements in the cache"),
            exchanges: registry.histograms(
                "coredns_proxy_request_duration_seconds",
                "Histogram of the time each request to an upstream server took",
                exponential_buckets(0.000_25, 2.0, 16),
            ),
            rejected: registry.counter(
                "coredns_forward_max_concurrent_rejects_total",
                "Counter of the number of queries rejected because the concurrent queries were at maximum",
            ),
            programming: registry.histograms(
                "coredns_kubernetes_dns_programming_duration_seconds",
                "Histogram of the time (in seconds) it took to program a DNS instance",
                exponential_buckets(0.001, 2.0, 20),
            ),
            completed: registry
                .counters("coredns_autopath_success_total", "Counter of requests that did autopath")
                .get_or_create_owned(&vec![("server", server.to_owned())]),
        }
    }

    /// A request came.
    pub(super) fn requested(&self, protocol: Protocol, client: IpAddr, kind: RecordType, bytes: usize) {
        let at = TYPES.iter().position(|known| *known == kind).unwrap_or(TYPES.len());
        let family = usize::from(client.is_ipv6());
        let counter = self.request_cells[protocol as usize][family][at].get_or_init(|| {
            let kind = TYPES.get(at).map_or_else(|| "other".to_owned(), ToString::to_string);
            self.requests.get_or_create_owned(&vec![
                ("server", self.server.clone()),
                ("zone", ZONE.to_owned()),
                ("view", String::new()),
                ("proto", if protocol == Protocol::Udp { "udp" } else { "tcp" }.to_owned()),
                ("family", (family + 1).to_string()),
                ("type", kind),
            ])
        });
        counter.inc();
        self.request_bytes[protocol as usize].observe(bytes as f64);
    }

    /// It was answered.
    pub(super) fn responded(
        &self,
        protocol: Protocol,
        code: ResponseCode,
        source: Source,
        bytes: usize,
        took: Duration,
    ) {
        let make = || {
            let plugin = match source {
                Source::Kubernetes => "kubernetes",
                Source::Forward => "forward",
                Source::None => "",
            };
            self.responses.get_or_create_owned(&vec![
                ("server", self.server.clone()),
                ("zone", ZONE.to_owned()),
                ("view", String::new()),
                ("rcode", code_name(code)),
                ("plugin", plugin.to_owned()),
            ])
        };
        match CODES.iter().position(|known| *known == code) {
            Some(at) => self.response_cells[source as usize][at].get_or_init(make).inc(),
            None => make().inc(),
        };
        self.response_bytes[protocol as usize].observe(bytes as f64);
        self.seconds.observe(took.as_secs_f64());
    }

    /// The cache was asked; `Some(denial)` if it knew.
    pub(super) fn cached(&self, found: Option<bool>) {
        self.cache_requests.inc();
        match found {
            Some(denial) => self.cache_hits[usize::from(denial)].inc(),
            None => self.cache_misses.inc(),
        };
    }

    /// How many (answers, denials) the cache holds.
    pub(super) fn cache_sizes(&self, (answers, denials): (usize, usize)) {
        for (kind, size) in [("success", answers), ("denial", denials)] {
            let labels = vec![
                ("server", self.server.clone()),
                ("type", kind.to_owned()),
                ("zones", ZONE.to_owned()),
                ("view", String::new()),
            ];
            self.cache_entries.get_or_create(&labels).set(i64::try_from(size).unwrap_or(i64::MAX));
        }
    }

    /// An upstream server answered.
    pub(super) fn exchanged(&self, to: SocketAddr, code: ResponseCode, took: Duration) {
        let labels =
            vec![("proxy_name", "forward".to_owned()), ("to", to.to_string()), ("rcode", code_name(code))];
        self.exchanges.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A question was not passed on because too many were under way.
    pub(super) fn too_many(&self) {
        self.rejected.inc();
    }

    /// The endpoints of a headless Service changed this long ago, and are known now.
    pub(super) fn programmed(&self, took: Duration) {
        let labels = vec![("service_kind", "headless_with_selector".to_owned())];
        self.programming.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A search was completed here and not by the asker.
    pub(super) fn completed(&self) {
        self.completed.inc();
    }
}

/// The name of a response code as CoreDNS writes it.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => u16::from(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_corednss_names() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry, "dns://:53");
        let client = "10.0.0.1".parse().unwrap();
        metrics.requested(Protocol::Udp, client, RecordType::A, 40);
        metrics.requested(Protocol::Tcp, "fd00::1".parse().unwrap(), RecordType::NAPTR, 40);
        let took = Duration::from_millis(1);
        metrics.responded(Protocol::Udp, ResponseCode::NXDomain, Source::Kubernetes, 100, took);
        metrics.cached(Some(true));
        metrics.cached(None);
        metrics.exchanged("9.9.9.9:53".parse().unwrap(), ResponseCode::NoError, took);
        metrics.programmed(took);
        let text = registry.encode();
        for line in [
            "coredns_dns_requests_total{server=\"dns://:53\",zone=\".\",view=\"\",proto=\"udp\",family=\"1\",type=\"A\"} 1",
            "proto=\"tcp\",family=\"2\",type=\"other\"} 1",
            "coredns_dns_responses_total{server=\"dns://:53\",zone=\".\",view=\"\",rcode=\"NXDOMAIN\",plugin=\"kubernetes\"} 1",
            "coredns_dns_request_duration_seconds_count{server=\"dns://:53\",zone=\".\",view=\"\"} 1",
            "coredns_cache_hits_total{server=\"dns://:53\",type=\"denial\",zones=\".\",view=\"\"} 1",
            "coredns_cache_misses_total{server=\"dns://:53\",zones=\".\",view=\"\"} 1",
            "coredns_proxy_request_duration_seconds_count{proxy_name=\"forward\",to=\"9.9.9.9:53\",rcode=\"NOERROR\"} 1",
            "coredns_kubernetes_dns_programming_duration_seconds_count{service_kind=\"headless_with_selector\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
