//! The back end on IPVS: virtual servers in the kernel's load balancer.
//!
//! Promise: what the kernel has is read once, when everything may differ, and then only differences are sent, many
//! commands a send. New endpoints take connections before old ones stop; an endpoint that goes keeps its connections
//! with weight 0 until they end or the grace is over; a virtual address stays reachable until its last connection
//! ended. A failed sync leaves the kernel as it is and the next one reads it again.

mod drains;
mod firewall;
mod leaving;
mod legacy;
mod modern;
mod numbers;
mod owned;
mod reach;
mod sets;
mod steps;
mod system;
mod wanted;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use component::clock::Clock;
use nix::errno::Errno;
use rustc_hash::FxHashMap;

pub use reach::{DEVICE, Mode as ReachMode};

use super::model::{Changes, Cidr, DataPlane, Frontend, Protocol as Layer4, Settings};
use super::{Backend, Report, Stale, SyncError};
use crate::netlink::ipvs::{Commands, DestinationKey, MODULE, Server, ServerKey, Timeouts};
use crate::netlink::{Batch, Error, Failure, Protocol, Socket};
use drains::Drains;
use firewall::{Firewall, hairpins};
use numbers::Numbers;
use owned::{Delta, Owned};
use reach::Reach;
use steps::{Destinations, Known, Servers, Step, steps};
use wanted::{Context, Wanted, destination, marks, wanted};

/// Upstream's default of `--ipvs-scheduler`.
pub const DEFAULT_SCHEDULER: &str = "rr";

/// How long an endpoint that goes may keep its connections: the kernel's own timeout for idle TCP connections.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(900);

/// After this time endpoints that the kernel refused, as it has no route to them, are offered again.
const RETRY: Duration = Duration::from_secs(15);

/// Settings of this back end.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--ipvs-scheduler`.
    pub scheduler: String,
    /// `--ipvs-strict-arp`.
    pub strict_arp: bool,
    /// `--ipvs-tcp-timeout` and the like, in seconds; 0 leaves the kernel's value.
    pub timeouts: Timeouts,
    /// `--ipvs-exclude-cidrs`: virtual servers there are somebody else's.
    pub exclude: Vec<Cidr>,
    /// How virtual addresses become reachable.
    pub reach: ReachMode,
    /// How long an endpoint that goes may keep its connections.
    pub grace: Duration,
    /// This node's addresses, the preferred ones first; of a family without any, the first that a device has.
    pub node_addresses: Vec<IpAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            scheduler: DEFAULT_SCHEDULER.to_owned(),
            strict_arp: false,
            timeouts: Timeouts::default(),
            exclude: Vec::new(),
            reach: ReachMode::default(),
            grace: DEFAULT_GRACE,
            node_addresses: Vec::new(),
        }
    }
}

/// The back end.
#[derive(Debug)]
pub struct Ipvs {
    options: Options,
    socket: Socket,
    commands: Commands,
    reach: Reach,
    firewall: Box<dyn Firewall>,
    context: Context,
    own: reach::Own,
    numbers: Numbers,
    /// What the kernel has, as far as it is ours; only right while `adopted`.
    servers: Servers,
    adopted: bool,
    /// Those of the last sync.
    settings: Settings,
    owned: Owned,
    drains: Drains,
    /// Frontends with an endpoint that the kernel refused.
    refused: BTreeSet<Frontend>,
    /// Steps of `hand_over` so far.
    handed_over: u32,
}

impl Ipvs {
    /// Loads what is missing, prepares the kernel and reads nothing yet.
    ///
    /// # Errors
    ///
    /// The module that is missing by its name, or that there is no permission.
    pub fn new(options: Options, clock: Clock) -> Result<Ipvs, SyncError> {
        system::load(MODULE);
        let mut socket = open(Protocol::Generic)?;
        let commands = Commands::resolve(&mut socket).map_err(|error| failed("find IPVS", error))?;
        probe(&mut socket, &commands, &options.scheduler)?;
        system::prepare(options.strict_arp)?;
        let mut batch = Batch::new();
        commands.set_timeouts(&mut batch, options.timeouts);
        let failures =
            socket.execute(&mut batch).map_err(|error| failed("set the timeouts of IPVS", error))?;
        refuse("set the timeouts of IPVS", failures)?;
        Self::with(options, clock, (socket, commands), firewall::open()?)
    }

