//! The data plane in nf_tables.
//!
//! Promise: the work of a sync grows with what changed, the number of rules with nothing but the different numbers
//! of endpoints that services have. Everything changes in one transaction: a packet sees the state before or the
//! state after, and a transaction that the kernel refuses changes nothing. Writes the tables `ip steersman-proxy`
//! and `ip6 steersman-proxy` and no others.

mod elements;
mod installed;
mod layout;
mod matching;

use std::collections::BTreeSet;

use nix::errno::Errno;

use self::installed::Installed;
use self::layout::{AFFINITY, CLOSED_PORTS, CLUSTER_ADDRESSES, TABLE};
use super::backend::{Backend, Report, Stale};
use super::model::{Changes, DataPlane, Family, Frontend, Protocol};
use crate::netlink::SyncError;
use crate::nftables::{Data, Edits, Element, Kernel, Transaction, refused};

/// How often the remembered clients are read anew when the kernel forgets some of them meanwhile.
const FORGET_ATTEMPTS: usize = 5;

/// The nftables back end.
#[derive(Debug)]
pub struct Nftables {
    kernel: Kernel,
    /// What the last sync that succeeded made; `None` before it and after a failure.
    installed: Option<Installed>,
}

impl Nftables {
    /// Opens it in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Without permission, or when the kernel has no nf_tables.
    pub fn open() -> Result<Self, SyncError> {
        let kernel = Kernel::open().map_err(|error| match error {
            SyncError::Missing(what) => SyncError::Missing(format!("{what} or choose another --proxy-mode")),
            other => other,
        })?;
        Ok(Self { kernel, installed: None })
    }

