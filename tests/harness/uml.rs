//! Runs this binary once more, inside a user-mode kernel, which has ip_vs where this kernel has not.
//!
//! Promise: the guest is this very binary with other arguments; the machine's files are visible to it, and it writes
//! only below a temporary directory. Its exit code and what it printed come back. The kernel and its
//! modules are those of the package user-mode-linux; modules load by themselves when they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set inside the guest.
const INSIDE: &str = "STEERSMAN_TEST_IN_USER_MODE_LINUX";

/// How long a guest may take, with its boot.
const LIMIT_SECONDS: &str = "300";

/// How many flows a guest tracks. By itself a machine with little memory tracks 4,096, and then refuses new ones: clients
/// that never pause come to more.
pub(crate) const FLOWS: u32 = 1 << 17;

/// For a guest that ended without an exit code.
const NO_CODE: i32 = 99;

/// Whether this is the guest.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs `work` if this is the guest, otherwise test `name` of this binary in a guest, and what that printed is shown
/// if it failed.
///
/// # Panics
/// When the test fails there, or when there is no user-mode kernel here: says how to get it.
pub fn in_guest(name: &str, work: impl FnOnce()) {
    if is_inside() {
        return work();
    }
    let (code, printed) = run(&[name, "--exact", "--nocapture", "--test-threads=1"], "512M");
    assert_eq!(code, 0, "inside the user-mode kernel:\n{printed}");
    for line in printed.lines().filter(|line| line.starts_with(FIGURE)) {
        crate::bench::say(line);
    }
}

/// Lines that begin so are shown of a guest that succeeded.
pub const FIGURE: &str = "figure:";

/// Runs this binary with `arguments` in a guest of so much memory; its exit code and what it printed.
///
/// # Panics
/// When there is no user-mode kernel here: says how to get it.
pub fn run(arguments: &[&str], memory: &str) -> (i32, String) {
    let kernel = find(&["/usr/bin/linux.uml", "/usr/bin/linux"]);
    let modules = find(&["/usr/lib/uml/modules"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let init = directory.path().join("init");
    fs::write(&init, script(&modules, directory.path(), &arguments.join(" ")))
        .expect("write the guest's start script");
    fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let output = Command::new("timeout")
        .arg(LIMIT_SECONDS)
        .arg(&kernel)
        .args(["rootfstype=hostfs", "rootflags=/", "rw", "con=null", "con0=fd:0,fd:1", "quiet"])
        .arg(format!("mem={memory}"))
        .arg(format!("init={}", init.display()))
        .arg(format!("uml_dir={}", directory.path().display()))
        .stdin(Stdio::null())
        .output()
        .expect("start the user-mode kernel");
    let code = fs::read_to_string(directory.path().join("code")).unwrap_or_default();
    let printed = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    (code.trim().parse().unwrap_or(NO_CODE), printed)
}

fn find(paths: &[&str]) -> PathBuf {
    let found = paths.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("{} is missing: apt-get install user-mode-linux kmod (make needs-test)", paths[0])
    })
}

/// The guest's first process. `/run` is fresh, so that namespaces of the guest are not the machine's.
fn script(modules: &Path, directory: &Path, arguments: &str) -> String {
    let (modules, directory) = (modules.display(), directory.display());
    let binary = std::env::current_exe().expect("this binary");
    let binary = binary.display();
    format!(
        r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root {INSIDE}={directory} RUST_BACKTRACE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmpfs /run; mkdir -p /run/k/lib /run/netns
ln -s {modules} /run/k/lib/modules
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/k "$@"\n' > /run/modprobe; chmod +x /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
/run/modprobe -a ipv6 br_netfilter nf_conntrack; ip link set lo up
echo {FLOWS} > /proc/sys/net/netfilter/nf_conntrack_max
{binary} {arguments}
echo $? > {directory}/code; exec busybox poweroff -f
"#
    )
}
