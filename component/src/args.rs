//! Flags that every component has, under upstream's names.
//!
//! Promise: structs to be flattened into a component's own; they parse and hold, and turn into what the rest of
//! this crate takes. Durations are written as Go does: `15s`, `1m30s`, `500ms`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use kube::Client;

use crate::leader::LeaderConfig;
use crate::serve::{ListenError, Tls};
use crate::{client, telemetry};

mod access;

pub use access::{AccessArgs, AccessError};

/// Where the API server is.
#[derive(Args, Clone, Debug, Default)]
pub struct ClientArgs {
    /// Kubeconfig file with the address of the API server and how to authenticate
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Address of the API server, in the place of the one in the kubeconfig
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
}

impl ClientArgs {
    /// The client these flags ask for.
    ///
    /// # Errors
    ///
    /// When the configuration is missing or wrong.
    pub async fn client(&self) -> Result<Client, client::Error> {
        client::from_flags(self.kubeconfig.as_deref(), self.master.as_deref()).await
    }
}

/// Whether and how several copies of the component take turns.
#[derive(Args, Clone, Debug, Default)]
pub struct LeaderArgs {
    /// Work only while holding the lease, so that of several copies one works [default: true]
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: Option<bool>,

    /// How long others wait for a leader that no longer renews [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_elect_lease_duration: Option<Duration>,

    /// How long a leader tries to renew before it gives up; less than the lease duration [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_elect_renew_deadline: Option<Duration>,

    /// Pause between attempts to acquire or renew [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub leader_elect_retry_period: Option<Duration>,

    /// Kind of the lock: leases, the only one there is
    #[arg(long, value_name = "KIND", value_parser = ["leases"])]
    pub leader_elect_resource_lock: Option<String>,

    /// Name of the lease; the component's if absent
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,

    /// Namespace of the lease [default: kube-system]
    #[arg(long, value_name = "NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
}

impl LeaderArgs {
    /// The election these flags ask for; `None` if it is switched off.
    #[must_use]
    pub fn config(&self, default_name: &str, identity: String) -> Option<LeaderConfig> {
        let usual = LeaderConfig::new(default_name, "kube-system", identity);
        self.leader_elect.unwrap_or(true).then(|| LeaderConfig {
            name: self.leader_elect_resource_name.clone().unwrap_or(usual.name),
            namespace: self.leader_elect_resource_namespace.clone().unwrap_or(usual.namespace),
            identity: usual.identity,
            lease_duration: self.leader_elect_lease_duration.unwrap_or(usual.lease_duration),
            renew_deadline: self.leader_elect_renew_deadline.unwrap_or(usual.renew_deadline),
            retry_period: self.leader_elect_retry_period.unwrap_or(usual.retry_period),
        })
    }
}

/// Where health and metrics are served.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind_address: IpAddr,

    /// Port of the HTTPS server for health and metrics; the component's usual one if absent, 0 for no server
    #[arg(long, value_name = "PORT")]
    pub secure_port: Option<u16>,

    /// Certificate of the HTTPS server; self-signed if absent
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
}

impl ServeArgs {
    /// Where to listen; `None` if the port is 0.
    #[must_use]
    pub fn address(&self, default_port: u16) -> Option<SocketAddr> {
        let port = self.secure_port.unwrap_or(default_port);
        (port != 0).then(|| SocketAddr::new(self.bind_address, port))
    }

    /// The certificate to show.
    ///
    /// # Errors
    ///
    /// When the files cannot be used.
    pub fn tls(&self) -> Result<Tls, ListenError> {
        match (&self.tls_cert_file, &self.tls_private_key_file) {
            (Some(certificate), Some(key)) => Tls::from_files(certificate, key),
            _ => Tls::self_signed(&["localhost", "127.0.0.1"]),
        }
    }
}

/// How much is logged.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct LogArgs {
    /// Verbosity: 2 for operators, 4 for developers, 8 for everything
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 2)]
    pub verbosity: u8,
}

impl LogArgs {
    /// Starts logging.
    pub fn init(self) {
        telemetry::init(self.verbosity);
    }
}

/// The name a process goes by in a lease: host name and a random part, as upstream.
#[must_use]
pub fn identity(random: &crate::random::Random) -> String {
    let host = host_name();
    let host = if host.is_empty() { "unknown" } else { &host };
    format!("{host}_{}", random.uuid())
}

/// The machine's host name; empty where the system does not say.
#[must_use]
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// A duration as Go writes it: decimal numbers, each with a unit.
///
/// # Errors
///
/// A text for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}: write it as 15s, 1m30s or 500ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        rest = tail;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct All {
        #[command(flatten)]
        client: ClientArgs,
        #[command(flatten)]
        leader: LeaderArgs,
        #[command(flatten)]
        serve: ServeArgs,
        #[command(flatten)]
        log: LogArgs,
    }

    #[test]
    fn upstreams_flags() {
        let all = All::parse_from(["x"]);
        assert_eq!(all.leader.config("sched", "me".to_owned()).unwrap().name, "sched");
        assert_eq!(all.serve.address(10259).unwrap().to_string(), "0.0.0.0:10259");
        assert_eq!(all.log.verbosity, 2);
        assert!(all.client.kubeconfig.is_none());

        let flags = [
            "x",
            "--leader-elect=false",
            "--leader-elect-lease-duration=1m30s",
            "--secure-port",
            "0",
            "-v4",
            "--kubeconfig=/k",
        ];
        let all = All::parse_from(flags);
        assert!(all.leader.config("sched", "me".to_owned()).is_none());
        assert_eq!(all.leader.leader_elect_lease_duration, Some(Duration::from_secs(90)));
        assert!(all.serve.address(10259).is_none());
        assert_eq!(all.log.verbosity, 4);
        assert!(All::try_parse_from(["x", "--tls-cert-file=a"]).is_err());
    }

    #[test]
    fn durations_as_in_go() {
        let table = [("15s", 15_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("500ms", 500), ("0", 0)];
        for (text, milliseconds) in table {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "15", "s", "1x", "-1s", "1..2s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
