//! SCTP sockets of the kind that behave as TCP's do: few kernels have them, and the standard library names none.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::libc;
use nix::sys::socket::{Backlog, SockaddrStorage, bind, listen};

/// Whether this kernel has SCTP.
pub(crate) fn is_here() -> bool {
    socket(false).is_ok()
}

/// A socket that is neither bound nor connected.
pub(crate) fn socket(v6: bool) -> std::io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    #[expect(unsafe_code, reason = "nix names no SCTP sockets")]
    // SAFETY: no memory is passed; a descriptor that comes back is open and nobody else's.
    unsafe {
        match libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_SCTP) {
            -1 => Err(std::io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// Listens on every address; none where the kernel has no SCTP.
pub(crate) fn listener(port: u16) -> Option<TcpListener> {
    let socket = socket(true).ok()?;
    let any = SockaddrStorage::from(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    bind(socket.as_raw_fd(), &any).expect("the pod's port is free");
    listen(&socket, Backlog::new(16).expect("a small number")).expect("the pod's port is free");
    Some(TcpListener::from(socket))
}