    fn with(
        options: Options,
        clock: Clock,
        (socket, commands): (Socket, Commands),
        firewall: Box<dyn Firewall>,
    ) -> Result<Ipvs, SyncError> {
        let reach = Reach::open(options.reach).map_err(|error| failed("open a netlink socket", error))?;
        Ok(Ipvs {
            drains: Drains::new(clock, options.grace),
            options,
            socket,
            commands,
            reach,
            firewall,
            context: Context::default(),
            own: reach::Own::default(),
            numbers: Numbers::default(),
            servers: Servers::default(),
            adopted: false,
            settings: Settings::default(),
            owned: Owned::default(),
            refused: BTreeSet::new(),
            handed_over: 0,
        })
    }

    /// Reads the kernel's state and forgets what was known. What nobody wants any more is owned all the same, so that
    /// it goes the same way as a frontend that ends.
    fn adopt(&mut self, desired: &DataPlane) -> Result<(), SyncError> {
        self.read_context(desired)?;
        self.numbers.keep(|frontend| desired.frontends.contains_key(frontend));
        for (frontend, _) in desired.frontends.iter().filter(|(_, policy)| policy.from_cluster.is_some()) {
            self.numbers.take(frontend);
        }
        let servers =
            self.commands.servers(&mut self.socket).map_err(|error| failed("read virtual servers", error))?;
        self.servers.clear();
        self.servers.reserve(desired.frontends.len());
        self.owned = Owned::with_room(desired.frontends.len());
        for (key, server) in servers {
            if !self.is_ours(&key, desired.settings.masquerade_mark) {
                continue;
            }
            let destinations = self
                .commands
                .destinations(&mut self.socket, &key)
                .map_err(|error| failed("read real servers", error))?;
            for (destination, state) in &destinations {
                if state.weight == 0 {
                    self.drains.start(key, *destination);
                }
            }
            let destinations: Destinations =
                destinations.into_iter().map(|(key, state)| (key, state.weight)).collect();
            self.servers.insert(key, Box::new(Known { server, destinations }));
            if self.claimant(&key, desired).is_none() {
                self.owned.inherit(&key, self.reach.has());
            }
        }
        self.drains.keep(|key, destination| {
            self.servers.get(key).is_some_and(|known| known.destinations.weight(destination) == Some(0))
        });
        Ok(())
    }

    fn read_context(&mut self, desired: &DataPlane) -> Result<(), SyncError> {
        self.own = self.reach.own().map_err(|error| failed("read this machine's addresses", error))?;
        let ranges = &desired.settings.node_port_addresses;
        let selected = |address: &IpAddr| ranges.iter().any(|range| range.contains(*address));
        self.context = Context {
            scheduler: self.options.scheduler.as_str().into(),
            node_ports: self.own.global.iter().copied().filter(selected).collect(),
            own: self.own.all.clone(),
        };
        let node: Vec<IpAddr> = self.options.node_addresses.iter().chain(&self.own.global).copied().collect();
        let node: Vec<IpAddr> = node.into_iter().filter(|address| self.own.all.contains(address)).collect();
        self.reach.read(&node).map_err(|error| failed("read local routes", error))
    }

    fn is_ours(&self, key: &ServerKey, masquerade_mark: u32) -> bool {
        match key {
            ServerKey::Address { address, .. } => {
                !self.options.exclude.iter().any(|range| range.contains(*address))
            }
            ServerKey::Mark { mark, .. } => {
                let number = mark >> wanted::MARK_SHIFT;
                number != 0 && marks(number, masquerade_mark).contains(mark)
            }
        }
    }

    /// The frontend that wants a virtual server.
    fn claimant(&self, key: &ServerKey, desired: &DataPlane) -> Option<Frontend> {
        match key {
            ServerKey::Address { .. } => wanted::claimant(key, desired, &self.context),
            ServerKey::Mark { mark, v6 } => {
                let owner = self.numbers.owner(mark >> wanted::MARK_SHIFT);
                let wants = |frontend: &Frontend| {
                    frontend.address.is_ipv6() == *v6
                        && desired.frontends.get(frontend).is_some_and(|policy| policy.from_cluster.is_some())
                };
                owner.filter(wants)
            }
        }
    }

    /// Frontends to look at: those that changed, and node ports that share a virtual server with one of them.
    fn affected(&self, changes: &Changes) -> BTreeSet<Frontend> {
        let named = changes.frontends.iter().filter(|frontend| self.context.own.contains(&frontend.address));
        changes.frontends.iter().copied().chain(named.map(wanted::node_port_of)).collect()
    }

