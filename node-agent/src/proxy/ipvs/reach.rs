//! Makes virtual addresses this machine's, so that packets to them come to IPVS.
//!
//! Promise: an address is reachable by one local route over the loopback, of our own routing protocol number, so
//! that no device carries thousands of addresses; in the compatible mode the device `kube-ipvs0` has them, as
//! upstream. Only what is ours is ever taken away: our routes, and the addresses of that device.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::errno::Errno;
use rustc_hash::FxHashSet;

use crate::netlink::{Batch, Error, Failure, Protocol, Socket, route};

/// Upstream's device.
pub const DEVICE: &str = "kube-ipvs0";

/// How virtual addresses become this machine's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// A local route each.
    #[default]
    Route,
    /// An address each of the dummy device `kube-ipvs0`.
    Device,
}

/// The kernel's side, with what it has.
#[derive(Debug)]
pub(super) struct Reach {
    mode: Mode,
    socket: Socket,
    has: FxHashSet<IpAddr>,
    /// Those of `has` whose route names another source than today's: they are made again.
    outdated: FxHashSet<IpAddr>,
    /// Source of this machine's own connections to virtual addresses: its first address of each family.
    sources: [Option<IpAddr>; 2],
    device: Option<u32>,
}

/// Addresses of this machine that are not ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// All of them.
    pub(super) all: BTreeSet<IpAddr>,
    /// Those that others can reach: no loopback, no link-local ones.
    pub(super) global: Vec<IpAddr>,
}

impl Reach {
    /// Opens its socket.
    pub(super) fn open(mode: Mode) -> Result<Reach, Error> {
        let socket = Socket::open(Protocol::Route)?;
        let (has, outdated) = Default::default();
        Ok(Reach { mode, socket, has, outdated, sources: [None, None], device: None })
    }

    /// The mode that was at work here, by what it left.
    pub(super) fn found() -> Result<Mode, Error> {
        let mut reach = Reach::open(Mode::Device)?;
        Ok(if reach.find_device()?.is_some() { Mode::Device } else { Mode::Route })
    }

    /// This machine's addresses.
    pub(super) fn own(&mut self) -> Result<Own, Error> {
        let device = self.find_device()?;
        let mut own = Own::default();
        for address in route::addresses(&mut self.socket)? {
            if Some(address.link) == device {
                continue;
            }
            own.all.insert(address.address);
            if address.scope == 0 && !address.address.is_loopback() {
                own.global.push(address.address);
            }
        }
        Ok(own)
    }

    /// Reads what the kernel has. `node` are this node's addresses, the preferred ones first.
    pub(super) fn read(&mut self, node: &[IpAddr]) -> Result<(), Error> {
        self.device = self.find_device()?;
        self.sources = [false, true].map(|v6| node.iter().copied().find(|address| address.is_ipv6() == v6));
        self.outdated.clear();
        self.has = match (self.mode, self.device) {
            (Mode::Route, _) => {
                let routes = route::local_routes(&mut self.socket)?;
                let outdated = routes.iter().filter(|route| route.source != self.source(route.address));
                self.outdated = outdated.map(|route| route.address).collect();
                routes.into_iter().map(|route| route.address).collect()
            }
            (Mode::Device, Some(device)) => {
                let addresses = route::addresses(&mut self.socket)?.into_iter();
                addresses.filter(|address| address.link == device).map(|address| address.address).collect()
            }
            (Mode::Device, None) => FxHashSet::default(),
        };
        Ok(())
    }

    /// What the kernel has.
    pub(super) fn has(&self) -> &FxHashSet<IpAddr> {
        &self.has
    }

