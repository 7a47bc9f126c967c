//! The cluster that the tests share, and a namespace for each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use harness::eventually::eventually;
use harness::kubectl::Kubectl;
use harness::process::Process;

/// The image that every pod here runs; made by the harness, never pulled.
pub(crate) const IMAGE: &str = "localhost/busybox:test";

static CLUSTER: OnceLock<Mutex<Option<Process>>> = OnceLock::new();
static USE: RwLock<()> = RwLock::new(());

/// Held by a test that lives beside others.
pub(crate) fn share() -> RwLockReadGuard<'static, ()> {
    USE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that disturbs everybody: drains the node, kills the process.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    USE.write().unwrap_or_else(PoisonError::into_inner)
}

/// kubectl on the shared cluster; starts the cluster at the first call.
pub(crate) fn kubectl() -> Kubectl {
    let mut process = process().lock().unwrap_or_else(PoisonError::into_inner);
    let running = process.get_or_insert_with(start);
    Kubectl::new(&running.kubeconfig())
}

/// Kills the process with SIGKILL and starts it again on the same directory and port.
pub(crate) fn kill_and_restart() {
    kubectl();
    let mut process = process().lock().unwrap_or_else(PoisonError::into_inner);
    let (data_dir, port) = process.take().expect("running").kill();
    *process = Some(Process::start_on(&["up"], &data_dir, port));
}

/// Stops the process with SIGTERM and starts it again on the same directory and port.
pub(crate) fn stop_and_restart() {
    kubectl();
    let mut process = process().lock().unwrap_or_else(PoisonError::into_inner);
    let mut running = process.take().expect("running");
    running.stop();
    *process = Some(Process::start_on(&["up"], &running.data_dir, running.port));
}

/// A fresh namespace whose default service account exists.
pub(crate) fn namespace(name: &str) -> (Kubectl, Vec<String>) {
    let kubectl = kubectl();
    kubectl.run(&["create", "namespace", name]);
    eventually("the namespace's service account", || {
        kubectl.try_run(&["get", "serviceaccount", "default", "-n", name])
    });
    (kubectl, vec!["-n".to_owned(), name.to_owned()])
}

fn process() -> &'static Mutex<Option<Process>> {
    CLUSTER.get_or_init(|| Mutex::new(None))
}

fn start() -> Process {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the node agent needs root: run the end-to-end tests with sudo"
    );
    let data_dir = data_dir();
    let process = Process::start(&["up"], &data_dir);
    let archive = data_dir.join("busybox.tar");
    harness::image::busybox(&archive, &[IMAGE]);
    import(&archive, &data_dir);
    has_disk(&Kubectl::new(&process.kubeconfig()));
    process
}

/// A node whose disk is nearly full takes no pods, as it should; then every test here would wait in vain.
fn has_disk(kubectl: &Kubectl) {
    let path = r#"{.items[0].status.conditions[?(@.type=="DiskPressure")].status}"#;
    let full = kubectl.path(&["nodes"], path) == "True";
    assert!(!full, "less than a tenth of the disk under {} is free: make room", data_dir().display());
}

/// Loads an image into the private containerd of a data directory.
pub(crate) fn import(archive: &Path, data_dir: &Path) {
    let socket = data_dir.join("containerd/containerd.sock");
    let import = Command::new("ctr")
        .args(["--namespace", "k8s.io", "--address"])
        .arg(&socket)
        .args(["images", "import"])
        .arg(archive)
        .output()
        .expect("ctr comes with containerd: apt-get install containerd");
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

/// Short, because it holds unix sockets; on a disk, because overlayfs wants one.
pub(crate) fn data_dir() -> PathBuf {
    static FRESH: OnceLock<PathBuf> = OnceLock::new();
    FRESH.get_or_init(|| PathBuf::from(format!("/var/tmp/steersman-e2e-{}", std::process::id()))).clone()
}
