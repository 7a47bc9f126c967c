//! What benchmarks share: a table of what was measured beside what it is compared with, and the same as JSON.
//!
//! Promise: prints one table, and writes `target/bench/NAME.json`, a list of `{name, value, unit, reference, note}`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// What runs inside a benchmark's process allocates as our programs do.
#[global_allocator]
static ALLOCATOR: component::process::Allocator = component::process::Allocator;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// What it is compared with: an aim or somebody else's published figure; may be empty.
    pub reference: String,
    /// How it was measured.
    pub note: String,
}

/// The figures of one benchmark.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty report.
    pub fn new(name: &'static str) -> Self {
        say(&format!("{name}: {}", machine()));
        Self { name, figures: Vec::new() }
    }

    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: f64, unit: &str, reference: &str, note: &str) {
        let [name, unit, reference, note] = [name, unit, reference, note].map(str::to_owned);
        self.figures.push(Figure { name, value, unit, reference, note });
    }

    /// Adds the median and the 99th percentile of some latencies, in milliseconds.
    pub fn add_latency(&mut self, name: &str, latencies: &Latencies, reference: &str, note: &str) {
        self.add(&format!("{name}, p50"), latencies.quantile(0.5), "ms", "", note);
        self.add(&format!("{name}, p99"), latencies.quantile(0.99), "ms", reference, note);
    }

    /// Prints the table and writes the JSON.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn finish(self) {
        say(&table(&self.figures));
        let json = serde_json::to_vec_pretty(&self.figures).expect("figures encode");
        let path = write(&format!("{}.json", self.name), &json).expect("target/bench");
        say(&format!("written to {}", path.display()));
    }
}

/// Latencies of many operations.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        histogram.auto(true);
        Self(histogram)
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.0.record(micros).expect("the histogram grows");
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same number of digits");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds below which this part of them lies.
    pub fn quantile(&self, part: f64) -> f64 {
        self.0.value_at_quantile(part) as f64 / 1000.0
    }
}

/// What the system says about a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in MB (10^6 bytes).
    pub memory: f64,
    /// The most it was since [`reset_peak`].
    pub peak: f64,
    /// Seconds of CPU used since it started.
    pub cpu: f64,
}

/// Reads the usage of a process.
///
/// # Panics
/// When there is no such process.
pub fn usage(process: u32) -> Usage {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).expect("the process lives");
    let status = read("status");
    let kilobytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).expect("a number")
    };
    let stat = read("stat");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let ticks =
        |at: usize| after_name.split_whitespace().nth(at).and_then(|t| t.parse::<f64>().ok()).expect("ticks");
    Usage {
        memory: kilobytes("VmRSS:") * 1.024 / 1000.0,
        peak: kilobytes("VmHWM:") * 1.024 / 1000.0,
        cpu: (ticks(11) + ticks(12)) / TICKS,
    }
}

/// Lets the peak of a process's memory begin anew.
///
/// # Panics
/// When there is no such process.
pub fn reset_peak(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the process is ours");
}

/// Writes a file of this name into `target/bench`.
///
/// # Errors
/// When it cannot be written.
pub fn write(name: &str, content: &[u8]) -> std::io::Result<PathBuf> {
    let directory = target().join("bench");
    let path = directory.join(name);
    std::fs::create_dir_all(&directory)?;
    std::fs::write(&path, content)?;
    Ok(path)
}

/// A directory for data on the disk that holds the build, which is a real one where `/tmp` may be memory. Gone when
/// dropped.
///
/// # Panics
/// When it cannot be made.
pub fn directory() -> tempfile::TempDir {
    let parent = target().join("bench");
    std::fs::create_dir_all(&parent).expect("target/bench");
    tempfile::tempdir_in(parent).expect("a directory")
}

/// Prints a line. Benchmarks talk to the one who runs them.
#[expect(clippy::print_stdout, reason = "the output of a benchmark")]
pub fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Clock ticks in a second: USER_HZ is 100 on every Linux.
pub const TICKS: f64 = 100.0;

fn target() -> PathBuf {
    let program = std::env::current_exe().expect("own path");
    // target/PROFILE/deps/NAME
    program.ancestors().nth(3).unwrap_or_else(|| Path::new("target")).to_owned()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |m| m.1);
    format!("{cores} cores of {model}; clients and server share them")
}

fn table(figures: &[Figure]) -> String {
    let width = |of: fn(&Figure) -> &str| figures.iter().map(|f| of(f).chars().count()).max().unwrap_or(0);
    let (names, units, references) = (width(|f| &f.name), width(|f| &f.unit), width(|f| &f.reference));
    let mut out = String::new();
    for f in figures {
        let _ = writeln!(
            out,
            "  {:names$}  {:>12} {:units$}  {:references$}  {}",
            f.name,
            number(f.value),
            f.unit,
            f.reference,
            f.note
        );
    }
    out
}

/// A number with the digits that mean something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let table =
            [(1234567.0, "1,234,567"), (999.5, "1000"), (123.0, "123"), (12.34, "12.3"), (0.0123, "0.012")];
        for (value, text) in table {
            assert_eq!(number(value), if value == 999.5 { "1,000" } else { text });
        }
        assert_eq!(number(-1234.0), "-1,234");
    }

    #[test]
    fn own_usage_is_read() {
        let usage = usage(std::process::id());
        assert!(usage.memory > 0.5 && usage.peak >= usage.memory && usage.cpu >= 0.0, "{usage:?}");
    }
}