    /// What a frontend wants now; nothing if there is no such frontend any more.
    fn wanted(&mut self, frontend: &Frontend, desired: &DataPlane) -> Result<Wanted, SyncError> {
        let Some(policy) = desired.frontends.get(frontend) else { return Ok(Wanted::default()) };
        let number = match &policy.from_cluster {
            None => 0,
            Some(_) => {
                self.numbers.take(frontend).ok_or_else(|| SyncError::Missing("free packet marks".into()))?
            }
        };
        Ok(wanted(frontend, policy, desired, &self.context, number))
    }

    /// Adds the steps for one frontend to `all`; `delta` collects what changes beside IPVS.
    fn plan(
        &mut self,
        frontend: &Frontend,
        desired: &DataPlane,
        all: &mut Vec<Step>,
        delta: &mut Delta,
    ) -> Result<(), SyncError> {
        let wanted = self.wanted(frontend, desired)?;
        for (key, server, endpoints) in &wanted.servers {
            let destinations: Vec<DestinationKey> = endpoints.iter().map(destination).collect();
            all.extend(steps(
                key,
                self.servers.get(key).map(|known| &**known),
                Some((server, &destinations)),
            ));
        }
        let mut closing = Vec::new();
        for key in self.owned.servers(frontend) {
            let wanted_here = wanted.servers.iter().any(|(wanted, ..)| wanted == key);
            if wanted_here || self.claimant(key, desired).is_some_and(|other| other != *frontend) {
                continue;
            }
            let Some(known) = self.servers.get(key) else { continue };
            let last = steps(key, Some(known), None);
            if !last.iter().any(|step| matches!(step, Step::DeleteServer(_))) {
                closing.push(*key);
            }
            all.extend(last);
        }
        if !desired.frontends.contains_key(frontend) && closing.is_empty() {
            self.numbers.release(frontend);
        }
        self.owned.set(*frontend, wanted, closing, delta);
        Ok(())
    }

    /// Sends steps. What the kernel took is written down; what it refused is told by the first refusal that matters.
    fn carry_out(
        &mut self,
        steps: &[Step],
        desired: &DataPlane,
        report: &mut Report,
    ) -> Result<(), SyncError> {
        if steps.is_empty() {
            return Ok(());
        }
        let failures = self.send(steps).map_err(|error| failed("program IPVS", error))?;
        let failures: FxHashMap<usize, Failure> = failures.into_iter().map(|it| (it.index, it)).collect();
        let mut fatal = None;
        for (index, step) in steps.iter().enumerate() {
            match failures.get(&index) {
                None => {
                    step.note(&mut self.servers);
                    self.drains.note(step);
                    if step.adds() {
                        report.added += 1
                    } else {
                        report.removed += 1
                    }
                    report.stale.extend(self.stale(step));
                }
                Some(failure) if failure.errno == Errno::EINVAL && matches!(step, Step::Add(..)) => {
                    // No route to it (yet): others serve meanwhile, and it is offered again.
                    tracing::warn!(?step, "the kernel refuses an endpoint: is there a route to it?");
                    if let Step::Add(key, _) = step {
                        self.refused.extend(self.claimant(key, desired));
                    }
                }
                Some(failure) => fatal = fatal.or(Some((step, failure))),
            }
        }
        fatal.map_or(Ok(()), |(step, failure)| {
            let module = matches!(step, Step::AddServer(..)) && failure.errno == Errno::ENOENT;
            if module {
                return Err(missing_scheduler(&self.options.scheduler));
            }
            refuse(&format!("{step:?}"), vec![failure.clone()])
        })
    }

    fn send(&mut self, steps: &[Step]) -> Result<Vec<Failure>, Error> {
        let mut stream = self.socket.stream();
        for step in steps {
            step.write(&self.commands, stream.room()?);
        }
        stream.finish()
    }

    /// UDP flows that a step leaves leading nowhere.
    fn stale(&self, step: &Step) -> Vec<Stale> {
        let (key, endpoints) = match step {
            Step::Delete(key, endpoint) => (key, vec![*endpoint]),
            Step::DeleteServer(key) => (
                key,
                self.servers
                    .get(key)
                    .map(|it| it.destinations.iter().map(|(key, _)| *key).collect())
                    .unwrap_or_default(),
            ),
            _ => return Vec::new(),
        };
        let frontend = match key {
            ServerKey::Address { .. } => wanted::frontend_named(key),
            ServerKey::Mark { mark, .. } => self.numbers.owner(mark >> wanted::MARK_SHIFT),
        };
        let Some(frontend) = frontend.filter(|frontend| frontend.protocol == Layer4::Udp) else {
            return Vec::new();
        };
        let stale =
            |endpoint: DestinationKey| Stale { frontend, endpoint: Some((endpoint.address, endpoint.port)) };
        endpoints.into_iter().map(stale).collect()
    }

