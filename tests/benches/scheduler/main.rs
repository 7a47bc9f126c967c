//! The scheduler end to end: pods created, bound and seen bound a second, beside the gates of upstream's CI.
//!
//! Every row runs in a process of its own, so that no row inherits the memory or the heat of another. Rows run at
//! 5,000 nodes, then all that grow at 500 and 15,000 as well. Prints a table, writes `target/bench/scheduler.json` and
//! the plot `target/bench/scheduler-growth.svg`. Fails when a pod is where it may not be.
//!
//! Arguments (`make bench-scheduler ONLY=basic NODES=500 LIMIT=10`): `--only TEXT` rows whose name contains it,
//! `--nodes N` at this number of nodes alone, `--limit SECONDS` a row's time for the pods before and again for those
//! measured.

mod cluster;
mod decisions;
mod drive;
mod objects;
mod observer;
mod places;
mod plot;
mod rows;

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use harness::bench::{Report, say};

use drive::{Extent, Outcome};
use plot::Line;
use rows::{ROWS, Row};

/// Seconds for the pods before, and again for the measured ones.
const LIMIT: u64 = 30;
/// What a row may take beside, for nodes and for checking places, before it is ended whatever it does.
const SETTING_UP: Duration = Duration::from_secs(90);
/// Numbers of nodes that rows are run at beside their own.
const GROWTH: [usize; 2] = [500, 15_000];
/// Pods measured there at most: enough for a second.
const GROWTH_PODS: usize = 5000;
/// What every row should reach: pods/s, and times its gate.
const AIM: f64 = 5000.0;
const AIM_GATES: f64 = 10.0;
/// Upstream on a machine of this size: CPU a pod in microseconds, memory in MB.
const UPSTREAM_CPU: &str = "upstream: about 5,000";
const UPSTREAM_MEMORY: &str = "upstream's scheduler alone: 394";
/// Shares of the time above which something is what bounds a row.
const BUSY_DECIDING: f64 = 0.75;
const BUSY_CORES: f64 = 0.85;

/// What to run.
#[derive(Debug)]
struct Arguments {
    only: String,
    nodes: Option<usize>,
    limit: Duration,
    /// This row alone, in this process, at so many nodes and measured pods.
    row: Option<(usize, usize, usize)>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if let Some((row, nodes, measured)) = arguments.row {
        return alone(&ROWS[row], Extent { nodes, measured, limit: arguments.limit });
    }
    let rows: Vec<usize> = (0..ROWS.len()).filter(|at| ROWS[*at].name.contains(&arguments.only)).collect();
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("no row is called {:?}; there are: {}", arguments.only, names.join(", "));
    }
    let mut report = Report::new("scheduler");
    say("API server, scheduler, creators and a second watch in one process; no controllers, no kubelets.");
    let mut failed = Vec::new();
    let mut runs = Vec::new();
    for nodes in arguments.sizes() {
        for at in &rows {
            let row = &ROWS[*at];
            let measured = match nodes {
                Some(nodes) if arguments.nodes.is_none() && (!row.grows || nodes == row.nodes) => continue,
                Some(nodes) => row.measured(nodes, GROWTH_PODS),
                None => row.measured(row.nodes, usize::MAX),
            };
            let nodes = nodes.unwrap_or(row.nodes);
            let outcome = apart(*at, nodes, measured, arguments.limit);
            let name = format!("{}, {nodes} nodes", row.name);
            say(&format!("  {}", line(&name, &outcome)));
            add(&mut report, row, nodes, &name, &outcome);
            failed.extend(outcome.failure.clone().map(|why| format!("{name}: {why}")));
            runs.push((*at, nodes, outcome));
        }
    }
    growth(&mut report, &runs)?;
    report.finish();
    if failed.is_empty() { Ok(()) } else { bail!("rows that failed:\n{}", failed.join("\n")) }
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self> {
        let limit = Duration::from_secs(LIMIT);
        let mut all = Self { only: String::new(), nodes: None, limit, row: None };
        while let Some(name) = given.next() {
            let mut value = || given.next().with_context(|| format!("{name} needs a value"));
            let number =
                |text: String| text.parse::<usize>().with_context(|| format!("{text:?} is no number"));
            match name.as_str() {
                "--only" => all.only = value()?,
                "--nodes" => all.nodes = Some(number(value()?)?),
                "--limit" => all.limit = Duration::from_secs(number(value()?)? as u64),
                "--row" => all.row = Some((number(value()?)?, number(value()?)?, number(value()?)?)),
                // Cargo says so to every benchmark.
                "--bench" => {}
                _ => bail!("{name:?} is no argument: --only TEXT, --nodes N, --limit SECONDS"),
            }
        }
        Ok(all)
    }

    /// Numbers of nodes; `None` is the row's own.
    fn sizes(&self) -> Vec<Option<usize>> {
        match self.nodes {
            Some(nodes) => vec![Some(nodes)],
            None => [None].into_iter().chain(GROWTH.map(Some)).collect(),
        }
    }
}

