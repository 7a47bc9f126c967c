//! How IPVS lets go when another back end takes over.
//!
//! Promise: what is established goes on. The other back end translates new connections before packets come to IPVS, so
//! virtual servers only have to stay, reachable and with weight 0, until the last of their connections ends. What was
//! left is found in the kernel, so it does not matter when or by whom the proxy was stopped.

use std::time::Duration;

use component::clock::Clock;

use super::reach::Reach;
use super::wanted::{frontend_named, node_port_of};
use super::{Commands, Ipvs, Layer4, Options, failed, firewall, open};
use crate::netlink::{Protocol, SyncError};
use crate::proxy::backend::{Backend as _, Report, Stale};
use crate::proxy::model::{Changes, DataPlane};
use crate::proxy::stale;

/// The grace of connections whose endpoints stay while another back end takes over: practically none.
const HANDED_OVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Between two steps of handing over.
const STEP: Duration = Duration::from_millis(250);

/// So many steps look for UDP flows of ours: an answer that was under way makes one anew, behind the other back end's
/// back.
const LOOKS_FOR_FLOWS: u32 = 3;

/// There once the kernel has IPVS.
const TABLE_FILE: &str = "/proc/net/ip_vs";

impl Ipvs {
    /// What a proxy left here, to hand over or to take away; none if there is nothing. Changes nothing.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(in crate::proxy) fn left_over(mut options: Options, clock: Clock) -> Result<Option<Ipvs>, SyncError> {
        // To ask for the family would load the module.
        if !std::path::Path::new(TABLE_FILE).exists() {
            return Ok(None);
        }
        let mut firewall = match firewall::open() {
            Ok(firewall) => firewall,
            Err(SyncError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        // It is made first and goes last: without it nothing here is ours.
        if !firewall.is_there()? {
            return Ok(None);
        }
        let mut socket = open(Protocol::Generic)?;
        let commands = Commands::resolve(&mut socket).map_err(|error| failed("find IPVS", error))?;
        options.reach = Reach::found().map_err(|error| failed("read this machine's links", error))?;
        // Endpoints that are still there keep their connections for as long as they like.
        options.grace = HANDED_OVER;
        Self::with(options, clock, (socket, commands), firewall).map(Some)
    }

    /// One step: first the UDP flows are forgotten while IPVS still serves what is under way, so that the next packet of each is
    /// the other back end's. Then all virtual servers close: TCP connections go on until they end.
    pub(super) fn leave(&mut self, desired: &DataPlane) -> Result<Report, SyncError> {
        let mut report = Report::default();
        if self.handed_over > 0 {
            let nothing = DataPlane::new(desired.settings.clone());
            let changes = if self.adopted { Changes::default() } else { Changes::everything() };
            report = self.sync(&nothing, &changes)?;
        }
        if self.handed_over < LOOKS_FOR_FLOWS {
            let mut conntrack = open(Protocol::Netfilter)?;
            let deleted = stale::delete_led_by_ipvs(&mut conntrack)
                .map_err(|error| failed("delete UDP flows of IPVS", error))?;
            tracing::debug!(deleted, "UDP flows leave IPVS");
            report.again_in = Some(STEP);
        }
        if self.handed_over == 0 {
            report.stale = self.flows_to_gone_endpoints(desired)?;
        }
        self.handed_over += 1;
        Ok(report)
    }

    /// UDP flows of the other back end's earlier time, to endpoints that went while no proxy looked.
    fn flows_to_gone_endpoints(&mut self, desired: &DataPlane) -> Result<Vec<Stale>, SyncError> {
        let failed = |error| failed("read virtual servers", error);
        let mut stale = Vec::new();
        for (key, _) in self.commands.servers(&mut self.socket).map_err(failed)? {
            let udp = frontend_named(&key).filter(|frontend| frontend.protocol == Layer4::Udp);
            let Some(frontend) = udp.filter(|_| self.is_ours(&key, desired.settings.masquerade_mark)) else {
                continue;
            };
            let policies = [frontend, node_port_of(&frontend)];
            let policies: Vec<_> = policies.iter().filter_map(|it| desired.frontends.get(it)).collect();
            for (gone, _) in self.commands.destinations(&mut self.socket, &key).map_err(failed)? {
                let endpoint = (gone.address, gone.port);
                let mut reachable = policies.iter().flat_map(|policy| policy.reachable());
                if !reachable.any(|it| (it.address, it.port) == endpoint) {
                    stale.push(Stale { frontend, endpoint: Some(endpoint) });
                }
            }
        }
        Ok(stale)
    }
}