    /// What a proxy left here; none if there is nothing.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(super) fn left_over() -> Result<Option<Self>, SyncError> {
        match Self::open() {
            Ok(mut found) => Ok(found.is_there()?.then_some(found)),
            Err(SyncError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a proxy's tables are there.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub fn is_there(&mut self) -> Result<bool, SyncError> {
        self.kernel.has(&TABLE)
    }

    /// Reads what the kernel has and makes the difference.
    fn sync_all(&mut self, desired: &DataPlane) -> Result<(Installed, Report), SyncError> {
        let (installed, mut wanted) = Installed::all(desired);
        let mut all = self.kernel.compare(&TABLE, |family| {
            (installed.chains(family), wanted.remove(&family).unwrap_or_default())
        })?;
        // Ports are closed a transaction later than services are found: a packet that is between the two chains when
        // the tables come to life was not translated, and is IPVS's if that served until now.
        let later: Vec<_> =
            all.iter_mut().map(|(family, edits)| (*family, edits.put_off(CLUSTER_ADDRESSES))).collect();
        let mut report = self.commit(&all, desired)?;
        report.added += self.commit(&later, desired)?.added;
        self.forget(desired, |_| true)?;
        Ok((installed, report))
    }

    /// Makes the changes to what was installed last.
    fn sync_some(
        &mut self,
        desired: &DataPlane,
        changes: &Changes,
        mut installed: Installed,
    ) -> Result<(Installed, Report), SyncError> {
        let unstuck: BTreeSet<Frontend> = installed.sticky(&changes.frontends);
        let mut edits = installed.change(desired, changes);
        edits.retain(|(family, _)| self.kernel.families().contains(family));
        let report = self.commit(&edits, desired)?;
        if !unstuck.is_empty() {
            self.forget(desired, |frontend| unstuck.contains(frontend))?;
        }
        Ok((installed, report))
    }

    /// Sends edits as one transaction.
    fn commit(&mut self, edits: &[(Family, Edits)], desired: &DataPlane) -> Result<Report, SyncError> {
        let mut report = Report::default();
        for (family, edits) in edits {
            let (added, removed) = edits.sizes();
            report.added += added;
            report.removed += removed;
            report.stale.extend(stale(*family, edits, desired));
        }
        self.kernel.commit(&TABLE, edits)?;
        Ok(report)
    }

    /// Refuses no more what goes to ports of cluster IPs that nobody claims.
    fn open_ports(&mut self) -> Result<(), SyncError> {
        if !self.kernel.has(&TABLE)? {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        for family in self.kernel.families() {
            transaction.flush_chain(*family, TABLE.name, CLOSED_PORTS);
        }
        match self.kernel.send(transaction)? {
            Ok(()) => Ok(()),
            // What is not there refuses nothing.
            Err((_, failure)) if failure.errno == Errno::ENOENT => Ok(()),
            Err((doing, failure)) => Err(refused(doing, failure)),
        }
    }

    /// Forgets the clients of some frontends that are remembered with an endpoint they may not go to any more.
    fn forget(&mut self, desired: &DataPlane, of: impl Fn(&Frontend) -> bool) -> Result<(), SyncError> {
        for attempt in 1.. {
            let mut transaction = Transaction::new();
            for family in self.kernel.families().to_vec() {
                let doing = "read the clients with session affinity";
                let all = self.kernel.elements(family, &TABLE, AFFINITY, doing)?;
                let gone = all.iter().filter(|element| is_unwanted(family, element, desired, &of));
                transaction.delete_elements(family, TABLE.name, AFFINITY, gone);
            }
            if transaction.is_empty() {
                return Ok(());
            }
            match self.kernel.send(transaction)? {
                Ok(()) => return Ok(()),
                // One of them has just timed out.
                Err((_, failure)) if failure.errno == Errno::ENOENT && attempt < FORGET_ATTEMPTS => {}
                Err((doing, failure)) => return Err(refused(doing, failure)),
            }
        }
        Ok(())
    }
}

impl Backend for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn sync(&mut self, desired: &DataPlane, changes: &Changes) -> Result<Report, SyncError> {
        // Whatever fails from here on leaves it unknown what the kernel has.
        let (installed, report) = match self.installed.take() {
            Some(installed) if !changes.everything && installed.settings == desired.settings => {
                self.sync_some(desired, changes, installed)?
            }
            _ => self.sync_all(desired)?,
        };
        self.installed = Some(installed);
        Ok(report)
    }

    fn is_disturbed(&mut self) -> Result<bool, SyncError> {
        self.kernel.is_disturbed()
    }

    /// Connections that were translated are conntrack's from their first packet on: the rules can go at once. The other
    /// back end's own masquerading keeps conntrack's translation at work. Only UDP flows to endpoints that went while no
    /// proxy looked have to be told of.
    fn hand_over(&mut self, desired: &DataPlane) -> Result<Report, SyncError> {
        let (installed, mut wanted) = Installed::all(desired);
        let edits = self.kernel.compare(&TABLE, |family| {
            (installed.chains(family), wanted.remove(&family).unwrap_or_default())
        })?;
        let stale = edits.iter().flat_map(|(family, edits)| stale(*family, edits, desired)).collect();
        self.cleanup()?;
        Ok(Report { stale, ..Report::default() })
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        self.installed = None;
        // While a table goes, kernels find services no more before the last rule is out of force: nothing may be
        // refused by then, or IPVS loses the connections that are its own from now on.
        self.open_ports()?;
        self.kernel.remove(&TABLE)
    }
}

/// A remembered client that may not go where it went.
fn is_unwanted(
    family: Family,
    element: &Element,
    desired: &DataPlane,
    of: impl Fn(&Frontend) -> bool,
) -> bool {
    let Some((asked, endpoint)) = elements::remembered(family, element) else { return false };
    let node_port = Frontend::node_port(family, asked.protocol, asked.port);
    let frontend = if desired.frontends.contains_key(&asked) { asked } else { node_port };
    let policy = desired.frontends.get(&frontend).filter(|policy| policy.affinity.is_some());
    let wanted = |policy: &super::model::Policy| {
        policy.reachable().any(|found| (found.address, found.port) == endpoint)
    };
    (of(&asked) || of(&node_port)) && !policy.is_some_and(|policy| wanted(policy))
}

/// UDP flows that the edits leave without a reason: the kernel tracks them and would go on as before.
fn stale(family: Family, edits: &Edits, desired: &DataPlane) -> Vec<Stale> {
    let mut stale = Vec::new();
    for element in edits.removed.get(layout::ENDPOINTS).into_iter().flatten() {
        let Some(frontend) = udp_frontend(family, element) else { continue };
        let Data::Bytes(value) = &element.data else { continue };
        let Some(endpoint) = elements::endpoint_of(family, value) else { continue };
        let policy = desired.frontends.get(&frontend);
        let mut reachable = policy.iter().flat_map(|policy| policy.reachable());
        if !reachable.any(|found| (found.address, found.port) == endpoint) {
            stale.push(Stale { frontend, endpoint: Some(endpoint) });
        }
    }
    let of_services = |all: &std::collections::BTreeMap<&'static str, Vec<Element>>| -> BTreeSet<Frontend> {
        let services = all.get(layout::SERVICES).into_iter().flatten();
        services.filter_map(|element| udp_frontend(family, element)).collect()
    };
    let was_served = of_services(&edits.removed);
    let begins = of_services(&edits.added).into_iter().filter(|frontend| !was_served.contains(frontend));
    stale.extend(begins.map(|frontend| Stale { frontend, endpoint: None }));
    stale
}

fn udp_frontend(family: Family, element: &Element) -> Option<Frontend> {
    elements::frontend_of(family, &element.key).filter(|frontend| frontend.protocol == Protocol::Udp)
}
