//! Connections of pods that leave the pods' network show the node's address; those between pods show their own.
//!
//! Promise: the tables `steersman-pods` of nf_tables are as the ranges say, in one transaction, and nothing else is
//! written. Where the kernel has no nf_tables the CNI plug-in masquerades, also what goes to pods of other nodes.

use std::collections::BTreeMap;

use crate::addresses::{Cidr, Family};
use crate::netlink::SyncError;
use crate::nftables::conditions::of_cidr;
use crate::nftables::numbers::{POSTROUTING, SOURCE};
use crate::nftables::{Chain, Expression, Hook, Kernel, Table, Verdict};

const TABLE: Table = Table {
    name: "steersman-pods",
    layout: "steersman pods layout 1",
    sets: |_| Vec::new(),
    is_callee: |_| false,
};

const LEAVING: &str = "from-pods";

/// Which pods are whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// Those of this node's pods.
    pub(crate) own: Vec<Cidr>,
    /// Those of all pods.
    pub(crate) all: Vec<Cidr>,
}

/// Whether this kernel has what it takes.
pub(crate) fn is_possible() -> bool {
    Kernel::open().is_ok()
}

/// Makes the tables so.
pub(crate) fn apply(ranges: &Ranges) -> Result<(), SyncError> {
    let mut kernel = Kernel::open()?;
    let edits = kernel.compare(&TABLE, |family| (chains(family, ranges), BTreeMap::new()))?;
    kernel.commit(&TABLE, &edits)
}

/// Takes the tables away.
pub(crate) fn remove() -> Result<(), SyncError> {
    Kernel::open()?.remove(&TABLE)
}

fn chains(family: Family, ranges: &Ranges) -> Vec<Chain> {
    let of_family = |all: &[Cidr]| -> Vec<Cidr> {
        all.iter().copied().filter(|range| range.family() == family).collect()
    };
    let then = |condition: Vec<Expression>, step| [condition, vec![step]].concat();
    let stays = of_family(&ranges.all).into_iter().chain([multicast(family)]);
    let mut leaving: Vec<_> =
        stays.map(|range| then(of_cidr(range, false), Expression::Verdict(Verdict::Return))).collect();
    leaving.push(vec![Expression::Masquerade]);
    let jump = || Expression::Verdict(Verdict::Jump(LEAVING.to_owned()));
    let own = of_family(&ranges.own).into_iter().map(|range| then(of_cidr(range, true), jump())).collect();
    let hook = Hook { kind: "nat", number: POSTROUTING, priority: SOURCE };
    vec![
        Chain { name: LEAVING.to_owned(), hook: None, rules: leaving },
        Chain { name: "nat-postrouting".to_owned(), hook: Some(hook), rules: own },
    ]
}

fn multicast(family: Family) -> Cidr {
    match family {
        Family::V4 => Cidr::new([224, 0, 0, 0].into(), 4),
        Family::V6 => Cidr::new([0xff00_u16, 0, 0, 0, 0, 0, 0, 0].into(), 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_ranges() {
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let ranges = Ranges {
            own: ranges(&["10.244.1.0/24"]),
            all: ranges(&["10.244.0.0/24", "10.244.1.0/24", "fd00:244::/64"]),
        };
        let count =
            |family| chains(family, &ranges).into_iter().map(|chain| chain.rules.len()).collect::<Vec<_>>();
        // Of IPv6 there are pods, but none here.
        assert_eq!((count(Family::V4), count(Family::V6)), (vec![4, 1], vec![3, 0]));
        let rules = &chains(Family::V4, &ranges)[0].rules;
        assert_eq!(rules.last().unwrap(), &[Expression::Masquerade]);
    }
}
