//! Runs this binary once more, in a virtual machine whose kernel has nf_tables and ip_vs both: few machines and no
//! user-mode kernel have.
//!
//! Promise: the guest is this very binary with other arguments, in a file system of its own in memory; nothing of the
//! machine is visible to it. Its exit code and what it printed come back. It runs without hardware support for virtual
//! machines, so it is slow: about 10 s to boot. The kernel is what `tests/kernel.sh` fetched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cpio::Archive;
use crate::uml::FLOWS;

/// Set inside the guest.
const INSIDE: &str = "STEERSMAN_TEST_IN_VIRTUAL_MACHINE";

/// How long a guest may take, with its boot.
pub const LIMIT: Duration = Duration::from_secs(900);

const MEMORY: &str = "1024M";

/// For a guest that ended without an exit code.
const NO_CODE: i32 = 99;

/// Parts of the kernel that go into the guest, below `/lib/modules/RELEASE/kernel`.
const MODULES: &[&str] = &[
    "net/netfilter",
    "net/ipv4",
    "net/ipv6",
    "net/bridge",
    "net/802",
    "net/llc",
    "net/sctp",
    "drivers/net/veth.ko",
    "drivers/net/dummy.ko",
    "lib",
];

/// What is loaded at the start. The rest would load by itself, but each module on demand is a program more to start.
const LOADED: &[&str] = &[
    "ipv6",
    "veth",
    "dummy",
    "bridge",
    "br_netfilter",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_numgen",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "sctp",
];

/// Programs that tests and the guest's start script call, and the package of each.
const PROGRAMS: &[(&str, &str)] =
    &[("ip", "iproute2"), ("bridge", "iproute2"), ("kmod", "kmod"), ("nft", "nftables")];

/// What busybox does in the guest.
const APPLETS: &[&str] = &["sh", "mount", "mkdir", "poweroff"];

/// Runs `work` if this is the guest, otherwise test `name` of this binary in a guest; what that printed is shown if it
/// failed, else its lines of figures.
///
/// # Panics
/// When the test fails there, or when there is no such machine here: says how to get it.
pub fn in_guest(name: &str, work: impl FnOnce()) {
    in_guest_with(name, LIMIT, &[], work);
}

/// The same with another limit, and with variables of the guest's environment.
///
/// # Panics
/// As `in_guest`.
pub fn in_guest_with(name: &str, limit: Duration, variables: &[(&str, &str)], work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    let (code, printed) = run(&[name, "--exact", "--nocapture", "--test-threads=1"], limit, variables);
    assert_eq!(code, 0, "inside the virtual machine:\n{printed}");
    for line in printed.lines().filter(|line| line.starts_with(crate::uml::FIGURE)) {
        crate::bench::say(line);
    }
}

fn run(arguments: &[&str], limit: Duration, variables: &[(&str, &str)]) -> (i32, String) {
    let kernel = Kernel::find();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let disk = folder.path().join("root.cpio");
    std::fs::write(&disk, root(&kernel, folder.path(), &script(&arguments.join(" "), variables)))
        .expect("write the guest's files");
    let output = Command::new("timeout")
        .arg(limit.as_secs().to_string())
        .args(["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY])
        // The check of the timer fails where the machine is busy while the guest boots.
        .args(["-nographic", "-no-reboot", "-append", "console=ttyS0 quiet panic=-1 no_timer_check"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&disk)
        .stdin(Stdio::null())
        .output()
        .expect("start the virtual machine");
    let printed =
        String::from_utf8_lossy(&output.stdout).replace('\r', "") + &String::from_utf8_lossy(&output.stderr);
    let code = printed.lines().rev().find_map(|line| line.rsplit_once("exit code ")?.1.trim().parse().ok());
    (code.unwrap_or(NO_CODE), printed)
}

/// A kernel with its modules.
struct Kernel {
    image: PathBuf,
    release: String,
    modules: PathBuf,
}

impl Kernel {
    fn find() -> Self {
        let own = std::env::var_os("STEERSMAN_TEST_KERNEL").map(PathBuf::from);
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        let folder = own.unwrap_or_else(|| cache.unwrap_or_else(home).join("steersman/kernel"));
        let missing =
            || panic!("{} has no kernel: tests/kernel.sh fetches one (make needs-test)", folder.display());
        let modules = only_entry(&folder.join("lib/modules")).unwrap_or_else(missing);
        let release = modules.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let image = folder.join(format!("boot/vmlinuz-{release}"));
        if !image.exists() {
            missing();
        }
        Self { image, release, modules }
    }
}

fn only_entry(folder: &Path) -> Option<PathBuf> {
    Some(std::fs::read_dir(folder).ok()?.next()?.ok()?.path())
}

/// The guest's files.
fn root(kernel: &Kernel, scratch: &Path, script: &str) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "run", "tmp", "root", "usr"] {
        archive.folder(folder);
    }
    for (link, to) in
        [("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin"), ("bin/modprobe", "kmod")]
    {
        archive.link(link, to);
    }
    archive.file("bin/busybox", 0o755, &read(&find_program("busybox", "busybox-static")));
    APPLETS.iter().for_each(|applet| archive.link(&format!("bin/{applet}"), "busybox"));
    let stripped = scratch.join("guest");
    let strip = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(std::env::current_exe().expect("this binary"))
        .status();
    assert!(strip.is_ok_and(|status| status.success()), "no strip here: apt-get install binutils");
    let mut libraries = libraries(&stripped);
    archive.file("bin/guest", 0o755, &read(&stripped));
    for (name, package) in PROGRAMS {
        let program = find_program(name, package);
        libraries.extend(self::libraries(&program));
        archive.file(&format!("bin/{name}"), 0o755, &read(&program));
    }
    for library in libraries {
        archive.file_with_folders(
            library.to_str().expect("UTF-8").trim_start_matches('/'),
            0o755,
            &read(&library),
        );
    }
    let place = format!("lib/modules/{}", kernel.release);
    for part in MODULES {
        add(&mut archive, &kernel.modules.join("kernel").join(part), &format!("{place}/kernel/{part}"));
    }
    for entry in std::fs::read_dir(&kernel.modules).expect("modules").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        if name.starts_with("modules.") {
            archive.file_with_folders(&format!("{place}/{name}"), 0o644, &read(&entry.path()));
        }
    }
    archive.file("init", 0o755, script.as_bytes());
    archive.finish()
}

/// The guest's first process. It shows the exit code on the console, which is all that comes out.
fn script(arguments: &str, variables: &[(&str, &str)]) -> String {
    let loaded = LOADED.join(" ");
    let variables: String = variables.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!(
        "#!/bin/sh\n\
         export PATH=/bin HOME=/root TMPDIR=/run RUST_BACKTRACE=1 {INSIDE}=1{variables}\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmpfs /run; mount -t devtmpfs dev /dev\n\
         mkdir -p /run/netns; ip link set lo up; modprobe -a {loaded}\n\
         echo {FLOWS} > /proc/sys/net/netfilter/nf_conntrack_max\n\
         /bin/guest {arguments}\n\
         echo \"exit code $?\"; poweroff -f\n"
    )
}

/// A file, or a folder with all that is in it.
fn add(archive: &mut Archive, from: &Path, to: &str) {
    if from.is_file() {
        return archive.file_with_folders(to, 0o644, &read(from));
    }
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        add(archive, &entry.path(), &format!("{to}/{name}"));
    }
}

fn find_program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("no {name} here: apt-get install {package} (make needs-test)"))
}

/// The shared libraries that a program needs, with the loader.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd comes with libc");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
