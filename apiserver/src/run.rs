//! The API server as a process: flags, data directory, certificates, listener.
//!
//! Promise: `admin.kubeconfig` (mode 0600) is in the data directory before the line that begins with `ready` is
//! printed, and `/readyz` is ok at that moment.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use component::args::LogArgs;
use component::clock::Clock;
use component::process::until_stopped;
use component::tasks::Tasks;

use crate::config::Config;
use crate::kinds::allocate::Cidr;
use crate::pki::{self, Identity, Pki};
use crate::serve::{TlsSetup, bind, serve_on};
use crate::service::Apiserver;

/// Addresses for Services unless said otherwise.
const DEFAULT_SERVICE_RANGE: &str = "10.96.0.0/16";

/// Flags of the API server; upstream's names where upstream has them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory for the store, the certificates and admin.kubeconfig.
    #[arg(long, default_value = "data")]
    pub data_dir: PathBuf,

    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// Port to serve HTTPS on; 0 takes a free one.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,

    /// Address that other members of the cluster reach the server at. Default: the first of this machine.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,

    /// Addresses for Services.
    #[arg(long, default_value = DEFAULT_SERVICE_RANGE)]
    pub service_cluster_ip_range: Cidr,

    /// Ports for Services on nodes.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: (u16, u16),

    /// More names or addresses for the serving certificate.
    #[arg(long = "tls-san")]
    pub tls_sans: Vec<String>,

    /// How much is logged.
    #[command(flatten)]
    pub log: LogArgs,
}

impl Args {
    /// The defaults, in a data directory and on a port.
    #[must_use]
    pub fn at(data_dir: &Path, secure_port: u16) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            bind_address: Ipv4Addr::UNSPECIFIED.into(),
            secure_port,
            advertise_address: None,
            service_cluster_ip_range: DEFAULT_SERVICE_RANGE.parse().expect("a valid range"),
            service_node_port_range: (30000, 32767),
            tls_sans: Vec::new(),
            log: LogArgs::default(),
        }
    }
}

/// A server with its listener, its CA and its administrator's kubeconfig.
#[derive(Debug)]
pub struct Started {
    /// The service, for clients in this process.
    pub apiserver: Apiserver,
    /// Signs certificates for the other components.
    pub pki: Pki,
    /// Where the server listens.
    pub address: SocketAddr,
    /// The URL in kubeconfigs.
    pub url: String,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
}

/// Runs the API server alone until the process is told to stop.
pub async fn command(args: Args) -> anyhow::Result<()> {
    args.log.init();
    let tasks = Tasks::new();
    until_stopped(alone(args, tasks.clone()), tasks).await
}

async fn alone(args: Args, tasks: Tasks) -> anyhow::Result<()> {
    let started = start(&args, Clock::start(), &tasks).await?;
    let kubeconfig = started.kubeconfig.display();
    // The one line that scripts wait for.
    let mut out = std::io::stdout();
    writeln!(out, "ready: {} (export KUBECONFIG={kubeconfig})", started.url).context("stdout is closed")?;
    out.flush().context("stdout is closed")?;
    tasks.stopping().await;
    Ok(())
}

/// Opens the store, makes the certificates, listens and writes the kubeconfig.
pub async fn start(args: &Args, clock: Clock, tasks: &Tasks) -> anyhow::Result<Started> {
    let data_dir = std::path::absolute(&args.data_dir).context("the data directory has no absolute path")?;
    std::fs::create_dir_all(&data_dir)
        .with_context(|| format!("cannot make the data directory {}", data_dir.display()))?;
    let advertise = args.advertise_address.or_else(own_address).unwrap_or_else(|| Ipv4Addr::LOCALHOST.into());
    let pki = Pki::open(data_dir.join("pki"), &clock)?;
    let wanted = SocketAddr::new(args.bind_address, args.secure_port);
    // Before the store opens: a taken port is told before anything else happens.
    let listener = bind(wanted).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let config = Config {
        data_dir: Some(data_dir.join("store")),
        service_cidr: args.service_cluster_ip_range,
        node_port_range: args.service_node_port_range,
        advertise: Some(SocketAddr::new(advertise, address.port())),
        client_ca: Some(pki.ca_certificate().to_owned()),
        seed: None,
    };
    let (names, addresses) = subjects(args, advertise)?;
    let kubelet_client =
        pki.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters")?;
    let apiserver = Apiserver::open(config, clock, tasks).await?;
    apiserver.use_kubelet_client(&kubelet_client);
    apiserver.use_token_key(&pki.service_account_key()?)?;
    let tls = TlsSetup {
        serving: pki.serving("apiserver", "kube-apiserver", &names, &addresses)?,
        client_ca: pki.ca_certificate().to_owned(),
    };
    serve_on(listener, apiserver.clone(), &tls, tasks)?;
    let host =
        if args.bind_address.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { args.bind_address };
    let url = format!("https://{}", SocketAddr::new(host, address.port()));
    let admin = pki.client("admin", "kubernetes-admin", "system:masters")?;
    let kubeconfig = data_dir.join("admin.kubeconfig");
    write_kubeconfig(&kubeconfig, &url, pki.ca_certificate(), "admin", &admin)?;
    Ok(Started { apiserver, pki, address, url, kubeconfig })
}

/// Writes a kubeconfig with the certificates inside, readable by its owner only.
pub fn write_kubeconfig(
    path: &Path,
    url: &str,
    ca: &str,
    user: &str,
    identity: &Identity,
) -> Result<(), pki::PkiError> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: steersman\n  cluster:\n    server: {url}\n    \
         certificate-authority-data: {}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
         client-key-data: {}\ncontexts:\n- name: steersman\n  context:\n    cluster: steersman\n    user: {user}\n\
         current-context: steersman\n",
        STANDARD.encode(ca),
        STANDARD.encode(&identity.certificate),
        STANDARD.encode(&identity.key)
    );
    pki::write(path, &text, 0o600)
}

/// Names and addresses for the serving certificate.
fn subjects(args: &Args, advertise: IpAddr) -> anyhow::Result<(Vec<String>, Vec<IpAddr>)> {
    let cluster = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: Vec<String> = cluster.iter().map(|name| (*name).to_owned()).collect();
    names.push("localhost".to_owned());
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), advertise];
    addresses.push(args.service_cluster_ip_range.first());
    if !args.bind_address.is_unspecified() {
        addresses.push(args.bind_address);
    }
    for san in &args.tls_sans {
        match san.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(san.clone()),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok((names, addresses))
}

/// The address this machine would use to reach others. Sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let parse = |part: &str| part.trim().parse::<u16>().map_err(|_| format!("{part:?} is not a port"));
    let (first, last) = text.split_once('-').ok_or("expected FIRST-LAST, such as 30000-32767")?;
    let range = (parse(first)?, parse(last)?);
    if range.0 > range.1 { Err("the first port is above the last".to_owned()) } else { Ok(range) }
}
