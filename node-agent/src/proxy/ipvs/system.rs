//! What IPVS needs of the kernel besides its tables: modules and settings under `/proc/sys`.
//!
//! Promise: a missing module or setting is reported by its name. A module is loaded by the program that the kernel
//! itself calls for that (`/proc/sys/kernel/modprobe`), and only if the kernel does not have it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::proxy::SyncError;

/// Settings without which the proxy does not work, as upstream sets them.
const NEEDED: [(&str, &str); 4] = [
    // Netfilter sees connections through IPVS, and can masquerade them.
    ("net/ipv4/vs/conntrack", "1"),
    // The next packet of a connection to a real server that is gone ends it, instead of falling into a hole.
    ("net/ipv4/vs/expire_nodest_conn", "1"),
    // A persistent client whose real server drains goes to another.
    ("net/ipv4/vs/expire_quiescent_template", "1"),
    ("net/ipv4/ip_forward", "1"),
];

/// Settings that some kernels do not have.
const WISHED: [(&str, &str); 3] = [
    ("net/ipv6/conf/all/forwarding", "1"),
    // Answers between pods on one bridge come through netfilter, and so back through IPVS.
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
];

/// `--ipvs-strict-arp`: a device answers for its own addresses only, and names none of another as a source.
const STRICT_ARP: [(&str, &str); 2] =
    [("net/ipv4/conf/all/arp_ignore", "1"), ("net/ipv4/conf/all/arp_announce", "2")];

/// Sets what IPVS needs.
pub(super) fn prepare(strict_arp: bool) -> Result<(), SyncError> {
    for (name, value) in NEEDED {
        set(name, value).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SyncError::Missing(format!("the setting /proc/sys/{name}")),
            io::ErrorKind::PermissionDenied => SyncError::Permission,
            _ => SyncError::Netlink { doing: "change a setting of the kernel under /proc/sys/net", source },
        })?;
    }
    let strict = STRICT_ARP.iter().filter(|_| strict_arp);
    for (name, value) in WISHED.iter().chain(strict) {
        if let Err(error) = set(name, value) {
            tracing::debug!(name, %error, "cannot change a setting of the kernel");
        }
    }
    Ok(())
}

/// Writes a setting unless it has the value already (it may be read-only then).
fn set(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys").join(name);
    if fs::read_to_string(&path)?.trim() == value {
        return Ok(());
    }
    fs::write(path, value)
}

/// Loads a module unless it is there. True if it is there in the end.
pub(super) fn load(module: &str) -> bool {
    if Path::new("/sys/module").join(module).exists() {
        return true;
    }
    let Ok(program) = fs::read_to_string("/proc/sys/kernel/modprobe") else { return false };
    let status = Command::new(program.trim())
        .args(["-q", "--", module])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    matches!(status, Ok(status) if status.success())
}
