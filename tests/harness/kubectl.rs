//! The machine's own kubectl, unpatched, pointed at one cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// kubectl with a kubeconfig and a private home, so that its discovery cache starts empty.
#[derive(Debug, Clone)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    home: PathBuf,
    namespace: Option<String>,
}

impl Kubectl {
    /// # Panics
    /// When the machine has no kubectl; says how to get one.
    pub fn new(kubeconfig: &Path) -> Self {
        let found = Command::new("kubectl").args(["version", "--client"]).output();
        assert!(found.is_ok(), "no kubectl on PATH: apt-get install kubernetes-client (`make test` does it)");
        let home = kubeconfig.parent().expect("a folder").join("kubectl-home");
        std::fs::create_dir_all(&home).expect("home for kubectl");
        Self { kubeconfig: kubeconfig.to_owned(), home, namespace: None }
    }

    /// Runs it in a network namespace of `ip netns`.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// A command of kubectl's, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => crate::process::within(namespace, "kubectl"),
            None => Command::new("kubectl"),
        };
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).args(arguments);
        command
    }

    /// Runs to the end and returns what it printed on standard output.
    ///
    /// # Panics
    /// When kubectl fails; shows both outputs.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// Like `run`; the error holds both outputs.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        text(self.command(arguments).stdin(Stdio::null()).output().expect("kubectl starts"))
    }

    /// Runs with `input` on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> String {
        self.try_run_with(arguments, input)
            .unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// Like `run_with`; the error holds both outputs.
    pub fn try_run_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("kubectl reads");
        text(child.wait_with_output().expect("kubectl ends"))
    }

    /// Starts a command that goes on (`logs -f`, `get -w`, `port-forward`); it ends when the guard is dropped.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        Running(child)
    }

    /// `jsonpath` of one object or list; empty where the path leads nowhere.
    pub fn path(&self, what: &[&str], jsonpath: &str) -> String {
        let output = format!("jsonpath={jsonpath}");
        let mut arguments = vec!["get"];
        arguments.extend(what);
        arguments.extend(["-o", &output]);
        self.try_run(&arguments).unwrap_or_default()
    }
}

fn text(output: Output) -> Result<String, String> {
    let standard = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(standard);
    }
    Err(format!("{}\n{standard}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// A kubectl that runs until it is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
