//! Where others ask the running scheduler what it knows.
//!
//! The scheduler's task owns all it knows; a question is handed to it and answered between two decisions with a copy
//! (a pointer a node). All computing happens at the asker's. Only the copy that leads answers.

use super::{Decision, Moved};
use crate::cache::Snapshot;
use crate::framework::Profiles;
use crate::pod::PodInfo;
use crate::preempt::Budget;
use crate::queue::Standing;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};

/// Questions that wait for an answer; more are turned away.
const WAITING_LIMIT: usize = 16;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    pub(crate) namespace: String,
    /// `None`: the last decisions, of the namespace or, where that is empty, of all.
    pub(crate) name: Option<String>,
    pub(crate) answer: oneshot::Sender<Look>,
}

/// What the scheduler knows at one moment.
#[derive(Debug, Default)]
pub struct Look {
    /// The pod that was asked for, if the scheduler knows it.
    pub pod: Option<Arc<PodInfo>>,
    /// Where it waits, if it does.
    pub standing: Option<Standing>,
    /// What was decided about it, the oldest first; without a pod the last decisions, the newest first.
    pub decisions: Vec<Decision>,
    /// Its way through the queue, the oldest first.
    pub moves: Vec<Moved>,
    /// The cluster, with our own decisions counted in.
    pub cluster: Snapshot,
    /// The disruption budgets.
    pub budgets: Vec<Budget>,
    /// The profiles of the process.
    pub profiles: Arc<Profiles>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Another copy leads, or the first lists are not here yet.
    #[error("this scheduler does not lead: ask the holder of its lease")]
    NotLeading,
    /// Too many questions, or too much to do.
    #[error("the scheduler is busy: ask again")]
    Busy,
}

/// Where questions are put. Clones share it.
#[derive(Clone, Debug)]
pub struct Desk {
    questions: mpsc::Sender<Asked>,
    /// Held by the loop that answers, as long as it runs.
    answering: Arc<Mutex<mpsc::Receiver<Asked>>>,
}

impl Default for Desk {
    fn default() -> Self {
        let (questions, answering) = mpsc::channel(WAITING_LIMIT);
        Self { questions, answering: Arc::new(Mutex::new(answering)) }
    }
}

impl Desk {
    /// What the scheduler knows of a pod.
    ///
    /// # Errors
    ///
    /// When it does not lead or does not find the time.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Look, Unanswered> {
        self.ask(namespace, Some(name.to_owned())).await
    }

    /// Its last decisions, of one namespace or, where that is empty, of all.
    ///
    /// # Errors
    ///
    /// When it does not lead or does not find the time.
    pub async fn last(&self, namespace: &str) -> Result<Look, Unanswered> {
        self.ask(namespace, None).await
    }

    /// Whether the loop that answers runs, which it does where this copy leads.
    pub fn leads(&self) -> bool {
        self.answering.try_lock().is_err()
    }

    /// The questions, for the loop that answers them.
    pub(crate) async fn sit(&self) -> MutexGuard<'_, mpsc::Receiver<Asked>> {
        self.answering.lock().await
    }

    async fn ask(&self, namespace: &str, name: Option<String>) -> Result<Look, Unanswered> {
        if !self.leads() {
            return Err(Unanswered::NotLeading);
        }
        let (answer, answered) = oneshot::channel();
        let question = Asked { namespace: namespace.to_owned(), name, answer };
        self.questions.try_send(question).map_err(|_| Unanswered::Busy)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(look)) => Ok(look),
            Ok(Err(_)) => Err(Unanswered::NotLeading),
            Err(_) => Err(Unanswered::Busy),
        }
    }
}
