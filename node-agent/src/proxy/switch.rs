//! The back end of a mode, and what the other one left on this node.
//!
//! Promise: the new back end has programmed everything before the former one lets go, and the former one lets
//! established connections end before its tables go; so a switch of modes breaks no connection. What a former one left
//! is found in the kernel: it does not matter when or by whom that proxy was stopped. A mode that this kernel cannot do
//! is replaced by one that it can, or refused with the names of the modules.

use std::time::Duration;

use component::clock::Clock;
use tracing::{info, warn};

use super::backend::{Backend, Report};
use super::config::Mode;
use super::ipvs::{self, Ipvs};
use super::model::{Changes, DataPlane};
use super::nftables::Nftables;
use crate::netlink::SyncError;

/// After a step of letting go that failed.
const RETRY: Duration = Duration::from_secs(5);

/// A back end, and the other one until nothing is left of it.
#[expect(missing_debug_implementations, reason = "back ends are not shown")]
pub struct Switching {
    current: Box<dyn Backend>,
    former: Option<Box<dyn Backend>>,
}

impl Switching {
    /// Opens the back end of a mode in the network namespace of the calling thread, or the one that takes its place.
    ///
    /// # Errors
    ///
    /// By the names of the modules when the kernel lacks what every such mode needs, or without permission.
    pub fn open(mode: Mode, options: &ipvs::Options, clock: &Clock) -> Result<Self, SyncError> {
        let nftables = || Nftables::open().map(|opened| Box::new(opened) as Box<dyn Backend>);
        let ipvs =
            || Ipvs::new(options.clone(), clock.clone()).map(|opened| Box::new(opened) as Box<dyn Backend>);
        let current = match mode {
            Mode::Nftables => nftables()?,
            Mode::Ipvs => first_of([("ipvs", &ipvs), ("nftables", &nftables)])?,
            Mode::Auto => first_of([("nftables", &nftables), ("ipvs", &ipvs)])?,
        };
        let former = if current.name() == "nftables" {
            Ipvs::left_over(options.clone(), clock.clone())?
                .map(|former| Box::new(former) as Box<dyn Backend>)
        } else {
            Nftables::left_over()?.map(|former| Box::new(former) as Box<dyn Backend>)
        };
        if let Some(former) = &former {
            info!(from = former.name(), to = current.name(), "taking over from the other back end");
        }
        Ok(Self { current, former })
    }

    /// One step of the former one.
    fn let_go(&mut self, desired: &DataPlane) -> Result<Report, SyncError> {
        let Some(former) = &mut self.former else { return Ok(Report::default()) };
        let report = former.hand_over(desired)?;
        if report.again_in.is_none() {
            former.cleanup()?;
            info!(from = former.name(), to = self.current.name(), "nothing is left of the other back end");
            self.former = None;
        }
        Ok(report)
    }
}

/// Opens a back end.
type Open<'a, B> = &'a dyn Fn() -> Result<B, SyncError>;

