//! The flags of the scheduler, under upstream's names, and the configuration that they and the file ask for.
//!
//! Promise: a flag given over a file's field wins, as upstream's do for the election; flags of upstream that have nothing
//! to act on here are taken with a warning that says so (`without_effect`), so that manifests start unchanged.

mod without_effect;

use crate::config::{Config, ConfigError, File, GoDuration};
use crate::plugins::NodeDeclaredFeatures;
use crate::pod::DEFAULT_SCHEDULER;
use component::args::{AccessArgs, ClientArgs, LeaderArgs, LogArgs, ServeArgs, duration, identity};
use component::random::Random;
use jiff::SignedDuration;
use std::path::PathBuf;
use std::time::Duration;
use without_effect::WithoutEffect;

/// The lease of a scheduler in the place of kube-scheduler. One beside it has a lease of its name.
const DEFAULT_LEASE: &str = "kube-scheduler";
/// Stands for all features that are beta.
const ALL_BETA: &str = "AllBeta";
/// The Kubernetes version that is spoken.
const VERSION: &str = "1.36";

/// Flags of the scheduler.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1); flags for the same settings win over it
    #[arg(long, value_name = "FILE", conflicts_with = "scheduler_names")]
    pub config: Option<PathBuf>,

    /// Write the configuration with all defaults to this file, and exit
    #[arg(long, value_name = "FILE")]
    pub write_config_to: Option<PathBuf>,

    /// Where the API server is.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Which of several copies works.
    #[command(flatten)]
    pub leader: LeaderArgs,

    /// Where health and metrics are served.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// Who may see them.
    #[command(flatten)]
    pub access: AccessArgs,

    /// How much is logged.
    #[command(flatten)]
    pub log: LogArgs,

    /// Schedule the pods that name this scheduler; may be given several times [default: default-scheduler]
    #[arg(long = "scheduler-name", value_name = "NAME")]
    pub scheduler_names: Vec<String>,

    /// Try a pod again after this long even if nothing changed that may help it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m0s")]
    pub pod_max_in_unschedulable_pods_duration: Duration,

    /// Requests a second to the API server, at most; 0 for no limit
    #[arg(long, value_name = "NUMBER")]
    pub kube_api_qps: Option<f64>,

    /// Requests at once above that rate
    #[arg(long, value_name = "NUMBER")]
    pub kube_api_burst: Option<i32>,

    /// Feature gates, as NAME=true|false,...; NodeDeclaredFeatures can be switched, others are named in a warning
    #[arg(long, value_name = "GATES", value_parser = gates)]
    pub feature_gates: Vec<Gates>,

    /// The Kubernetes version to behave like; 1.36 is the only one
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub emulated_version: Option<String>,

    /// Make the choice between equally good nodes repeatable
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Flags of upstream that have nothing to act on.
    #[command(flatten)]
    pub without_effect: WithoutEffect,
}

/// `NAME=true|false` pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates(Vec<(String, bool)>);

fn gates(text: &str) -> Result<Gates, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("missing bool value for {pair}"))?;
        let value = match value.trim() {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => true,
            "false" | "False" | "FALSE" | "f" | "F" | "0" => false,
            other => return Err(format!("invalid value of {name}={other}: write true or false")),
        };
        Ok((name.trim().to_owned(), value))
    };
    pairs.map(pair).collect::<Result<_, _>>().map(Gates)
}

fn version(text: &str) -> Result<String, String> {
    let version = text.strip_prefix("kube=").unwrap_or(text).trim_start_matches('v');
    if version == VERSION || version.starts_with(&format!("{VERSION}.")) {
        return Ok(version.to_owned());
    }
    Err(format!("only {VERSION} can be emulated"))
}

