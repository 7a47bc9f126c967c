//! Cluster DNS in the all-in-one: on the bridge of the pods, known to them as the Service `kube-system/kube-dns`.

use std::net::{IpAddr, SocketAddr};

use addons::dns::{Config, Dns, StartError, Surroundings, Zone, address, publish};
use anyhow::Context as _;
use component::random::Random;

use crate::args::Up;
use crate::control_plane::ControlPlane;
use crate::crew::Crew;
use crate::progress::Progress;

/// The port that resolvers ask at.
const PORT: u16 = 53;

/// Starts the DNS server of a control plane that is ours; answers which name server pods are told.
pub(crate) async fn start(
    args: &Up,
    bridge: Option<IpAddr>,
    cluster: &ControlPlane,
    progress: &Progress,
    crew: &Crew,
) -> anyhow::Result<Option<IpAddr>> {
    let client = &cluster.client;
    let Some(informers) = cluster.informers.clone() else {
        return address(client).await.context("cannot read the Service of the cluster's DNS");
    };
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
    Ok(Some(if at.port() == PORT { at.ip() } else { service }))
}