/// The first that this kernel has. Only what it lacks leads on; any other error is the answer.
fn first_of<B>(modes: [(&str, Open<'_, B>); 2]) -> Result<B, SyncError> {
    let [(asked, first), (next, second)] = modes;
    match first() {
        Err(SyncError::Missing(lacking)) => match second() {
            Ok(opened) => {
                warn!(
                    asked,
                    lacking,
                    instead = next,
                    "this kernel cannot do the proxy mode, another takes its place"
                );
                Ok(opened)
            }
            Err(SyncError::Missing(also)) => Err(SyncError::Missing(format!("{lacking}; and {also}"))),
            Err(error) => Err(error),
        },
        other => other,
    }
}

impl Backend for Switching {
    fn name(&self) -> &'static str {
        self.current.name()
    }

    fn sync(&mut self, desired: &DataPlane, changes: &Changes) -> Result<Report, SyncError> {
        let mut report = self.current.sync(desired, changes)?;
        match self.let_go(desired) {
            Ok(former) => {
                report.removed += former.removed;
                report.stale.extend(former.stale);
                report.again_in = [report.again_in, former.again_in].into_iter().flatten().min();
            }
            Err(error) => {
                let error = component::telemetry::chain(&error);
                warn!(error, "the other back end does not let go, will try again");
                report.again_in = Some(report.again_in.map_or(RETRY, |again| again.min(RETRY)));
            }
        }
        Ok(report)
    }

    fn is_disturbed(&mut self) -> Result<bool, SyncError> {
        self.current.is_disturbed()
    }

    fn hand_over(&mut self, desired: &DataPlane) -> Result<Report, SyncError> {
        self.current.hand_over(desired)
    }

    fn cleanup(&mut self) -> Result<(), SyncError> {
        if let Some(mut former) = self.former.take() {
            former.cleanup()?;
        }
        self.current.cleanup()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// Writes down what it is told; needs some steps to hand over.
    struct Told {
        name: &'static str,
        steps: usize,
        fails: usize,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Backend for Told {
        fn name(&self) -> &'static str {
            self.name
        }

        fn sync(&mut self, _: &DataPlane, _: &Changes) -> Result<Report, SyncError> {
            self.log.lock().push(format!("{} syncs", self.name));
            if self.fails > 0 {
                self.fails -= 1;
                return Err(SyncError::Permission);
            }
            Ok(Report::default())
        }

        fn is_disturbed(&mut self) -> Result<bool, SyncError> {
            Ok(false)
        }

        fn hand_over(&mut self, _: &DataPlane) -> Result<Report, SyncError> {
            self.log.lock().push(format!("{} lets go", self.name));
            let again_in = (self.steps > 0).then_some(Duration::from_secs(1));
            self.steps = self.steps.saturating_sub(1);
            Ok(Report { again_in, ..Report::default() })
        }

        fn cleanup(&mut self) -> Result<(), SyncError> {
            self.log.lock().push(format!("{} goes", self.name));
            Ok(())
        }
    }

    #[test]
    fn the_former_lets_go_after_the_new_one_has_programmed_everything() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let told = |name, steps, fails| -> Box<dyn Backend> {
            Box::new(Told { name, steps, fails, log: Arc::clone(&log) })
        };
        let mut switching = Switching { current: told("new", 0, 1), former: Some(told("old", 1, 0)) };
        let plane = DataPlane::default();
        // Nothing of the former is touched while the new one does not work.
        assert!(switching.sync(&plane, &Changes::everything()).is_err());
        let first = switching.sync(&plane, &Changes::everything()).unwrap();
        assert_eq!(first.again_in, Some(Duration::from_secs(1)));
        assert_eq!(switching.sync(&plane, &Changes::default()).unwrap().again_in, None);
        switching.sync(&plane, &Changes::default()).unwrap();
        let expected =
            ["new syncs", "new syncs", "old lets go", "new syncs", "old lets go", "old goes", "new syncs"];
        assert_eq!(*log.lock(), expected);
    }

    #[test]
    fn what_a_kernel_lacks_leads_to_the_other_mode_or_is_told() {
        let missing = |what: &str| SyncError::Missing(what.to_owned());
        let opened = |first: Result<u8, SyncError>, second: Result<u8, SyncError>| {
            let (first, second) = (std::cell::Cell::new(Some(first)), std::cell::Cell::new(Some(second)));
            let (first, second) = (|| first.take().unwrap(), || second.take().unwrap());
            first_of([("ipvs", &first), ("nftables", &second)])
        };
        assert_eq!(opened(Ok(1), Ok(2)).unwrap(), 1);
        assert_eq!(opened(Err(missing("ip_vs")), Ok(2)).unwrap(), 2);
        let both = opened(Err(missing("ip_vs")), Err(missing("nf_tables"))).unwrap_err().to_string();
        assert_eq!(both, "this kernel lacks ip_vs; and nf_tables");
        assert!(matches!(opened(Err(SyncError::Permission), Ok(2)), Err(SyncError::Permission)));
        assert!(matches!(
            opened(Err(missing("ip_vs")), Err(SyncError::Permission)),
            Err(SyncError::Permission)
        ));
    }
}
