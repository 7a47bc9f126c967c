//! Empty network namespaces for tests that need no packets.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs `work` in a network namespace that nobody else sees, and that goes when it ends.
pub(crate) fn in_new_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
            work()
        };
        scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What nft shows of the calling thread's namespace.
pub(crate) fn ruleset() -> String {
    nft("list ruleset")
}

/// Runs nft as another program on the machine would.
pub(crate) fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().expect("nft is installed");
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
