//! Elections over a small server.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{LeaderConfig, Leadership, elect};
use crate::clock::Clock;
use crate::fake::Fake;
use crate::tasks::Tasks;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/sched";

fn join(fake: &Fake, identity: &str) -> (Leadership, Tasks) {
    let tasks = Tasks::new();
    let config = LeaderConfig::new("sched", "kube-system", identity);
    // Each copy's own clock, an hour off the others'.
    let hour = identity.len() as i64 * 3600;
    let clock = Clock::starting_at(jiff::Timestamp::from_second(1_700_000_000 + hour).unwrap());
    (elect(fake.client(), config, clock, &tasks), tasks)
}

fn holder(fake: &Fake) -> String {
    fake.get(LEASE).unwrap()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

async fn leads(leadership: &Leadership, within: u64) -> bool {
    timeout(Duration::from_secs(within), leadership.acquired()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_hands_over_at_once() {
    let fake = Fake::default();
    let (first, _first_tasks) = join(&fake, "a");
    assert!(leads(&first, 1).await);
    let (second, _second_tasks) = join(&fake, "bb");
    assert!(!leads(&second, 600).await);
    assert!(first.is_leading());
    assert_eq!(fake.get(LEASE).unwrap()["spec"]["leaseTransitions"], json!(0));

    let started = Instant::now();
    first.release().await;
    assert!(leads(&second, 60).await);
    assert!(started.elapsed() <= Duration::from_secs(2));
    assert_eq!(holder(&fake), "bb");
    assert_eq!(fake.get(LEASE).unwrap()["spec"]["leaseTransitions"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn an_expired_lease_is_taken_after_its_duration_by_our_own_clock() {
    let fake = Fake::default();
    // Renewed in the far future by a clock that is wrong, and never again.
    let spec = json!({"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2999-01-01T00:00:00.000000Z"});
    fake.put(LEASE, json!({"metadata": {"name": "sched", "namespace": "kube-system"}, "spec": spec}));
    let started = Instant::now();
    let (leadership, _tasks) = join(&fake, "a");
    assert!(leads(&leadership, 60).await);
    let waited = started.elapsed().as_secs();
    assert!((15..=18).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_gives_up_before_others_take_over() {
    let fake = Fake::default();
    let (first, _first_tasks) = join(&fake, "a");
    assert!(leads(&first, 1).await);
    let (second, _second_tasks) = join(&fake, "bb");
    // All requests of the first fail; those of the second are reads until the lease has run out.
    (0..40).for_each(|_| fake.refuse("PUT", 503));
    let started = Instant::now();
    first.lost().await;
    let gave_up = started.elapsed();
    assert!(gave_up <= Duration::from_secs(13), "{gave_up:?}");
    assert!(!second.is_leading());
    assert!(leads(&second, 600).await);
}

#[tokio::test(start_paused = true)]
async fn a_short_failure_costs_nothing() {
    let fake = Fake::default();
    let (first, _tasks) = join(&fake, "a");
    assert!(leads(&first, 1).await);
    (0..3).for_each(|_| fake.refuse("/leases/sched", 500));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(first.is_leading());
}

#[tokio::test(start_paused = true)]
async fn two_at_once_make_one_leader() {
    let fake = Fake::default();
    let (first, _first_tasks) = join(&fake, "a");
    let (second, _second_tasks) = join(&fake, "bb");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(first.is_leading() != second.is_leading());
}

#[tokio::test(start_paused = true)]
async fn stopping_releases_after_the_work_has_stopped() {
    let fake = Fake::default();
    let (leadership, tasks) = join(&fake, "a");
    assert!(leads(&leadership, 1).await);
    let stopped = {
        let stopping = tasks.stopping();
        async move {
            stopping.await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            leadership.release().await;
        }
    };
    tasks.tell_to_stop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(holder(&fake), "a");
    stopped.await;
    assert_eq!(holder(&fake), "");
    assert!(tasks.stop().await.is_empty());
}
