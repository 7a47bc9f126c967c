//! The proxy as a process of its own, in kube-proxy's place: `node-agent --only=proxy`.

use component::args::ClientArgs;
use component::clock::Clock;
use component::metrics::Registry;
use component::process::until_stopped;
use component::tasks::Tasks;

use super::flags::ProxyArgs;
use super::run::{cleanup, run};
use anyhow::Context as _;

/// Runs a proxy until the process is told to stop, or cleans up and ends.
///
/// # Errors
///
/// When a flag or the file cannot be used, the API server's address is not known, or the kernel lacks something.
pub async fn command(args: &ProxyArgs, client: &ClientArgs, node_name: Option<&str>) -> anyhow::Result<()> {
    let (asked, clock) = (args.read(node_name)?, Clock::start());
    if args.cleanup {
        return Ok(cleanup(&asked.config, &clock)?);
    }
    let mut client = client.clone();
    client.kubeconfig = client.kubeconfig.or(asked.kubeconfig);
    let client = client.client().await.context("cannot find the API server")?;
    let tasks = Tasks::new();
    let proxy = run(asked.config, client, clock, Registry::of_process(), tasks.clone());
    until_stopped(proxy, tasks).await
}