    /// A frontend whose last virtual server went in this sync gives back what it kept for it at once.
    fn sync_twice(&mut self, desired: &DataPlane, changes: &Changes) -> Result<Report, SyncError> {
        let mut report = self.sync_all(desired, changes)?;
        self.adopted = true;
        self.settings.clone_from(&desired.settings);
        if self.drains.has_emptied() {
            let rest = self.sync_all(desired, &Changes::default())?;
            report.added += rest.added;
            report.removed += rest.removed;
            report.again_in = rest.again_in;
            report.stale.extend(rest.stale);
        }
        Ok(report)
    }

    fn sync_all(&mut self, desired: &DataPlane, changes: &Changes) -> Result<Report, SyncError> {
        let everything = changes.everything || !self.adopted || self.settings != desired.settings;
        let mut again = std::mem::take(&mut self.refused);
        again.extend(self.drains.take_emptied());
        let frontends = if everything {
            self.adopt(desired)?;
            self.all_frontends(desired)
        } else {
            again.extend(self.affected(changes));
            again.into_iter().collect()
        };
        let (mut delta, mut steps, mut report) = (Delta::default(), Vec::new(), Report::default());
        if everything && self.servers.is_empty() {
            steps.reserve(desired.frontends.values().map(|policy| 1 + policy.reachable().count()).sum());
        }
        for frontend in &frontends {
            self.plan(frontend, desired, &mut steps, &mut delta)?;
            if everything {
                // Sets and addresses are compared as a whole below.
                report.added += delta.added.len();
                report.removed += delta.removed.len();
                delta.clear();
            }
        }
        if everything {
            let shared = firewall::shared_elements(desired);
            let elements = firewall::by_set(self.owned.elements().chain(&shared), desired.frontends.len());
            self.firewall.replace(&firewall::rules(desired), &elements)?;
        } else {
            delta.added.extend(hairpins(desired, changes, true));
            self.firewall.change(&delta.added, &[])?;
        }
        self.carry_out(&steps, desired, &mut report)?;
        report.added += self.add_addresses(everything, &delta)?;
        report.removed += self.remove_addresses(everything, &delta)?;
        if !everything {
            delta.removed.extend(hairpins(desired, changes, false));
            self.firewall.change(&[], &delta.removed)?;
        }
        report.added += delta.added.len();
        report.removed += delta.removed.len();
        self.finish_drains(desired, &mut report)?;
        Ok(report)
    }

    /// Frontends that are wanted or have anything.
    fn all_frontends(&self, desired: &DataPlane) -> Vec<Frontend> {
        let mut all = Vec::with_capacity(desired.frontends.len());
        all.extend(desired.frontends.keys().copied());
        all.extend(self.owned.frontends());
        all.sort_unstable();
        all.dedup();
        all
    }

    fn add_addresses(&mut self, everything: bool, delta: &Delta) -> Result<usize, SyncError> {
        let added: Vec<IpAddr> = match everything {
            true => self.owned.addresses().collect(),
            false => delta.reachable.clone(),
        };
        self.reach.add(added).map_err(|error| failed("make virtual addresses reachable", error))
    }

    fn remove_addresses(&mut self, everything: bool, delta: &Delta) -> Result<usize, SyncError> {
        let fail = |error| failed("take virtual addresses away", error);
        if !everything {
            return self.reach.remove(delta.unreachable.iter().copied()).map_err(fail);
        }
        let has = self.reach.has().iter().copied();
        let gone: Vec<IpAddr> = has.filter(|address| !self.owned.has_address(address)).collect();
        self.reach.remove_other_mode().map_err(fail)?;
        self.reach.remove(gone).map_err(fail)
    }

