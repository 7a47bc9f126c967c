//! Puts the server together and starts it.
//!
//! Promise: `Dns::start` returns with the sockets bound, so that a port in use is told at once; questions are answered
//! from then on, those about the cluster with SERVFAIL until its objects are known.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use component::clock::Clock;
use component::informers::Informers;
use component::metrics::Registry;
use component::random::Random;
use component::tasks::Tasks;
use hickory_proto::rr::Name;
use parking_lot::RwLock;

use super::cache::Limits;
use super::follow::Follower;
use super::index::Index;
use super::listen::{self, ListenError};
use super::metrics::Metrics;
use super::resolv_conf::{self, ReadError, ResolvConf};
use super::server::Server;
use super::upstream::Upstream;
use super::zone::{Pods, Zone};

/// What a server is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's domain.
    pub zone: Zone,
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// UDP sockets an address.
    pub sockets: usize,
    /// Who knows the names outside the cluster.
    pub upstreams: Upstreams,
    /// Domains with servers of their own.
    pub stub_domains: Vec<(Name, Vec<SocketAddr>)>,
    /// Walk the search list of pods here.
    pub autopath: bool,
    /// What is kept of upstream's answers.
    pub cache: Limits,
}

/// Who knows the names outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// The name servers of a `resolv.conf`.
    File(PathBuf),
    /// These.
    Servers(Vec<SocketAddr>),
}

impl Config {
    /// CoreDNS's defaults for a domain, on some addresses.
    #[must_use]
    pub fn new(domain: &Name, listen: Vec<SocketAddr>) -> Self {
        Self {
            zone: Zone::new(domain),
            listen,
            sockets: std::thread::available_parallelism().map_or(1, usize::from),
            upstreams: Upstreams::File(PathBuf::from("/etc/resolv.conf")),
            stub_domains: Vec::new(),
            autopath: false,
            cache: Limits::default(),
        }
    }
}

/// What a server is given.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The cluster's objects.
    pub informers: Informers,
    /// The time.
    pub clock: Clock,
    /// Where metrics go.
    pub registry: Registry,
    /// Numbers of questions to upstream.
    pub random: Random,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or the address is not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The file of the upstream servers.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A server that answers.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Where it listens, with the ports that were taken.
    pub addresses: Vec<SocketAddr>,
    index: Arc<RwLock<Index>>,
}

impl Dns {
    /// Starts a server; it ends with `tasks`.
    ///
    /// # Errors
    ///
    /// When it cannot listen, or the file of upstream servers cannot be read.
    pub fn start(config: Config, surroundings: &Surroundings, tasks: &Tasks) -> Result<Self, StartError> {
        let found = match &config.upstreams {
            Upstreams::File(path) => resolv_conf::read(path)?,
            Upstreams::Servers(servers) => ResolvConf { servers: servers.clone(), ..ResolvConf::default() },
        };
        let sockets = config.listen.iter().map(|address| listen::open(*address, config.sockets));
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<SocketAddr> = sockets.iter().map(|sockets| sockets.address).collect();
        let named = addresses.first().map_or_else(String::new, |address| format!("dns://{address}"));
        let metrics = Arc::new(Metrics::new(&surroundings.registry, &named));
        let servers = without_own(found.servers, &addresses);
        let upstream = Upstream::new(
            servers,
            config.stub_domains,
            config.cache,
            surroundings.random.clone(),
            Arc::clone(&metrics),
        );
        let index = Arc::new(RwLock::new(Index::new()));
        let with_pods = config.autopath || config.zone.pods == Pods::Verified;
        let follower = Follower::new(
            &surroundings.informers,
            with_pods,
            Arc::clone(&index),
            surroundings.clock.clone(),
            Arc::clone(&metrics),
        );
        tasks.spawn_until_stopped("dns-index", follower.run());
        let server = Arc::new(Server {
            zone: config.zone,
            index: Arc::clone(&index),
            upstream,
            searches: config.autopath.then_some(found.searches),
            metrics,
        });
        for sockets in sockets {
            listen::serve(sockets, &server, tasks);
        }
        tracing::info!(?addresses, domain = %server.zone.name, "cluster DNS listens");
        Ok(Self { addresses, index })
    }

    /// Whether the cluster's names are known.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.index.read().is_synced()
    }
}

/// A server that asked itself would never end. One on every address is also behind loopback's: what a pod with the
/// resolver of a node that runs its own finds there is no server of the node's.
fn without_own(servers: Vec<SocketAddr>, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_own = |server: &SocketAddr| {
        own.iter().any(|own| {
            let everywhere = own.ip().is_unspecified() && server.ip().to_canonical().is_loopback();
            own == server || (everywhere && own.port() == server.port())
        })
    };
    let (looping, others): (Vec<_>, Vec<_>) = servers.into_iter().partition(is_own);
    for server in looping {
        tracing::warn!(%server, "an upstream name server is this server itself; it is left out");
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_does_not_ask_itself() {
        let read =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let resolvers = ["127.0.0.53:53", "[::1]:53", "127.0.0.1:5353", "10.0.0.2:53"];
        for (own, left) in [
            (vec!["0.0.0.0:53"], vec!["127.0.0.1:5353", "10.0.0.2:53"]),
            (vec!["10.0.0.2:53"], vec!["127.0.0.53:53", "[::1]:53", "127.0.0.1:5353"]),
            (vec!["0.0.0.0:1053"], resolvers.to_vec()),
        ] {
            assert_eq!(without_own(read(&resolvers), &read(&own)), read(&left), "{own:?}");
        }
    }
}
