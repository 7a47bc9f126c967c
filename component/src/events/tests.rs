//! The recorder over a small server.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};

use super::{MAX_MESSAGE, QUEUE, Recorder, Type};
use crate::clock::Clock;
use crate::fake::Fake;
use crate::tasks::Tasks;

fn pod() -> ObjectReference {
    let text = |text: &str| Some(text.to_owned());
    ObjectReference {
        kind: text("Pod"),
        namespace: text("a"),
        name: text("web"),
        uid: text("u1"),
        ..ObjectReference::default()
    }
}

fn start(fake: &Fake) -> (Recorder, Tasks) {
    let tasks = Tasks::new();
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    (Recorder::new(fake.client(), "test-controller", clock, &tasks), tasks)
}

async fn events(fake: &Fake) -> Vec<Value> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let posts = fake.requests("POST");
    (0..posts.len()).filter_map(|at| fake.get(&event_path(at as u64))).collect()
}

/// Where the event is that was recorded so many nanoseconds after the clock's start.
fn event_path(nanoseconds: u64) -> String {
    format!("/api/v1/namespaces/a/events/web.{:x}", 1_767_225_600_000_000_000 + nanoseconds)
}

#[tokio::test(start_paused = true)]
async fn an_event_has_upstreams_fields_and_repeats_are_counted() {
    let fake = Fake::default();
    let (recorder, _tasks) = start(&fake);
    recorder.event(&pod(), Type::Normal, "Created", "made it");
    let event = events(&fake).await.remove(0);
    assert_eq!(event["involvedObject"]["uid"], json!("u1"));
    assert_eq!(event["source"], json!({"component": "test-controller"}));
    assert_eq!(event["reportingComponent"], json!("test-controller"));
    assert_eq!((&event["type"], &event["count"]), (&json!("Normal"), &json!(1)));
    assert_eq!(event["firstTimestamp"], json!("2026-01-01T00:00:00Z"));

    recorder.event(&pod(), Type::Normal, "Created", "made it");
    let events = events(&fake).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["count"], json!(2));
    assert_eq!(events[0]["lastTimestamp"], json!("2026-01-01T00:00:01Z"));
    assert_eq!(events[0]["firstTimestamp"], json!("2026-01-01T00:00:00Z"));
}

#[tokio::test(start_paused = true)]
async fn an_action_is_written_as_events_k8s_io_does() {
    let fake = Fake::default();
    let (recorder, _tasks) = start(&fake);
    recorder.action(&pod(), Type::Warning, "FailedScheduling", "Scheduling", "no node");
    recorder.action(&pod(), Type::Warning, "FailedScheduling", "Scheduling", "no node");
    let event = events(&fake).await.remove(0);
    assert_eq!(event["eventTime"], json!("2026-01-01T00:00:00.000000Z"));
    assert_eq!((&event["action"], &event["source"]), (&json!("Scheduling"), &Value::Null));
    assert_eq!(event["series"]["count"], json!(2));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_ran_out_is_made_again() {
    let fake = Fake::default();
    let (recorder, _tasks) = start(&fake);
    recorder.event(&pod(), Type::Normal, "Created", "made it");
    events(&fake).await;
    fake.delete(&event_path(0));
    recorder.event(&pod(), Type::Normal, "Created", "made it");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.requests("POST").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_dropped_and_counted() {
    let fake = Fake::default();
    let (recorder, tasks) = start(&fake);
    let (pod, message) = (pod(), "x".repeat(2 * MAX_MESSAGE));
    (0..2 * QUEUE).for_each(|_| recorder.event(&pod, Type::Normal, "Created", message.clone()));
    assert_eq!(recorder.dropped(), QUEUE as u64);
    let event = events(&fake).await.remove(0);
    let message = event["message"].as_str().unwrap();
    assert_eq!(message.len(), MAX_MESSAGE);
    assert!(message.ends_with("x ..."));
    assert_eq!(recorder.dropped(), 2 * QUEUE as u64 - 25);
    assert!(tasks.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_are_sent_at_shutdown() {
    let fake = Fake::default();
    let (recorder, tasks) = start(&fake);
    recorder.event(&pod(), Type::Normal, "Killing", "stopping");
    assert!(tasks.stop().await.is_empty());
    assert_eq!(fake.requests("POST").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn different_events_of_one_moment_have_different_names() {
    let fake = Fake::default();
    let (recorder, _tasks) = start(&fake);
    recorder.event(&pod(), Type::Normal, "Created", "made it");
    recorder.event(&pod(), Type::Normal, "Started", "started it");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reasons = [0, 1].map(|at| fake.get(&event_path(at)).unwrap()["reason"].clone());
    assert_eq!(reasons, ["Created", "Started"]);
    assert_eq!(recorder.dropped(), 0);
}
