//! Clients that never pause, and what they count.
//!
//! Promise: each attempt is counted, as begun and as lost. A UDP question may be sent twice, as a resolver does. Who
//! asks can wait until every attempt that had begun is over (`Load::settle`).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::uml;
use tokio::time::Instant;

use crate::network::Network;

/// How long a connection may take to open or to answer before it is lost; generous, as machines for tests are slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until a UDP question is asked once more.
const RETRY: Duration = Duration::from_secs(1);
/// Between two exchanges of a connection that is kept: there are many of these, and the machine is for newcomers.
const KEPT: Duration = Duration::from_millis(50);
/// For every attempt to be over that had begun.
const SETTLED: Duration = Duration::from_secs(60);

/// What clients count, and when things happened.
#[derive(Debug)]
pub(super) struct Counts {
    since: Instant,
    over: AtomicBool,
    /// Raised by each `settle`.
    epoch: AtomicUsize,
    opened: AtomicUsize,
    open_lost: AtomicUsize,
    kept: AtomicUsize,
    kept_exchanges: AtomicUsize,
    kept_lost: AtomicUsize,
    datagrams: AtomicUsize,
    datagrams_retried: AtomicUsize,
    datagrams_lost: AtomicUsize,
}

impl Counts {
    /// Tells what happens and when: what a test that fails shows.
    pub(super) fn tell(&self, what: &str) {
        eprintln!("{:8.3} s: {what}", self.since.elapsed().as_secs_f64());
    }
}

/// All clients at work.
pub(super) struct Load<'a> {
    network: &'a Network,
    counts: Arc<Counts>,
    /// The epoch in which each client that comes anew again and again began its latest attempt.
    begun: Vec<Arc<AtomicUsize>>,
    threads: Vec<JoinHandle<()>>,
}

impl<'a> Load<'a> {
    /// Nobody yet.
    pub(super) fn new(network: &'a Network) -> Self {
        let counts = Counts {
            since: Instant::now(),
            over: AtomicBool::default(),
            epoch: AtomicUsize::default(),
            opened: AtomicUsize::default(),
            open_lost: AtomicUsize::default(),
            kept: AtomicUsize::default(),
            kept_exchanges: AtomicUsize::default(),
            kept_lost: AtomicUsize::default(),
            datagrams: AtomicUsize::default(),
            datagrams_retried: AtomicUsize::default(),
            datagrams_lost: AtomicUsize::default(),
        };
        Self { network, counts: Arc::new(counts), begun: Vec::new(), threads: Vec::new() }
    }

    /// Tells what happens and when.
    pub(super) fn tell(&self, what: &str) {
        self.counts.tell(what);
    }

    /// From a pod and from outside: one that opens connections, three that keep theirs, two that exchange datagrams.
    pub(super) fn start(&mut self, to: SocketAddr) {
        self.keepers(to);
        for place in ["pod3", "outside"] {
            // Threads start in the place, and sockets made later are of the place.
            for client in [open, exchange_anew, exchange] {
                let (counts, begun) = (Arc::clone(&self.counts), Arc::new(AtomicUsize::default()));
                self.begun.push(Arc::clone(&begun));
                let work = move || client(to, &counts, &begun);
                self.threads.push(self.network.within(place, || std::thread::spawn(work)));
            }
        }
    }

    /// From a pod and from outside: three that keep their connections.
    pub(super) fn keepers(&mut self, to: SocketAddr) {
        for place in ["pod3", "pod3", "pod3", "outside", "outside", "outside"] {
            let stream = self.network.within(place, || connect(to)).expect("the service answers");
            let counts = Arc::clone(&self.counts);
            self.threads.push(std::thread::spawn(move || keep(stream, &counts)));
        }
    }

