//! The service's backends.
//!
//! Promise: a pod that was taken out of the service serves nobody new, so that a proxy that still sends newcomers there
//! is found out; connections that it has go on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::network::Network;

/// Their places in the network.
pub(super) const PODS: [(&str, &str); 3] =
    [("pod1", "10.244.0.11"), ("pod2", "10.244.0.12"), ("far", "10.244.1.11")];

/// Echoes on TCP and UDP. While it is not live, newcomers get nothing; connections that it has go on.
pub(super) struct Pod {
    pub(super) live: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pod {
    pub(super) fn start(network: &Network, pod: &str, address: &str) -> Pod {
        // At its own address: an answer from any other leads nowhere.
        let at: SocketAddr = format!("{address}:7000").parse().expect("an address");
        let (tcp, udp) = network.within(pod, || {
            (TcpListener::bind(at).expect("a free port"), UdpSocket::bind(at).expect("a free port"))
        });
        tcp.set_nonblocking(true).expect("a socket option");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket option");
        let (live, over) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (alive, end) = (Arc::clone(&live), Arc::clone(&over));
        let listener = std::thread::spawn(move || {
            while !end.load(Relaxed) {
                match tcp.accept() {
                    Ok((stream, _)) if alive.load(Relaxed) => drop(std::thread::spawn(move || echo(stream))),
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        let (alive, end) = (Arc::clone(&live), Arc::clone(&over));
        let datagrams = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !end.load(Relaxed) {
                if let Ok((length, client)) = udp.recv_from(&mut buffer)
                    && alive.load(Relaxed)
                {
                    drop(udp.send_to(&buffer[..length], client));
                }
            }
        });
        Pod { live, over, threads: vec![listener, datagrams] }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn echo(mut stream: TcpStream) {
    drop(stream.set_nonblocking(false));
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