/// Runs a row in this process and prints what came out, for [`apart`].
fn alone(row: &Row, extent: Extent) -> Result<()> {
    let patience = SETTING_UP + 2 * extent.limit;
    let print = |outcome: &Outcome| say(&serde_json::to_string(outcome).expect("figures encode"));
    std::thread::spawn(move || {
        std::thread::sleep(patience);
        let failure = Some(format!("not done after {} s", patience.as_secs()));
        print(&Outcome { failure, measured: extent.measured, ..Outcome::default() });
        std::process::exit(0)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    print(&runtime.block_on(drive::run(row, extent)));
    // Threads that still watch or clean up are of no interest.
    std::process::exit(0)
}

/// Runs a row in a process of its own.
fn apart(row: usize, nodes: usize, measured: usize, limit: Duration) -> Outcome {
    let run = || -> Result<Outcome> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--row").args([row, nodes, measured].map(|number| number.to_string()));
        command.arg("--limit").arg(limit.as_secs().to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut printed = String::new();
        child.stdout.take().context("its output")?.read_to_string(&mut printed)?;
        let status = child.wait()?;
        let last =
            printed.lines().last().with_context(|| format!("it printed nothing and ended with {status}"))?;
        serde_json::from_str(last).with_context(|| format!("it printed {last:?}"))
    };
    run().unwrap_or_else(|error| Outcome {
        failure: Some(format!("{error:#}")),
        measured,
        ..Outcome::default()
    })
}

/// A row as it is shown while the others run.
fn line(name: &str, outcome: &Outcome) -> String {
    match &outcome.failure {
        Some(why) => format!("{name}: FAILED: {why}"),
        None => format!(
            "{name}: {:.0} pods/s, decision p50 {:.3} p99 {:.3} ms, {:.0} us CPU a pod, {:.0} MB; {}",
            outcome.rate(),
            outcome.decision.0,
            outcome.decision.1,
            outcome.a_pod(outcome.cpu[0]),
            outcome.memory.0,
            outcome.bound_by()
        ),
    }
}

fn add(report: &mut Report, row: &Row, nodes: usize, name: &str, outcome: &Outcome) {
    let mut note = row.shape(nodes, outcome.measured);
    if let Some(why) = &outcome.failure {
        return report.add(name, 0.0, "pods/s", &row.reference(), &format!("FAILED: {why}; {note}"));
    }
    if outcome.before.1 < outcome.before.0 {
        note = format!(
            "only {} of {} pods before were bound in time; {note}",
            outcome.before.1, outcome.before.0
        );
    }
    if outcome.bound < outcome.measured {
        note = format!("CUT at {:.0} s with {} bound; {note}", outcome.seconds, outcome.bound);
    }
    if outcome.misses(row) {
        note = format!("misses the aim, {}; {note}", outcome.bound_by());
    }
    report.add(name, outcome.rate(), "pods/s", &row.reference(), &note);
    let more = |what: &str| format!("{name}, {what}");
    let decisions = format!("{} decisions; {} events written", outcome.decisions, outcome.events);
    report.add(&more("decision p50"), outcome.decision.0, "ms", "", &decisions);
    report.add(&more("decision p99"), outcome.decision.1, "ms", "", "");
    let parts = outcome.parts();
    report.add(&more("CPU a pod"), outcome.a_pod(outcome.cpu[0]), "us", UPSTREAM_CPU, &parts);
    let peak = format!("the whole process with {nodes} nodes; most {:.0}", outcome.memory.1);
    report.add(&more("memory"), outcome.memory.0, "MB", UPSTREAM_MEMORY, &peak);
}

/// Time a pod against the number of nodes, as figures and as a plot.
fn growth(report: &mut Report, runs: &[(usize, usize, Outcome)]) -> Result<()> {
    let mut lines = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        let mut points: Vec<(f64, f64)> = runs
            .iter()
            .filter(|(run, _, outcome)| *run == at && outcome.bound > 0)
            .map(|(_, nodes, outcome)| (*nodes as f64, 1e6 / outcome.rate()))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let [(few, first), .., (many, last)] = points[..] {
            let name = format!("{}, time a pod at {many} over {few} nodes", row.name);
            let reference = format!("nodes: {:.0} times as many", many / few);
            report.add(&name, last / first, "times", &reference, &format!("{first:.0} us and {last:.0} us"));
            lines.push(Line { name: row.name, points });
        }
    }
    if !lines.is_empty() {
        let path = harness::bench::write("scheduler-growth.svg", plot::svg(&lines).as_bytes())?;
        say(&format!("plotted to {}", path.display()));
    }
    Ok(())
}

impl Row {
    fn reference(&self) -> String {
        let gate = self.gate.map_or_else(|| "no gate".to_owned(), |gate| format!("gate {gate}"));
        match self.upstream {
            Some(measured) => format!("{gate}; upstream on 2 cores {measured}"),
            None => gate,
        }
    }
}

impl Outcome {
    /// Pods bound a second.
    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.bound as f64 / self.seconds } else { 0.0 }
    }

    /// Microseconds a pod.
    fn a_pod(&self, seconds: f64) -> f64 {
        seconds * 1e6 / (self.bound.max(1) as f64)
    }

    fn misses(&self, row: &Row) -> bool {
        let gate = row.gate.map_or(0.0, f64::from);
        self.rate() < AIM || self.rate() < gate * AIM_GATES
    }

    /// Where the CPU went.
    fn parts(&self) -> String {
        let [_, creating, scheduler, observer] = self.cpu.map(|seconds| self.a_pod(seconds));
        format!(
            "creating {creating:.0}, scheduler with its requests {scheduler:.0} (deciding {:.0}), second watch \
             {observer:.0} us a pod",
            self.a_pod(self.deciding)
        )
    }

    /// What a faster row would need.
    fn bound_by(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let (deciding, busy) = (self.deciding / self.seconds, self.cpu[0] / self.seconds / cores);
        let what = if deciding > BUSY_DECIDING {
            format!("bound by the decision, which takes one thread {:.0} % of the time", deciding * 100.0)
        } else if busy > BUSY_CORES {
            format!("bound by the CPU, {:.0} % of {cores} cores", busy * 100.0)
        } else {
            format!(
                "bound by neither: {:.0} % of {cores} cores used, else it waited, or other programs ran",
                busy * 100.0
            )
        };
        format!("{what}: {}", self.parts())
    }
}
