//! Seeded simulation: hours of cluster life under faults, in virtual time.
//!
//! A seed draws what users do and what the network does to controllers and scheduler. When the faults end, the
//! cluster must settle in the state that the users asked for; some rules must hold at every moment in between. A
//! failure names its seed: `SEED=n cargo test -p tests --test simulation` replays it.

mod rules;
mod users;

use std::time::Duration;

use harness::cluster::TestCluster;
use harness::faults::Faults;

/// Runs of one `cargo test`; their seeds are 0, 1, 2, ...
const SEEDS: u64 = 6;
/// Virtual time under faults, and how long the cluster then has to settle.
const TROUBLE: Duration = Duration::from_secs(10 * 60);
const NODES: [&str; 4] = ["north", "east", "south", "west"];

#[test]
fn users_get_what_they_asked_for_whatever_the_network_does() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        assert!(outcome.is_ok(), "failed with SEED={seed}");
    }
}

fn run(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let faults = Faults::from_seed(seed);
        let (cluster, _nodes) = TestCluster::with_nodes_behind(&NODES, &faults).await;
        let watcher = rules::watch(&cluster);
        let mut users = users::Users::from_seed(seed);
        users.trouble(&cluster, TROUBLE).await;
        faults.end();
        cluster.eventually("every wish is met", || users.wishes_are_met(&cluster)).await;
        watcher.never_broken();
        cluster.stop().await;
    });
}
