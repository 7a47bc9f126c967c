//! Packets between ports of one bridge, as pods of a node send them to each other.
//!
//! Promise: where the kernel can, they pass our hooks like packets that are routed. That is the work of the module
//! br_netfilter, switched on for each network namespace. A table of family `bridge` would need the modules that follow
//! connections there, which kernels lack more often.

use std::io;
use std::path::Path;

/// Switches of the calling thread's network namespace.
const SWITCHES: &str = "/proc/sys/net/bridge";
const FAMILIES: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];

/// Why packets between ports of a bridge are not judged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unjudged {
    #[error("the module br_netfilter is not loaded: modprobe br_netfilter")]
    Missing,
    #[error("{switch} cannot be set to 1: {why}")]
    Switch { switch: &'static str, why: String },
}

/// Has the calling thread's network namespace judge them.
pub(super) fn judge() -> Result<(), Unjudged> {
    judge_at(Path::new(SWITCHES))
}

fn judge_at(switches: &Path) -> Result<(), Unjudged> {
    for switch in FAMILIES {
        let path = switches.join(switch);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Unjudged::Missing,
            _ => Unjudged::Switch { switch, why: error.to_string() },
        };
        if std::fs::read_to_string(&path).map_err(failed)?.trim() != "1" {
            std::fs::write(&path, "1").map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_set_and_their_absence_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(judge_at(dir.path()), Err(Unjudged::Missing));
        for switch in FAMILIES {
            std::fs::write(dir.path().join(switch), "0\n").unwrap();
        }
        assert_eq!(judge_at(dir.path()), Ok(()));
        for switch in FAMILIES {
            assert_eq!(std::fs::read_to_string(dir.path().join(switch)).unwrap(), "1");
        }
    }
}
