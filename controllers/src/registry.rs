//! All controllers, in one table: name, and how it is started.

use std::collections::BTreeSet;

use crate::context::Context;
use crate::{
    deployment, endpointslice, garbage, namespace, node_lifecycle, pod_gc, replicaset, resource_claim,
    root_ca, service_account, taint_eviction,
};

/// A controller that can run.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name in `--controllers`: upstream's.
    pub(crate) name: &'static str,
    /// Starts its tasks and returns.
    pub(crate) start: fn(&Context),
}

/// Every controller. Names are upstream's; each stands here once.
pub(crate) const ROWS: &[Row] = &[
    Row { name: deployment::NAME, start: deployment::start },
    Row { name: endpointslice::NAME, start: endpointslice::start },
    Row { name: garbage::NAME, start: garbage::start },
    Row { name: namespace::NAME, start: namespace::start },
    Row { name: node_lifecycle::NAME, start: node_lifecycle::start },
    Row { name: pod_gc::NAME, start: pod_gc::start },
    Row { name: replicaset::NAME, start: replicaset::start },
    Row { name: resource_claim::NAME, start: resource_claim::start },
    Row { name: root_ca::NAME, start: root_ca::start },
    Row { name: service_account::NAME, start: service_account::start },
    Row { name: taint_eviction::NAME, start: taint_eviction::start },
];

/// The names of all controllers, for `--controllers` and for help texts.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// Why the list of controllers to run makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A name that is no controller's.
    #[error("there is no controller named \"{0}\"")]
    Unknown(String),
    /// Two rows of the table have the same name.
    #[error("two controllers are named \"{0}\"")]
    Duplicate(&'static str),
}

/// The rows that `wanted` (as in `--controllers`) names.
pub(crate) fn select<'a>(rows: &'a [Row], wanted: &[String]) -> Result<Vec<&'a Row>, SelectionError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = rows.iter().find(|row| !names.insert(row.name)) {
        return Err(SelectionError::Duplicate(twice.name));
    }
    for name in wanted.iter().filter(|name| *name != "*") {
        let name = name.strip_prefix('-').unwrap_or(name);
        if !names.contains(name) {
            return Err(SelectionError::Unknown(name.to_owned()));
        }
    }
    let all = wanted.iter().any(|name| name == "*");
    let has = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let runs = |row: &&Row| !has(&format!("-{}", row.name)) && (all || has(row.name));
    Ok(rows.iter().filter(runs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Result<Vec<&'static str>, SelectionError> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        select(ROWS, &wanted).map(|rows| rows.iter().map(|row| row.name).collect())
    }

    #[test]
    fn selections() {
        assert_eq!(names(&["*"]).unwrap().len(), ROWS.len());
        assert_eq!(names(&["*", "-deployment-controller"]).unwrap().len(), ROWS.len() - 1);
        assert_eq!(names(&["deployment-controller"]).unwrap(), ["deployment-controller"]);
        assert_eq!(names(&[]).unwrap(), Vec::<&str>::new());
        assert_eq!(names(&["*", "-nonsense"]), Err(SelectionError::Unknown("nonsense".into())));
    }

    #[test]
    fn duplicates_are_refused() {
        let row = || Row { name: "a", start: |_| {} };
        assert_eq!(select(&[row(), row()], &[]).unwrap_err(), SelectionError::Duplicate("a"));
    }
}
