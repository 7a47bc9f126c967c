//! Cluster DNS in the all-in-one: on the bridge of the pods, known to them as the Service `kube-system/kube-dns`.

use std::net::{IpAddr, SocketAddr};

use addons::dns::{Config, Dns, StartError, Surroundings, Zone, address, publish, withdraw};
use anyhow::{Context as _, bail};
use component::random::Random;

use crate::args::Up;
use crate::control_plane::ControlPlane;
use crate::crew::Crew;
use crate::progress::Progress;

/// The port that resolvers ask at.
const PORT: u16 = 53;

/// Where the cluster's DNS server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterDns {
    /// The Service: for pods of nodes where Services are programmed.
    service: IpAddr,
    /// The server itself, if it is ours and has the port that resolvers ask at.
    server: Option<IpAddr>,
}

impl ClusterDns {
    /// The name server that pods are told.
    pub(crate) fn for_pods(self, services_work: bool) -> IpAddr {
        self.server.filter(|_| !services_work).unwrap_or(self.service)
    }
}

/// Refuses an address that no pod could reach, before anything starts.
pub(crate) fn check(args: &Up) -> anyhow::Result<()> {
    let Some(listen) = args.dns_listen else { return Ok(()) };
    if listen.ip().is_loopback() || listen.ip().is_unspecified() {
        bail!(
            "--dns-listen {listen}: pods are told this address and the cluster lists it as an endpoint, so it has to be \
             one of this machine's addresses that pods reach, neither loopback nor every address"
        );
    }
    Ok(())
}

/// Starts the DNS server of a control plane that is ours.
pub(crate) async fn start(
    args: &Up,
    bridge: Option<IpAddr>,
    cluster: &ControlPlane,
    progress: &Progress,
    crew: &Crew,
) -> anyhow::Result<Option<ClusterDns>> {
    let client = &cluster.client;
    let Some(informers) = cluster.informers.clone() else {
        let service = address(client).await.context("cannot read the Service of the cluster's DNS")?;
        return Ok(service.map(|service| ClusterDns { service, server: None }));
    };
    if args.disable_dns {
        let service = withdraw(client).await.context("cannot leave the cluster's DNS to somebody else")?;
        return Ok(Some(ClusterDns { service, server: None }));
    }
    let Some(listen) = args.dns_listen.or_else(|| bridge.map(|bridge| SocketAddr::new(bridge, PORT))) else {
        return Ok(None);
    };
    let surroundings = Surroundings {
        informers,
        clock: crew.clock.clone(),
        registry: cluster.registry(),
        random: Random::from_entropy(),
    };
    let open = |listen: SocketAddr| {
        // Pods are watched for the controllers already, so that completing their searches costs nothing more.
        let config = Config { autopath: true, ..Config::new(&Zone::default().name, vec![listen]) };
        Dns::start(config, &surroundings, &crew.policies)
    };
    let dns = match open(listen) {
        // Somebody else's server has the port on every address. The Service leads to any other.
        Err(StartError::Listen(_)) if args.dns_listen.is_none() => open(SocketAddr::new(listen.ip(), 0))?,
        started => started?,
    };
    let at = dns.addresses[0];
    let service = publish(client, at).await.context("cannot tell the cluster where its DNS server is")?;
    progress.done(&format!("cluster DNS listens on {at}"));
    Ok(Some(ClusterDns { service, server: Some(at.ip()).filter(|_| at.port() == PORT) }))
}
