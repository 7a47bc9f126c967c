//! Container logs, from the files that the runtime writes.
//!
//! Promise: a followed log ends soon after its container; another ends where the file ended. Reads files below the
//! logs directory only.

mod entries;

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use component::tasks::Tasks;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use self::entries::{Entry, Filter, Wanted};
use super::query::Query;
use super::{Body, text};
use crate::pods::{AssignedPod, Pods};
use crate::runtime::{Container, RunState, Runtime};

/// Bytes read at once.
const CHUNK: usize = 32 << 10;

/// Pause between looks at a followed file.
const FOLLOW_PERIOD: Duration = Duration::from_millis(150);

/// Looks at a followed file between two looks at its container.
const LOOKS_A_STATE: u32 = 7;

pub(super) async fn answer(
    pods: &Pods,
    pod: &AssignedPod,
    name: &str,
    query: &Query,
    tasks: &Tasks,
) -> Response<Body> {
    let wanted = match Wanted::parse(query, pods.node().clock.now()) {
        Ok(wanted) => wanted,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let runtime = Arc::clone(&pods.node().runtime);
    if !runtime.is_real() {
        let why = "this node is simulated: its containers write no logs";
        return text(StatusCode::NOT_IMPLEMENTED, why);
    }
    let (container, path) = match find(pods, pod, name, query.is("previous")).await {
        Ok(found) => found,
        Err((status, why)) => return text(status, why),
    };
    let file = match open(&path, &wanted).await {
        Ok(file) => file,
        Err(error) => {
            let why = format!("failed to open log file \"{}\": {error}", path.display());
            return text(StatusCode::INTERNAL_SERVER_ERROR, why);
        }
    };
    let (sender, receiver) = mpsc::channel(16);
    tasks.spawn_until_stopped("log-stream", copy(file, wanted, runtime, container, sender));
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver).map(|bytes| Ok(Frame::data(bytes)));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let kind = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// The last lines of a log as plain text, for termination messages.
pub(crate) fn tail(path: &Path, lines: usize, bytes: usize) -> String {
    let Ok(log) = std::fs::read(path) else { return String::new() };
    // Entries are longer than their texts, so twice the bytes are enough for what is kept.
    let log = &log[log.len().saturating_sub(bytes * 4)..];
    let entries: Vec<Entry<'_>> =
        log.split_inclusive(|byte| *byte == b'\n').filter_map(Entry::parse).collect();
    let mut out = Vec::new();
    for entry in &entries[entries.len().saturating_sub(lines)..] {
        out.extend_from_slice(entry.text);
        if entry.complete {
            out.push(b'\n');
        }
    }
    String::from_utf8_lossy(&out[out.len().saturating_sub(bytes)..]).into_owned()
}

/// The container whose log is asked for, and its file.
async fn find(
    pods: &Pods,
    record: &AssignedPod,
    name: &str,
    previous: bool,
) -> Result<(Container, PathBuf), (StatusCode, String)> {
    let broken = |error: &dyn std::fmt::Display| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let pod = record.decode().map_err(|error| broken(&error))?;
    let pod_name = record.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.unwrap_or_default();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| &container.name);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.name);
    if !all.chain(ephemeral).any(|known| known == name) {
        return Err((StatusCode::BAD_REQUEST, format!("container {name} is not valid for pod {pod_name}")));
    }
    let runtime = &pods.node().runtime;
    let listing = runtime.list(Some(record.uid())).await.map_err(|error| broken(&error))?;
    let of_name = |container: &Container| container.name == name && container.state != RunState::Created;
    let mut found = listing.containers.into_iter().filter(of_name);
    let container = if previous {
        let dead = found.nth(1);
        dead.ok_or_else(|| {
            let why = format!("previous terminated container \"{name}\" in pod \"{pod_name}\" not found");
            (StatusCode::BAD_REQUEST, why)
        })?
    } else {
        let statuses = pod.status.unwrap_or_default();
        let lists = [statuses.container_statuses, statuses.init_container_statuses];
        let status = lists.into_iter().flatten().flatten().find(|status| status.name == name);
        let reason = status.and_then(|status| status.state?.waiting?.reason);
        found.next().ok_or_else(|| {
            let reason = reason.unwrap_or_else(|| "ContainerCreating".to_owned());
            let why = format!("container \"{name}\" in pod \"{pod_name}\" is waiting to start: {reason}");
            (StatusCode::BAD_REQUEST, why)
        })?
    };
    let detail = runtime.container_detail(&container.id).await.map_err(|error| broken(&error))?;
    Ok((container, PathBuf::from(detail.log_path)))
}

/// Opens the file at the place where the wanted part begins.
async fn open(path: &Path, wanted: &Wanted) -> std::io::Result<File> {
    let mut file = File::open(path).await?;
    if let Some(lines) = wanted.tail_lines {
        let start = start_of_tail(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    Ok(file)
}

/// Where the last `lines` lines begin: read backwards.
async fn start_of_tail(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let size = file.metadata().await?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut seen = 0;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let mut chunk = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut chunk).await?;
        for (at, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let place = start + at as u64 + 1;
            // The newline at the very end closes the last line.
            if place < size {
                seen += 1;
                if seen == lines {
                    return Ok(place);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Reads to the end, and beyond while the log is followed and its container runs.
async fn copy(
    mut file: File,
    wanted: Wanted,
    runtime: Arc<dyn Runtime>,
    container: Container,
    sender: mpsc::Sender<Bytes>,
) {
    let mut filter = Filter::new(wanted.clone());
    let mut ended = container.state != RunState::Running;
    let mut looks = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk).await.unwrap_or(0);
        if count > 0 {
            let out = filter.take(&chunk[..count]);
            if !out.is_empty() && sender.send(out.into()).await.is_err() || filter.is_done() {
                return;
            }
            continue;
        }
        if !wanted.follow || ended {
            return;
        }
        looks += 1;
        if looks % LOOKS_A_STATE == 0 {
            let listing = runtime.list(Some(&container.pod_uid)).await.unwrap_or_default();
            let now = listing.containers.iter().find(|now| now.id == container.id);
            // One more round of reading follows, for what was written last.
            ended = now.is_none_or(|now| now.state != RunState::Running);
            if ended {
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_PERIOD) => {}
            () = sender.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tail_begins_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long: String = (0..5000).map(|n| format!("2026-01-01T00:00:00Z stdout F {n}\n")).collect();
        std::fs::write(&path, &long).unwrap();
        let mut file = File::open(&path).await.unwrap();
        for (lines, first) in [(1, 4999), (4000, 1000), (9000, 0)] {
            let start = start_of_tail(&mut file, lines).await.unwrap() as usize;
            assert!(
                long[start..].starts_with(&format!("2026-01-01T00:00:00Z stdout F {first}\n")),
                "{lines}"
            );
        }
        assert_eq!(start_of_tail(&mut file, 0).await.unwrap() as usize, long.len());
        assert_eq!(tail(&path, 2, 100), "4998\n4999\n");
    }
}
