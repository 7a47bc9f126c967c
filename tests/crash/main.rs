//! Acceptance 4: the API server is killed with SIGKILL at random moments while clients write and watch.
//!
//! Promise checked, over 100 rounds of the real process with real HTTPS clients: every acknowledged write is there,
//! revisions never go back, and a watch that resumes from its last revision misses nothing and sees nothing twice.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod schedulers;
mod witness;
mod writer;

use std::time::Duration;

use futures::future::join_all;
use harness::process::{Process, free_port};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use witness::Witness;
use writer::Writer;

/// Kills.
const ROUNDS: u64 = 100;
/// Clients that write at once, each with objects of its own.
const WRITERS: usize = 12;
/// A server lives this long under load before it is killed, in milliseconds.
const LIFE: std::ops::Range<u64> = 20..300;
/// It lives longer than that until so many writes were acknowledged: on a busy machine they take their time.
const LEAST_WRITES: std::ops::Range<usize> = 1..40;
/// Within this it has acknowledged them.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn killed_at_random_moments() {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let seed = std::env::var("CRASH_SEED").map_or(1, |seed| seed.parse().expect("CRASH_SEED is a number"));
    eprintln!("CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let port = free_port();
    let mut process = Process::start_on(&["apiserver"], directory.path(), port);
    let client =
        runtime.block_on(component::client::from_kubeconfig(Some(&process.kubeconfig()))).expect("client");
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let witness = runtime.block_on(Witness::start(maps.clone()));
    let (acknowledged, mut writes) = watch::channel(0);
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let random = StdRng::seed_from_u64(random.random());
            Writer::new(number, maps.clone(), acknowledged.clone(), random)
        })
        .collect();

    for round in 0..ROUNDS {
        let newest = writers.iter().map(Writer::newest).max().expect("there are writers");
        let (killed, kill) = watch::channel(false);
        let life = Duration::from_millis(random.random_range(LIFE));
        let enough = *writes.borrow() + random.random_range(LEAST_WRITES);
        let load =
            runtime.spawn(join_all(writers.into_iter().map(|writer| writer.run(newest, kill.clone()))));
        std::thread::sleep(life);
        let written = writes.wait_for(|written| *written >= enough);
        let written = runtime.block_on(async { tokio::time::timeout(PATIENCE, written).await.map(drop) });
        process.kill();
        killed.send_replace(true);
        writers = runtime
            .block_on(load)
            .unwrap_or_else(|failed| panic!("round {round}, CRASH_SEED={seed}: {failed}"));
        assert!(
            written.is_ok(),
            "round {round}, CRASH_SEED={seed}: few writes were answered in {PATIENCE:?}"
        );
        process = Process::start_on(&["apiserver"], directory.path(), port);
    }

    let newest = writers.iter().map(Writer::newest).max().expect("there are writers");
    let histories = runtime.block_on(join_all(writers.into_iter().map(|writer| writer.finish(newest))));
    let seen = runtime.block_on(witness.finish());
    let written: usize =
        histories.iter().map(|history| history.iter().map(|(_, ops)| ops.len()).sum::<usize>()).sum();
    eprintln!("{ROUNDS} kills, {written} writes, {} events seen", seen.events());
    assert!(written > 10 * ROUNDS as usize, "too few writes to mean anything: {written}");
    for (name, operations) in histories.into_iter().flatten() {
        seen.compare(&name, &operations);
    }
    drop(process);
}
