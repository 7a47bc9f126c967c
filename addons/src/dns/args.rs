//! Flags of the DNS server, and the server as a process of its own.
//!
//! Promise: one wrong flag gives one sentence. Metrics, health and readiness are served where CoreDNS serves them, so
//! that its probes and dashboards stay as they are.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use component::args::{ClientArgs, LogArgs, duration};
use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::process::until_stopped;
use component::random::Random;
use component::ready::Readiness;
use component::serve::{Endpoints, Health, Pages, serve_pages};
use component::tasks::Tasks;
use hickory_proto::rr::Name;
use http::StatusCode;
use serde_json::json;

use super::cache::Limits;
use super::resolv_conf::PORT;
use super::run::{Config, Dns, Surroundings, Upstreams};
use super::zone::{DEFAULT_TTL, Pods};

/// Longest TTL that CoreDNS takes, in seconds.
const LONGEST_TTL: i64 = 3600;

/// The cluster's DNS server
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,

    #[command(flatten)]
    pub log: LogArgs,

    /// Domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", value_parser = domain)]
    pub cluster_domain: Name,

    /// Address and port to answer on, over UDP and TCP; may be given several times
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',', default_value = "0.0.0.0:53")]
    pub listen: Vec<SocketAddr>,

    /// UDP sockets for each address; as many as processors if absent
    #[arg(long, value_name = "COUNT")]
    pub sockets: Option<usize>,

    /// Name servers for names outside the cluster: IP or IP:PORT,...; those of --resolv-conf if absent
    #[arg(long = "upstream", value_name = "SERVERS", value_delimiter = ',', value_parser = server)]
    pub upstreams: Vec<SocketAddr>,

    /// File that names the upstream servers and, for --autopath, the node's search domains
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,

    /// Domain with name servers of its own: DOMAIN=IP[:PORT]+IP[:PORT]...; may be given several times
    #[arg(long = "stub-domain", value_name = "DOMAIN=SERVERS", value_parser = stub_domain)]
    pub stub_domains: Vec<(Name, Vec<SocketAddr>)>,

    /// Seconds that answers about the cluster may be kept
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL,
        value_parser = clap::value_parser!(u32).range(0..=LONGEST_TTL))]
    pub ttl: u32,

    /// What names such as 10-0-0-1.default.pod.cluster.local mean
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    pub pods: Pods,

    /// Complete the search lists of pods here, so that they ask once for a name outside the cluster
    #[arg(long)]
    pub autopath: bool,

    /// Answers of upstream that are kept, and as many denials
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().entries)]
    pub cache_entries: usize,

    /// How long answers of upstream are kept at most
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub cache_ttl: Duration,

    /// How long denials of upstream are kept at most
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub cache_denial_ttl: Duration,

    /// Address of the servers for health, readiness and metrics
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub metrics_address: IpAddr,

    /// Port of /metrics, /livez and /readyz; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = 9153)]
    pub metrics_port: u16,

    /// Port of /health, as CoreDNS has it; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub health_port: u16,

    /// Port of /ready, as CoreDNS has it; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = 8181)]
    pub ready_port: u16,
}

impl Args {
    /// What these flags ask for.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config::new(&self.cluster_domain, self.listen.clone());
        config.zone.ttl = self.ttl;
        config.zone.pods = self.pods;
        config.sockets = self.sockets.unwrap_or(config.sockets);
        config.upstreams = if self.upstreams.is_empty() {
            Upstreams::File(self.resolv_conf.clone())
        } else {
            Upstreams::Servers(self.upstreams.clone())
        };
        config.stub_domains.clone_from(&self.stub_domains);
        config.autopath = self.autopath;
        config.cache =
            Limits { entries: self.cache_entries, answer: self.cache_ttl, denial: self.cache_denial_ttl };
        config
    }
}

