//! What a back end has to do.
//!
//! Promise: a sync that fails leaves in force what was in force; the next one is told to look at everything again.

use std::net::IpAddr;
use std::time::Duration;

use super::model::{Changes, DataPlane, Frontend};
use crate::netlink::SyncError;

/// Programs the kernel. It is called from one thread, may block while the kernel works, and makes its sockets when
/// it is made, so that they belong to the network namespace of that moment.
pub trait Backend: Send {
    /// `nftables` or `ipvs`, as `/proxyMode` says it.
    fn name(&self) -> &'static str;

    /// Makes the kernel do what `desired` says. `changes` tells what can differ since the last sync that succeeded;
    /// if everything can, the kernel's state is read and compared, and only the difference is sent. So the first
    /// sync of a process adopts what its predecessor left.
    ///
    /// # Errors
    ///
    /// When the kernel refuses. What was in force before stays in force.
    fn sync(&mut self, desired: &DataPlane, changes: &Changes) -> Result<Report, SyncError>;

    /// Whether somebody else may have changed the kernel's state since the last sync. Cheap; asked once a sync
    /// period.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    fn is_disturbed(&mut self) -> Result<bool, SyncError>;

    /// Lets go, one step a call, after another back end has programmed everything: what is established goes on, what is
    /// new is the other's. Nothing is left once the report does not ask to be called again.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the step is to be tried again.
    fn hand_over(&mut self, desired: &DataPlane) -> Result<Report, SyncError>;

    /// Takes away everything that this back end ever made.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn cleanup(&mut self) -> Result<(), SyncError>;
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages or elements added, and removed. Both 0 when the kernel was right already.
    pub added: usize,
    pub removed: usize,
    /// UDP flows that still lead where no connection should go; their conntrack entries are to be deleted.
    pub stale: Vec<Stale>,
    /// The back end wants to be called again after this time even if nothing changes (endpoints that drain).
    pub again_in: Option<Duration>,
}

/// Conntrack entries that must not outlive a change: those of a frontend that lead to `endpoint`, or, when there is
/// none, all entries of a frontend that were made while it had no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub frontend: Frontend,
    pub endpoint: Option<(IpAddr, u16)>,
}
