//! From process start to Ready, and what the whole control plane costs when nothing happens.

use std::time::Duration;

use anyhow::Result;
use harness::bench::{Report, directory, usage};
use harness::process::Process;
use tokio::time::Instant;

/// Starts measured, on a new directory and on the same again.
const STARTS: usize = 5;
/// Simulated nodes while idle.
const NODES: &str = "10";
/// When idle begins.
const SETTLE: Duration = Duration::from_secs(60);
/// How long idle CPU is measured.
const IDLE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let mut report = Report::new("start");
    let arguments = ["up", "--simulated-nodes", NODES];
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let directory = directory();
        for times in [&mut first, &mut again] {
            let began = Instant::now();
            let process = Process::start(&arguments, directory.path());
            times.push(began.elapsed().as_secs_f64());
            drop(process);
        }
    }
    let note =
        format!("median of {STARTS}; `up --simulated-nodes {NODES}`, until its line that begins with ready");
    report.add("start to Ready, new directory", median(&mut first), "s", "aim: < 1; envtest: 4.6", &note);
    report.add("start to Ready, directory there", median(&mut again), "s", "k3s on a Pi 5: 25 to 40", &note);

    let directory = directory();
    let process = Process::start(&arguments, directory.path());
    std::thread::sleep(SETTLE);
    let before = usage(process.id());
    let began = Instant::now();
    std::thread::sleep(IDLE);
    let after = usage(process.id());
    let cpu = (after.cpu - before.cpu) / began.elapsed().as_secs_f64() * 100.0;
    let whole = "API server, scheduler, controllers and 10 simulated nodes in one process";
    report.add("idle memory", before.memory, "MB", "aim: < 60; k3s server: 1,428", whole);
    report.add("idle CPU", cpu, "% of a core", "aim: < 0.5; k3s server: 5", "over 30 s, after 60 s");
    report.finish();
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