    /// Deletes real servers whose connections ended, and virtual servers that wait for nothing else.
    fn finish_drains(&mut self, desired: &DataPlane, report: &mut Report) -> Result<(), SyncError> {
        let mut steps = Vec::new();
        for key in self.drains.due() {
            let states = self
                .commands
                .destinations(&mut self.socket, &key)
                .map_err(|error| failed("read real servers", error))?;
            steps.extend(self.drains.ended(&key, &states));
            let left = states.len()
                - steps.iter().filter(|step| matches!(step, Step::Delete(of, _) if *of == key)).count();
            if left == 0 && self.owned.is_closing(&key) {
                steps.push(Step::DeleteServer(key));
            }
        }
        self.carry_out(&steps, desired, report)?;
        for step in &steps {
            if let Step::DeleteServer(key) = step {
                self.drains.emptied(self.owned.frontend_of(key));
            }
        }
        let retry = (!self.refused.is_empty()).then_some(RETRY);
        report.again_in = [retry, self.drains.again_in()].into_iter().flatten().min();
        Ok(())
    }
}

impl Backend for Ipvs {
    fn name(&self) -> &'static str {
        "ipvs"
    }

    fn sync(&mut self, desired: &DataPlane, changes: &Changes) -> Result<Report, SyncError> {
        let result = self.sync_twice(desired, changes);
        self.adopted = result.is_ok();
        result
    }

    fn is_disturbed(&mut self) -> Result<bool, SyncError> {
        if !self.adopted
            || self.reach.own().map_err(|error| failed("read this machine's addresses", error))? != self.own
        {
            return Ok(true);
        }
        let servers =
            self.commands.servers(&mut self.socket).map_err(|error| failed("read virtual servers", error))?;
        let there = servers.iter().filter(|(key, _)| self.servers.contains_key(key)).count();
        Ok(there != self.servers.len() || !self.firewall.is_in_force()?)
    }

    fn hand_over(&mut self, desired: &DataPlane) -> Result<Report, SyncError> {
        self.leave(desired)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.adopted = false;
        let servers =
            self.commands.servers(&mut self.socket).map_err(|error| failed("read virtual servers", error))?;
        let mark = super::model::Settings::default().masquerade_mark;
        let ours = servers.into_iter().filter(|(key, _)| self.is_ours(key, mark));
        let steps: Vec<Step> = ours.map(|(key, _)| Step::DeleteServer(key)).collect();
        let failures = self.send(&steps).map_err(|error| failed("delete virtual servers", error))?;
        refuse("delete virtual servers", failures)?;
        self.reach.cleanup().map_err(|error| failed("take virtual addresses away", error))?;
        self.firewall.cleanup()
    }
}

fn open(protocol: Protocol) -> Result<Socket, SyncError> {
    Socket::open(protocol).map_err(|error| failed("open a netlink socket", error))
}

/// Asks for a virtual server with the scheduler and deletes it, so that a missing module is known at once.
fn probe(socket: &mut Socket, commands: &Commands, scheduler: &str) -> Result<(), SyncError> {
    // No packet carries this mark: it is not one of ours either, as its lower bits are not.
    let key = ServerKey::Mark { v6: false, mark: 0xffff_fffe };
    let mut batch = Batch::new();
    commands.add_server(&mut batch, &key, &Server { scheduler: scheduler.into(), flags: 0, timeout: 0 });
    commands.delete_server(&mut batch, &key);
    let failures = socket.execute(&mut batch).map_err(|error| failed("program IPVS", error))?;
    match failures.into_iter().find(|failure| failure.index == 0) {
        None => Ok(()),
        Some(failure) if failure.errno == Errno::EEXIST => Ok(()),
        Some(failure) if failure.errno == Errno::ENOENT => Err(missing_scheduler(scheduler)),
        Some(failure) => refuse("make a virtual server", vec![failure]),
    }
}

fn missing_scheduler(scheduler: &str) -> SyncError {
    SyncError::Missing(format!("the IPVS scheduler {scheduler} (kernel module ip_vs_{scheduler})"))
}

fn refuse(doing: &str, failures: Vec<Failure>) -> Result<(), SyncError> {
    match failures.into_iter().next() {
        None => Ok(()),
        Some(failure) if matches!(failure.errno, Errno::EPERM | Errno::EACCES) => Err(SyncError::Permission),
        Some(failure) => Err(SyncError::Refused { doing: doing.to_owned(), source: failure.errno.into() }),
    }
}

/// A netlink error as the proxy reports it.
fn failed(doing: &'static str, error: Error) -> SyncError {
    match error {
        Error::NoFamily { module, .. } => SyncError::Missing(format!("IPVS (kernel module {module})")),
        error if error.is_permission() => SyncError::Permission,
        error => {
            let source = error.errno().map_or_else(|| std::io::Error::other(error), Into::into);
            SyncError::Netlink { doing, source }
        }
    }
}
