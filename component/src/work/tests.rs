//! The runner over a small server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{Action, Failure, Queue, Writes, run, run_keys};
use crate::clock::Clock;
use crate::fake::Fake;
use crate::informers::{Informer, Informers, Key};
use crate::tasks::Tasks;

#[derive(Debug, thiserror::Error)]
#[error("broken")]
struct Broken {
    terminal: bool,
}

impl Failure for Broken {
    fn terminal(&self) -> bool {
        self.terminal
    }
}

/// Runs `pass` on the keys of a new queue, five at a time.
fn start<F, Fut>(pass: F) -> (Queue<u32>, Tasks)
where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Broken>> + Send + 'static,
{
    let (queue, tasks) = (Queue::new("test"), Tasks::new());
    let run = run_keys("test", queue.clone(), Arc::new(()), 5, move |key, _| pass(key), tasks.clone());
    tasks.spawn("test", run);
    (queue, tasks)
}

#[tokio::test(start_paused = true)]
async fn passes_are_bounded_serial_and_in_order() {
    let log = Arc::new(Mutex::new((Vec::new(), 0, 0)));
    let (queue, tasks) = start({
        let log = Arc::clone(&log);
        move |key| {
            let log = Arc::clone(&log);
            async move {
                {
                    let (order, running, most) = &mut *log.lock();
                    order.push(key);
                    *running += 1;
                    *most = (*most).max(*running);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                log.lock().1 -= 1;
                Ok(Action::await_change())
            }
        }
    });
    (0..12).for_each(|key| queue.add(key));
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Asked for during its pass: once more, afterwards.
    queue.add(0);
    queue.add(0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (order, running, most) = log.lock().clone();
    assert_eq!(order, (0..12).chain([0]).collect::<Vec<_>>());
    assert_eq!((running, most), (0, 5));
    assert!(tasks.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn failures_come_back_and_terminal_ones_do_not() {
    let passes = Arc::new(Mutex::new(Vec::new()));
    let started = Instant::now();
    let (queue, _tasks) = start({
        let passes = Arc::clone(&passes);
        move |key| {
            let mut passes = passes.lock();
            passes.push((key, started.elapsed().as_millis()));
            let times = passes.iter().filter(|(of, _)| *of == key).count();
            let outcome = match key {
                1 if times < 4 => Err(Broken { terminal: false }),
                2 => Err(Broken { terminal: true }),
                3 if times < 3 => Ok(Action::requeue(Duration::from_secs(60))),
                _ => Ok(Action::await_change()),
            };
            async move { outcome }
        }
    });
    (1..4).for_each(|key| queue.add(key));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let times =
        |key| -> Vec<u128> { passes.lock().iter().filter(|(of, _)| *of == key).map(|(_, at)| *at).collect() };
    assert_eq!(times(1), [0, 5, 15, 35]);
    assert_eq!(times(2), [0]);
    assert_eq!(times(3), [0, 60_000, 120_000]);
    assert_eq!(queue.failures(&1), 0);
    assert!(queue.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_pass_is_seen() {
    let (queue, tasks) = start(|_| async { panic!("on purpose") });
    queue.add(1);
    assert_eq!(tasks.failed().await, "test");
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_running_passes_and_begins_no_more() {
    let done = Arc::new(Mutex::new(0));
    let (queue, tasks) = start({
        let done = Arc::clone(&done);
        move |_| {
            let done = Arc::clone(&done);
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                *done.lock() += 1;
                Ok(Action::await_change())
            }
        }
    });
    (0..20).for_each(|key| queue.add(key));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tasks.stop().await.is_empty());
    assert_eq!(*done.lock(), 5);
}

struct Ctx {
    api: Api<ConfigMap>,
    maps: Informer<ConfigMap>,
    writes: Writes,
}

/// Makes sure that there are three children; makes too many if it does not see its own writes.
async fn three_children(parent: Arc<ConfigMap>, ctx: Arc<Ctx>) -> Result<Action, kube::Error> {
    let key = Key::of(&*parent);
    if key.name != "parent" {
        return Ok(Action::await_change());
    }
    let children = ctx.maps.all().len() - 1;
    if children < 3 {
        let child = ConfigMap {
            metadata: serde_json::from_value(json!({"name": format!("child-{}", ctx.maps.watermark())}))
                .unwrap(),
            ..ConfigMap::default()
        };
        let child = ctx.api.create(&PostParams::default(), &child).await?;
        ctx.writes.wrote(&key, &ctx.maps, &child);
    }
    // Looks again at once, whether or not the informer has seen the child.
    Ok(Action::requeue(Duration::from_millis(1)))
}

#[tokio::test(start_paused = true)]
async fn a_pass_sees_what_the_last_one_wrote() {
    let fake = Fake::default();
    fake.put(
        "/api/v1/namespaces/a/configmaps/parent",
        json!({"metadata": {"name": "parent", "namespace": "a"}}),
    );
    let tasks = Tasks::new();
    let informers = Informers::new(fake.client(), tasks.clone(), Clock::start());
    let (maps, queue) = (informers.of::<ConfigMap>(), Queue::new("children"));
    queue.follow(&maps);
    let ctx = Ctx { api: Api::namespaced(fake.client(), "a"), maps: maps.clone(), writes: queue.writes() };
    tasks.spawn("children", run("children", maps, queue, Arc::new(ctx), 1, three_children, tasks.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Nothing is seen while the watch is broken, and the pass waits for it.
    for _ in 0..20 {
        fake.close_watches();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(fake.requests("POST").len(), 3);
}