    /// Waits until every attempt that has begun is over, however long this machine takes for it.
    pub(super) fn settle(&self) {
        let epoch = self.counts.epoch.fetch_add(1, SeqCst) + 1;
        let since = Instant::now();
        while self.begun.iter().any(|begun| begun.load(SeqCst) < epoch) {
            assert!(since.elapsed() < SETTLED, "a client is stuck");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets them end, each with the attempt that it is at.
    pub(super) fn stop(&self) {
        self.counts.over.store(true, Relaxed);
    }

    /// Ends all of them, prints the counts, and fails if anything was lost.
    pub(super) fn finish(mut self, what: &str) {
        self.stop();
        self.threads.drain(..).for_each(|client| client.join().expect("a client"));
        report(what, &self.counts);
    }
}

fn report(what: &str, counts: &Counts) {
    let read = |count: &AtomicUsize| count.load(Relaxed);
    let (opened, open_lost) = (read(&counts.opened), read(&counts.open_lost));
    let (kept, exchanges, kept_lost) =
        (read(&counts.kept), read(&counts.kept_exchanges), read(&counts.kept_lost));
    let (datagrams, retried, lost) =
        (read(&counts.datagrams), read(&counts.datagrams_retried), read(&counts.datagrams_lost));
    harness::bench::say(&format!(
        "\n{} {what}: {opened} connections opened, {open_lost} lost; {kept} connections kept over {exchanges} exchanges, {kept_lost} lost; {datagrams} UDP exchanges, \
         {retried} sent twice, {lost} lost",
        uml::FIGURE,
    ));
    assert!(opened > 100 && exchanges > 100 && datagrams > 100, "the clients hardly worked");
    assert_eq!((open_lost, kept_lost, lost), (0, 0, 0), "connections or exchanges were lost");
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut answer)
}

/// An attempt begins.
fn begin(counts: &Counts, begun: &AtomicUsize) {
    begun.store(counts.epoch.load(SeqCst), SeqCst);
}

fn open(to: SocketAddr, counts: &Counts, begun: &AtomicUsize) {
    while !counts.over.load(Relaxed) {
        begin(counts, begun);
        counts.opened.fetch_add(1, Relaxed);
        let mut from = None;
        let asked = connect(to).and_then(|mut stream| {
            from = stream.local_addr().ok();
            ask(&mut stream)
        });
        if let Err(error) = asked {
            counts.tell(&format!("lost a new connection of {from:?}: {error}"));
            counts.open_lost.fetch_add(1, Relaxed);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn keep(mut stream: TcpStream, counts: &Counts) {
    counts.kept.fetch_add(1, Relaxed);
    while !counts.over.load(Relaxed) {
        if let Err(error) = ask(&mut stream) {
            counts.tell(&format!("lost a kept connection of {:?}: {error}", stream.local_addr().ok()));
            counts.kept_lost.fetch_add(1, Relaxed);
            return;
        }
        counts.kept_exchanges.fetch_add(1, Relaxed);
        std::thread::sleep(KEPT);
    }
}

/// One socket all the time: the kernel remembers where its first packet went.
fn exchange(to: SocketAddr, counts: &Counts, begun: &AtomicUsize) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    while !counts.over.load(Relaxed) {
        begin(counts, begun);
        question(&socket, to, counts);
    }
}

/// A new socket for each question.
fn exchange_anew(to: SocketAddr, counts: &Counts, begun: &AtomicUsize) {
    while !counts.over.load(Relaxed) {
        begin(counts, begun);
        question(&UdpSocket::bind("0.0.0.0:0").expect("a free port"), to, counts);
    }
}

fn question(socket: &UdpSocket, to: SocketAddr, counts: &Counts) {
    socket.set_read_timeout(Some(RETRY)).expect("a socket option");
    let number = counts.datagrams.fetch_add(1, Relaxed).to_ne_bytes();
    let mut answer = [0; 64];
    let mut once = || {
        drop(socket.send_to(&number, to));
        // An answer to an earlier question is passed over.
        while let Ok((length, _)) = socket.recv_from(&mut answer) {
            if answer[..length] == number {
                return true;
            }
        }
        false
    };
    if !once() {
        counts.tell(&format!("a UDP question is sent twice, from {:?}", socket.local_addr().ok()));
        counts.datagrams_retried.fetch_add(1, Relaxed);
        if !once() {
            counts.tell("lost a UDP exchange");
            counts.datagrams_lost.fetch_add(1, Relaxed);
        }
    }
    std::thread::sleep(Duration::from_millis(5));
}