/// Answers until the process is told to stop.
///
/// # Errors
///
/// When it cannot start, or a task panics.
pub async fn command(args: Args) -> anyhow::Result<()> {
    args.log.init();
    let (clock, tasks, registry) = (Clock::start(), Tasks::new(), Registry::of_process());
    let client = args.client.client().await.context("cannot find the API server")?;
    let informers = Informers::new(client, tasks.clone(), clock.clone());
    let surroundings =
        Surroundings { informers, clock, registry: registry.clone(), random: Random::from_entropy() };
    let dns = Dns::start(args.config(), &surroundings, &tasks)?;
    let health = Health::new(Readiness::new());
    let pages = corefile_pages(&dns);
    health.ready("kubernetes", move || {
        if dns.is_synced() { Ok(()) } else { Err("the cluster's objects are not listed yet".to_owned()) }
    });
    let endpoints = Endpoints::new(health, registry).with(pages);
    let ports = BTreeSet::from([args.metrics_port, args.health_port, args.ready_port]);
    for port in ports.into_iter().filter(|port| *port != 0) {
        let address = SocketAddr::new(args.metrics_address, port);
        let address = serve_pages(address, None, endpoints.clone(), &tasks).await?;
        tracing::info!(%address, "serving health and metrics");
    }
    let stopping = tasks.stopping();
    until_stopped(
        async {
            stopping.await;
            Ok::<(), anyhow::Error>(())
        },
        tasks,
    )
    .await
}

/// CoreDNS's plugins health and ready: as long as it answers at all, and with the names of the plugins that are not.
fn corefile_pages(dns: &Dns) -> Pages {
    let (pages, dns) = (Pages::default(), dns.clone());
    pages.add("/health", |_| async { (StatusCode::OK, json!("OK")) });
    pages.add("/ready", move |_| {
        let (status, text) = match dns.is_synced() {
            true => (StatusCode::OK, "OK"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "kubernetes"),
        };
        async move { (status, json!(text)) }
    });
    pages
}

fn domain(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| error.to_string())?.to_lowercase();
    name.set_fqdn(true);
    if name.is_root() { Err("a domain has a name".to_owned()) } else { Ok(name) }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
    address.or_else(|_| text.parse()).map_err(|_| format!("{text:?} is not an IP or IP:PORT"))
}

fn stub_domain(text: &str) -> Result<(Name, Vec<SocketAddr>), String> {
    let (name, servers) = text.split_once('=').ok_or_else(|| format!("{text:?} is not DOMAIN=SERVERS"))?;
    Ok((domain(name)?, servers.split('+').map(server).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn config(flags: &[&str]) -> Result<Config, String> {
        let cli = Cli::try_parse_from([&["dns"], flags].concat()).map_err(|error| error.to_string())?;
        Ok(cli.args.config())
    }

    #[test]
    fn flags_become_the_configuration() {
        let default = config(&[]).unwrap();
        assert_eq!(default.zone.name.to_string(), "cluster.local.");
        assert_eq!(default.listen, ["0.0.0.0:53".parse().unwrap()]);
        assert_eq!(default.upstreams, Upstreams::File("/etc/resolv.conf".into()));
        assert_eq!((default.zone.ttl, default.zone.pods, default.autopath), (5, Pods::Insecure, false));
        assert_eq!(default.cache, Limits::default());

        let flags = [
            "--cluster-domain=Lab.Example.",
            "--listen=127.0.0.1:1053,[::1]:1053",
            "--upstream=9.9.9.9,[fd00::1]:5353",
            "--stub-domain=corp=10.0.0.1+10.0.0.2:5353",
            "--ttl=30",
            "--pods=verified",
            "--autopath",
            "--cache-ttl=30s",
        ];
        let given = config(&flags).unwrap();
        assert_eq!(given.zone.name.to_string(), "lab.example.");
        assert_eq!(given.listen.len(), 2);
        let servers = ["9.9.9.9:53", "[fd00::1]:5353"].map(|server| server.parse().unwrap());
        assert_eq!(given.upstreams, Upstreams::Servers(servers.to_vec()));
        assert_eq!(given.stub_domains[0].0.to_string(), "corp.");
        assert_eq!(given.stub_domains[0].1[1], "10.0.0.2:5353".parse().unwrap());
        assert_eq!((given.zone.ttl, given.zone.pods, given.autopath), (30, Pods::Verified, true));
        assert_eq!(given.cache.answer, Duration::from_secs(30));
    }

    #[test]
    fn wrong_flags_are_told() {
        for (flag, told) in [
            ("--upstream=x", "not an IP"),
            ("--stub-domain=corp", "not DOMAIN=SERVERS"),
            ("--ttl=9999", "9999"),
            ("--cluster-domain=.", "a domain has a name"),
        ] {
            assert!(config(&[flag]).unwrap_err().contains(told), "{flag}");
        }
    }
}
