//! The one who sees pods bound: a watch beside the scheduler's, on a thread of its own.
//!
//! Asks for pods that have a node, so that each shows up once, as ADDED, when it gets one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep};

use crate::cluster::Client;

/// What the thread is called whose CPU counts.
pub(crate) const THREAD: &str = "observer";
/// Pause between two looks at what it saw; when it saw it is known exactly.
const LOOK: Duration = Duration::from_millis(5);

/// A running watch. Its thread ends with the process, or with the next event when nobody listens any more.
#[derive(Debug)]
pub(crate) struct Observer {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    count: usize,
    at: Instant,
    failure: Option<String>,
}

impl Observer {
    /// Watches the pods at this path, where none are yet, on a thread of this name.
    pub(crate) fn start(client: Client, path: &str, thread: &str) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen { count: 0, at: Instant::now(), failure: None }));
        let path = format!("{path}?watch=1&fieldSelector=spec.nodeName!%3D");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own = seen.clone();
        let work = async move {
            if let Err(error) = follow(client, &path, &own).await {
                own.lock().expect("nobody panics with it").failure = Some(format!("{error:#}"));
            }
        };
        std::thread::Builder::new().name(thread.to_owned()).spawn(move || runtime.block_on(work))?;
        Ok(Self { seen })
    }

    /// Waits until this many were seen, or the deadline: how many there are, and when the last came.
    pub(crate) async fn reach(&self, count: usize, deadline: Instant) -> Result<(usize, Instant)> {
        loop {
            let Seen { count: there, at, failure } = self.seen.lock().expect("nobody panics with it").clone();
            if there >= count {
                return Ok((there, at));
            }
            if let Some(failure) = failure {
                bail!("the watch ended: {failure}");
            }
            if Instant::now() >= deadline {
                return Ok((there, deadline));
            }
            sleep(LOOK).await;
        }
    }
}

async fn follow(mut client: Client, path: &str, seen: &Arc<Mutex<Seen>>) -> Result<()> {
    // A server in memory forgets what was long ago; a new watch begins with all that there is.
    while count_until_forgotten(&mut client, path, seen).await? {
        seen.lock().expect("nobody panics with it").count = 0;
    }
    Ok(())
}

/// Counts what a watch shows. True when the server has forgotten where it stood, false when nobody listens.
async fn count_until_forgotten(client: &mut Client, path: &str, seen: &Arc<Mutex<Seen>>) -> Result<bool> {
    let mut body = client.stream(Method::GET, path, Bytes::new()).await?;
    while Arc::strong_count(seen) > 1 {
        let frame = body.frame().await.ok_or_else(|| anyhow!("the server ended it"))??;
        let Ok(data) = frame.into_data() else { continue };
        if data.starts_with(br#"{"type":"ERROR""#) {
            let text = String::from_utf8_lossy(&data);
            if text.contains(r#""reason":"Expired""#) {
                return Ok(true);
            }
            bail!("{text}");
        }
        // One frame may hold several events, a line each.
        let added =
            data.split(|byte| *byte == b'\n').filter(|line| line.starts_with(br#"{"type":"ADDED""#)).count();
        if added > 0 {
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.count += added;
            seen.at = Instant::now();
        }
    }
    Ok(false)
}
