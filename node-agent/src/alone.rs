//! One process at a time for a job in a network namespace.
//!
//! Promise: the lock is an abstract socket, which belongs to the network namespace and goes with its process, however
//! that ends.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use tracing::warn;

/// Until the lock is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until this process alone does the job `name` in the calling thread's network namespace; that lasts as long as
/// what is returned.
///
/// # Errors
///
/// When no socket can be made.
pub(crate) async fn alone(name: &'static str) -> io::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(name)?;
    let mut told = false;
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(held) => return Ok(held),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !std::mem::replace(&mut told, true) {
                    warn!(
                        name,
                        "another process does this in the same network namespace: waiting until it ends"
                    );
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