impl Args {
    /// The configuration that file and flags ask for, and the file they amount to.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or what is asked for is not valid.
    pub fn read(&self, random: &Random) -> Result<(Config, File), ConfigError> {
        let mut file = match &self.config {
            Some(path) => File::read(path)?,
            None => self.plain_file()?,
        };
        self.lay_over(&mut file);
        if !self.has(NodeDeclaredFeatures::NAME) {
            file = file.without_filter(NodeDeclaredFeatures::NAME);
        }
        let mut config = file.clone().config(&identity(random))?;
        config.seed = self.seed;
        config.backoff.parked = SignedDuration::try_from(self.pod_max_in_unschedulable_pods_duration)
            .unwrap_or(SignedDuration::MAX);
        Ok((config, file))
    }

    /// The default profile for each scheduler name.
    fn plain_file(&self) -> Result<File, ConfigError> {
        let mut file = File::for_names(&self.scheduler_names)?;
        let name = self.scheduler_names.first().filter(|name| *name != DEFAULT_SCHEDULER);
        file.leader_election.resource_name = Some(name.map_or(DEFAULT_LEASE, String::as_str).to_owned());
        Ok(file)
    }

    fn lay_over(&self, file: &mut File) {
        let (flags, election) = (&self.leader, &mut file.leader_election);
        let time = |time: Option<Duration>| time.map(GoDuration);
        or(&mut election.leader_elect, flags.leader_elect);
        or(&mut election.lease_duration, time(flags.leader_elect_lease_duration));
        or(&mut election.renew_deadline, time(flags.leader_elect_renew_deadline));
        or(&mut election.retry_period, time(flags.leader_elect_retry_period));
        or(&mut election.resource_lock, flags.leader_elect_resource_lock.clone());
        or(&mut election.resource_name, flags.leader_elect_resource_name.clone());
        or(&mut election.resource_namespace, flags.leader_elect_resource_namespace.clone());
        let connection = &mut file.client_connection;
        if self.config.is_none() {
            or(&mut connection.qps, self.kube_api_qps);
            or(&mut connection.burst, self.kube_api_burst);
        }
    }

    /// Whether a feature that is beta is on: what is said of it counts, the last time it is said, or else what is said of all.
    fn has(&self, feature: &str) -> bool {
        let said = |name: &str| {
            let gates = self.feature_gates.iter().flat_map(|gates| &gates.0);
            gates.filter(|(gate, _)| gate == name).map(|(_, value)| *value).next_back()
        };
        said(feature).or_else(|| said(ALL_BETA)).unwrap_or(true)
    }

    /// The kubeconfig: the file's, or the flag's.
    #[must_use]
    pub fn client(&self, file: &File) -> ClientArgs {
        let named = file.client_connection.kubeconfig.as_deref().filter(|path| !path.is_empty());
        let kubeconfig = named.map(PathBuf::from).or_else(|| self.client.kubeconfig.clone());
        ClientArgs { kubeconfig, master: self.client.master.clone() }
    }

    /// Tells about each flag and setting that was given and does nothing.
    pub fn warn(&self, file: &File) {
        self.without_effect.warn();
        let gates = self.feature_gates.iter().flat_map(|gates| &gates.0);
        for (gate, value) in gates.filter(|(gate, _)| gate != NodeDeclaredFeatures::NAME) {
            tracing::warn!(
                gate,
                value,
                "feature gate has no effect: only NodeDeclaredFeatures can be switched"
            );
        }
        if self.config.is_some() && (self.kube_api_qps.is_some() || self.kube_api_burst.is_some()) {
            tracing::warn!("--kube-api-qps and --kube-api-burst are ignored if a config file is given");
        }
        if file.enable_profiling == Some(true) || file.enable_contention_profiling == Some(true) {
            tracing::warn!("profiling has no effect: there is no /debug/pprof");
        }
        if file.delay_cache_until_active {
            tracing::warn!("delayCacheUntilActive has no effect: the caches are always filled");
        }
    }
}

fn or<T>(setting: &mut Option<T>, flag: Option<T>) {
    if flag.is_some() {
        *setting = flag;
    }
}

#[cfg(test)]
mod tests;
