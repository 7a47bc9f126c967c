//! How many devices of a class a node has, and how many of them are given out: what a score counts for an extended
//! resource that the class stands for, where the node has none of its own.

use super::allocate::{complete, usable};
use super::shares::Shares;
use super::{DeviceId, Devices};
use crate::cache::{NodeInfo, Resource};
use crate::pod::PodInfo;
use k8s_openapi::api::resource::v1::ResourceSlice;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// The devices as one pod's scores see them.
#[derive(Debug)]
pub(crate) struct Stock<'a> {
    devices: &'a Devices,
    slices: Vec<&'a Arc<ResourceSlice>>,
    in_use: FxHashSet<DeviceId>,
    shares: Shares,
}

impl<'a> Stock<'a> {
    /// `None`: the pod asks for none of these resources by way of a class.
    pub(crate) fn for_pod(
        devices: &'a Devices,
        pod: &PodInfo,
        mut resources: impl Iterator<Item = &'a Resource>,
    ) -> Option<Self> {
        let by_class = devices.resources_of(pod);
        resources
            .any(|resource| matches!(resource, Resource::Scalar(name) if by_class.contains_key(&**name)))
            .then(|| {
                let (in_use, shares) = devices.in_use(&[]);
                Self { devices, slices: complete(devices), in_use, shares }
            })
    }

    /// (devices there, given out with those of `pod` added); `None`: there are none, or the node has its own.
    pub(crate) fn with_pod(&self, resource: &Resource, pod: &PodInfo, node: &NodeInfo) -> Option<(i64, i64)> {
        let Resource::Scalar(name) = resource else { return None };
        let wanted = resource.of(&pod.requests);
        if wanted == 0 || resource.of(&node.allocatable) > 0 {
            return None;
        }
        let class = self.devices.class_for(name)?;
        let selectors = class.spec.selectors.iter().flatten().filter_map(|selector| selector.cel.as_ref());
        let selectors: Vec<&str> = selectors.map(|cel| cel.expression.as_str()).collect();
        let (mut there, mut given) = (0, 0);
        for on in self.slices.iter().flat_map(|slice| usable(slice, &node.node.metadata)) {
            if selectors.iter().all(|selector| self.devices.matches.of(selector, on.slice)[on.at]) {
                let id = on.id();
                there += 1;
                given += i64::from(self.in_use.contains(&id) || self.shares.has(&id));
            }
        }
        (there > 0).then_some((there, given + wanted))
    }
}
