//! The real `steersman` binary as a child process, with a data directory of its own on loopback.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a start may take, debug build and image import included.
const START: Duration = Duration::from_secs(60);

/// A running `steersman`. Dropping it ends the process with SIGTERM, the way ctrl-C's users do.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub data_dir: PathBuf,
    pub port: u16,
    /// What it printed up to and with its `ready` line.
    pub printed: Vec<String>,
}

impl Process {
    /// Starts `steersman ARGUMENTS --data-dir D --secure-port P` and waits for its line that starts with `ready`.
    ///
    /// # Panics
    /// When it does not get ready; shows what it printed.
    pub fn start(arguments: &[&str], data_dir: &Path) -> Self {
        Self::start_on(arguments, data_dir, free_port())
    }

    /// `start` on a port that was in use before, as after a crash.
    pub fn start_on(arguments: &[&str], data_dir: &Path, port: u16) -> Self {
        Self::spawn(command(arguments, data_dir, port), arguments, data_dir, port)
    }

    /// `start_on` in a network namespace of `ip netns`.
    pub fn start_within(namespace: &str, arguments: &[&str], data_dir: &Path, port: u16) -> Self {
        let inside = command(arguments, data_dir, port);
        let mut command = within(namespace, inside.get_program());
        command.args(inside.get_args());
        Self::spawn(command, arguments, data_dir, port)
    }

    fn spawn(mut command: Command, arguments: &[&str], data_dir: &Path, port: u16) -> Self {
        std::fs::create_dir_all(data_dir).expect("data directory");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log(data_dir));
        let mut child = spawn_on_a_lasting_thread(command);
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line))
        });
        let mut printed = Vec::new();
        loop {
            match lines.recv_timeout(START) {
                Ok(line) => printed.push(line),
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!(
                        "steersman {arguments:?} is not ready ({error}): {printed:#?}\n{}",
                        tail(data_dir)
                    );
                }
            }
            if printed.last().is_some_and(|line| line.starts_with("ready")) {
                break;
            }
        }
        Self { child, data_dir: data_dir.to_owned(), port, printed }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: what a power cut or the out-of-memory killer does.
    pub fn kill(mut self) -> (PathBuf, u16) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
        (self.data_dir.clone(), self.port)
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(id), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
    }
}

/// `steersman` as `make test` built it, in the profile of the running test.
///
/// # Panics
/// When it was not built; says how.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let binary = profile.join("steersman");
    assert!(binary.exists(), "{} is missing: cargo build -p steersman", binary.display());
    binary
}

/// A command line of the binary, not yet started.
pub fn command(arguments: &[&str], data_dir: &Path, port: u16) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--data-dir").arg(data_dir).arg("--secure-port").arg(port.to_string());
    command
}

/// A command line that runs a program in a network namespace. Not `ip netns exec`, which hides the cgroups.
pub fn within(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}

/// A port that nobody used a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

/// The last lines that the process logged.
pub fn tail(data_dir: &Path) -> String {
    let log = std::fs::read_to_string(data_dir.join("stderr.log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn log(data_dir: &Path) -> Stdio {
    let path = data_dir.join("stderr.log");
    std::fs::OpenOptions::new().create(true).append(true).open(path).expect("log file").into()
}

/// The child gets SIGTERM when we die, so that a failed test leaves no cluster behind. Linux ties that to the
/// *thread* that spawned it, so the spawning thread must outlive the test.
///
/// # Panics
/// When the program cannot be started.
pub fn spawn_on_a_lasting_thread(mut command: Command) -> Child {
    let (sender, child) = mpsc::channel();
    std::thread::spawn(move || {
        #[expect(unsafe_code, reason = "a signal at the parent's death is set between fork and exec")]
        // SAFETY: prctl is async-signal-safe and touches only the new process.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?));
        }
        sender.send(command.spawn()).expect("the test waits");
        loop {
            std::thread::park();
        }
    });
    child.recv().expect("thread answers").expect("steersman starts")
}
