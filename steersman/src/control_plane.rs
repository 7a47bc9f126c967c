//! The control plane that nodes join: ours in this process, or the one of `--kubeconfig`.

use std::path::Path;

use anyhow::{Context as _, bail};
use apiserver::authn::User;
use base64::Engine as _;
use component::client::from_service;
use component::informers::Informers;
use component::metrics::Registry;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};
use node_agent::proxy::model::Cidr;

use crate::args::Up;
use crate::crew::Crew;
use crate::progress::Progress;

/// A control plane that answers.
pub(crate) struct ControlPlane {
    pub(crate) client: Client,
    /// PEM of the CA that clients of the node's API are checked with.
    pub(crate) ca: String,
    /// What controllers, scheduler and DNS read, if the control plane is ours.
    pub(crate) informers: Option<Informers>,
    /// The API server of this process.
    started: Option<apiserver::Started>,
    /// Held while `/readyz` is not to say ok.
    unready: Option<component::ready::Guard>,
}

/// Ranges of pod addresses that Nodes have.
#[derive(Debug, Default)]
pub(crate) struct PodRanges {
    /// That of the Node of the given name.
    pub(crate) own: Option<Cidr>,
    pub(crate) others: Vec<Cidr>,
}

impl ControlPlane {
    pub(crate) async fn reach(args: &Up, progress: &Progress, crew: &Crew) -> anyhow::Result<Self> {
        if let Some(kubeconfig) = args.kubeconfig.as_deref().filter(|_| args.nodes_only) {
            return Self::join(kubeconfig).await;
        }
        // Before anything starts: what is wrong in it is told at once.
        let scheduling = match &args.scheduler_config {
            Some(path) => scheduler::config::File::read(path)?,
            None => scheduler::config::File::default(),
        };
        let config = scheduler::Config::alone(scheduling.clone())?;
        let flags = apiserver::Args::at(&args.data_dir, args.secure_port);
        let started = apiserver::start(&flags, crew.clock.clone(), &crew.servers).await?;
        let unready = started.apiserver.readiness().wait_for("cluster");
        progress.done(&format!("API server listens on {}", started.url));
        let as_user =
            |name: &str| from_service(started.apiserver.as_user(User::new(name, ["system:authenticated"])));
        let ca = started.pki.ca_certificate().to_owned();
        let controlling = controllers::Config { root_ca: Some(ca.clone()), ..controllers::Config::default() };
        let (policies, clock) = (crew.policies.clone(), crew.clock.clone());
        // One watch a kind for both of them; they write as themselves.
        let reader = from_service(started.apiserver.as_user(User::system_masters("steersman")));
        let informers = Informers::new(reader, policies.clone(), clock.clone());
        let surroundings = controllers::Surroundings {
            client: as_user("system:kube-controller-manager"),
            informers: informers.clone(),
            clock: clock.clone(),
        };
        crew.run("controllers", &policies, controllers::run_in(controlling, surroundings, policies.clone()));
        let (client, registry) = (as_user("system:kube-scheduler"), started.apiserver.registry());
        let surroundings =
            scheduler::Surroundings::measured(client, informers.clone(), clock.clone(), registry);
        let surroundings = surroundings.configured(&scheduling).await?;
        scheduler::explain::show(started.apiserver.pages(), &surroundings.desk, &clock);
        scheduler::metrics::resources::show(started.apiserver.pages(), &informers, &surroundings.desk);
        crew.run("scheduler", &policies, scheduler::run_in(config, surroundings, policies.clone()));
        ["controller-manager", "scheduler"].into_iter().for_each(|name| started.apiserver.runs_here(name));
        progress.done("controllers and scheduler run");
        let client = from_service(started.apiserver.as_user(User::system_masters("steersman")));
        Ok(Self { client, ca, informers: Some(informers), started: Some(started), unready: Some(unready) })
    }

    async fn join(kubeconfig: &Path) -> anyhow::Result<Self> {
        let config = component::client::config(Some(kubeconfig)).await?;
        let Some(root) = config.root_cert.as_ref().and_then(|certificates| certificates.first()) else {
            bail!(
                "{} names no certificate authority: the node cannot tell who may reach it",
                kubeconfig.display()
            );
        };
        let ca = pem(root);
        let client = component::client::from_kubeconfig(Some(kubeconfig)).await?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("the cluster of {}", kubeconfig.display()))?;
        Ok(Self { client, ca, informers: None, started: None, unready: None })
    }

    /// What a node that joins has to know of the others.
    pub(crate) async fn pod_ranges(&self, own: &str) -> anyhow::Result<PodRanges> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await;
        let mut ranges = PodRanges::default();
        for node in nodes.context("cannot read the cluster's Nodes")? {
            let of_node = node.spec.and_then(|spec| spec.pod_cidrs).unwrap_or_default();
            let mut of_node = of_node.iter().filter_map(|range| range.parse().ok());
            if node.metadata.name.as_deref() == Some(own) {
                ranges.own = of_node.next();
            } else {
                ranges.others.extend(of_node);
            }
        }
        Ok(ranges)
    }

    /// Where the metrics of what runs here are shown.
    pub(crate) fn registry(&self) -> Registry {
        self.started.as_ref().map_or_else(Registry::new, |started| started.apiserver.registry())
    }

    /// A client with the identity of a node.
    pub(crate) fn node_client(&self, name: &str) -> Client {
        match &self.started {
            Some(started) => {
                let node = User::new(format!("system:node:{name}"), ["system:nodes", "system:authenticated"]);
                from_service(started.apiserver.as_user(node))
            }
            None => self.client.clone(),
        }
    }

    /// A client with the identity of the service proxy.
    pub(crate) fn proxy_client(&self) -> Client {
        match &self.started {
            Some(started) => {
                let proxy = User::new("system:kube-proxy", ["system:authenticated"]);
                from_service(started.apiserver.as_user(proxy))
            }
            None => self.client.clone(),
        }
    }

    /// From here on the cluster counts as ready.
    pub(crate) fn announce(&mut self, progress: &Progress) {
        self.unready = None;
        match &self.started {
            Some(started) => {
                let next = format!("export KUBECONFIG={} && kubectl get nodes", started.kubeconfig.display());
                progress.ready(&next);
            }
            None => progress.ready("the node has joined; kubectl get nodes shows it"),
        }
    }
}

fn pem(certificate: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}
