//! The running components: what they share, and how the end of one ends all.

use anyhow::{Context as _, bail};
use component::clock::Clock;
use component::process::told_to_stop;
use component::tasks::Tasks;
use tokio::sync::watch;

/// Stopped in this order: nodes, policies, servers.
pub(crate) struct Crew {
    pub(crate) clock: Clock,
    pub(crate) all: Tasks,
    pub(crate) servers: Tasks,
    pub(crate) policies: Tasks,
    pub(crate) nodes: Tasks,
    fallen: watch::Sender<Option<String>>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let all = Tasks::new();
        let (servers, policies, nodes) = (all.child(), all.child(), all.child());
        Self { clock: Clock::start(), servers, policies, nodes, all, fallen: watch::Sender::new(None) }
    }

    /// Runs a component in its set; an error of it ends the process.
    pub(crate) fn run<E>(
        &self,
        name: &'static str,
        tasks: &Tasks,
        component: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: std::error::Error + Send + Sync + 'static,
    {
        let fallen = self.fallen.clone();
        tasks.spawn(name, async move {
            if let Err(error) = component.await {
                let error = anyhow::Error::new(error);
                fallen.send_replace(Some(format!("{name}: {error:#}")));
            }
        });
    }

    /// Resolves when the process should end: told to, or because a component cannot go on.
    pub(crate) async fn ended(&self) -> anyhow::Result<()> {
        let mut fallen = self.fallen.subscribe();
        tokio::select! {
            signal = told_to_stop() => signal.context("cannot listen for signals"),
            name = self.all.failed() => bail!("{name} panicked; its log lines say why"),
            Ok(error) = fallen.wait_for(Option::is_some) => bail!("{}", error.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) async fn stop(self) {
        self.nodes.stop().await;
        self.policies.stop().await;
        self.servers.stop().await;
        self.all.stop().await;
    }
}
