//! What devices of a pool share: counters that each of them draws on (partitionable devices, KEP-4815).
//!
//! A slice publishes counter sets; a device says what it takes of them. A device can be given out while what it takes
//! is left, so that of the ways to cut a device into parts only those that fit together are given out at once.

use super::DeviceId;
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use objects::quantity::Quantity;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A counter: driver, pool, set and name.
type CounterId = (String, String, String, String);

/// How much of each counter is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    left: FxHashMap<CounterId, Quantity>,
}

impl Counters {
    /// What is left of the counters of these slices when the devices in use have taken theirs.
    pub(super) fn of(slices: &[&Arc<ResourceSlice>], in_use: impl Fn(&DeviceId) -> bool) -> Self {
        let mut counters = Self::default();
        for slice in slices {
            let spec = &slice.spec;
            for set in spec.shared_counters.iter().flatten() {
                for (name, counter) in &set.counters {
                    let id = id(slice, &set.name, name);
                    counters.left.insert(id, amount(&counter.value.0));
                }
            }
        }
        for slice in slices {
            for device in slice.spec.devices.iter().flatten() {
                let id = (slice.spec.driver.clone(), slice.spec.pool.name.clone(), device.name.clone());
                if in_use(&id) {
                    counters.take(slice, device);
                }
            }
        }
        counters
    }

    /// Whether there is enough left for a device. One that draws on a counter nobody publishes never fits.
    pub(super) fn suffice(&self, slice: &ResourceSlice, device: &Device) -> bool {
        let mut taken = taken(slice, device);
        taken.all(|(id, amount)| self.left.get(&id).is_some_and(|left| amount <= *left))
    }

    pub(super) fn take(&mut self, slice: &ResourceSlice, device: &Device) {
        for (id, amount) in taken(slice, device) {
            if let Some(left) = self.left.get_mut(&id) {
                *left -= amount;
            }
        }
    }

    pub(super) fn give_back(&mut self, slice: &ResourceSlice, device: &Device) {
        for (id, amount) in taken(slice, device) {
            if let Some(left) = self.left.get_mut(&id) {
                *left += amount;
            }
        }
    }
}

fn taken<'a>(
    slice: &'a ResourceSlice,
    device: &'a Device,
) -> impl Iterator<Item = (CounterId, Quantity)> + 'a {
    device.consumes_counters.iter().flatten().flat_map(move |consumed| {
        let each = consumed.counters.iter();
        each.map(move |(name, counter)| (id(slice, &consumed.counter_set, name), amount(&counter.value.0)))
    })
}

fn id(slice: &ResourceSlice, set: &str, name: &str) -> CounterId {
    (slice.spec.driver.clone(), slice.spec.pool.name.clone(), set.to_owned(), name.to_owned())
}

fn amount(text: &str) -> Quantity {
    text.parse().unwrap_or(Quantity::ZERO)
}