    /// Adds addresses. Gives how many were new.
    pub(super) fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<usize, Error> {
        let new: Vec<IpAddr> = addresses.into_iter().filter(|address| self.lacks(address)).collect();
        if new.is_empty() {
            return Ok(0);
        }
        let device = if self.mode == Mode::Device { self.ensure_device()? } else { 0 };
        let sources = self.sources;
        let mut stream = self.socket.stream();
        for address in &new {
            let batch = stream.room()?;
            match self.mode {
                Mode::Route => {
                    let source = sources[usize::from(address.is_ipv6())];
                    route::add_local_route(batch, &route::LocalRoute { address: *address, source });
                }
                Mode::Device => route::add_address(batch, device, *address, route::bits(*address)),
            }
        }
        let failures = stream.finish()?;
        self.has.reserve(new.len());
        self.note(&new, &failures, &[Errno::EEXIST], true)
    }

    /// Takes addresses away. Gives how many there were.
    pub(super) fn remove(&mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<usize, Error> {
        let gone: Vec<IpAddr> = addresses.into_iter().filter(|address| self.has.contains(address)).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let mut stream = self.socket.stream();
        for address in &gone {
            let batch = stream.room()?;
            match (self.mode, self.device) {
                (Mode::Route, _) => route::delete_local_route(batch, *address),
                (Mode::Device, device) => route::delete_address(batch, device.unwrap_or(0), *address),
            }
        }
        let failures = stream.finish()?;
        self.note(&gone, &failures, &[Errno::ESRCH, Errno::EADDRNOTAVAIL, Errno::ENODEV], false)
    }

    /// Takes away what the other mode left, after this mode's addresses are there.
    pub(super) fn remove_other_mode(&mut self) -> Result<(), Error> {
        match self.mode {
            Mode::Route => self.remove_device(),
            Mode::Device => self.remove_routes(),
        }
    }

    /// Takes away everything.
    pub(super) fn cleanup(&mut self) -> Result<(), Error> {
        self.remove_routes()?;
        self.remove_device()?;
        self.has.clear();
        Ok(())
    }

    fn remove_routes(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new();
        for route in route::local_routes(&mut self.socket)? {
            route::delete_local_route(&mut batch, route.address);
        }
        if !batch.is_empty() {
            self.socket.execute(&mut batch)?;
        }
        Ok(())
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        let Some(device) = self.find_device()? else { return Ok(()) };
        let mut batch = Batch::new();
        route::delete_link(&mut batch, device);
        let failures = self.socket.execute(&mut batch)?;
        self.device = None;
        failures.into_iter().next().map_or(Ok(()), |failure| Err(Error::Refused(failure)))
    }

    fn ensure_device(&mut self) -> Result<u32, Error> {
        if let Some(device) = self.device {
            return Ok(device);
        }
        let mut batch = Batch::new();
        route::add_link(&mut batch, DEVICE, "dummy");
        if let Some(failure) =
            self.socket.execute(&mut batch)?.into_iter().find(|it| it.errno != Errno::EEXIST)
        {
            return Err(Error::Refused(failure));
        }
        self.device = self.find_device()?;
        self.device.ok_or(Error::Silent)
    }

    fn find_device(&mut self) -> Result<Option<u32>, Error> {
        let links = route::links(&mut self.socket)?;
        Ok(links.into_iter().find(|link| link.name == DEVICE).map(|link| link.index))
    }

    fn lacks(&self, address: &IpAddr) -> bool {
        !self.has.contains(address) || self.outdated.contains(address)
    }

    fn source(&self, address: IpAddr) -> Option<IpAddr> {
        self.sources[usize::from(address.is_ipv6())]
    }

    /// Writes down what succeeded, `there` or gone; a failure that means "so it is already" is none.
    fn note(
        &mut self,
        all: &[IpAddr],
        failures: &[Failure],
        harmless: &[Errno],
        there: bool,
    ) -> Result<usize, Error> {
        let refused = |index| {
            failures.iter().find(|it: &&Failure| it.index == index).filter(|it| !harmless.contains(&it.errno))
        };
        let mut first = None;
        for (index, address) in all.iter().enumerate() {
            match refused(index) {
                Some(failure) => first = first.or_else(|| Some(failure.clone())),
                None if there => {
                    self.has.insert(*address);
                    self.outdated.remove(address);
                }
                None => drop(self.has.remove(address)),
            }
        }
        first.map_or(Ok(all.len()), |failure| Err(Error::Refused(failure)))
    }
}
