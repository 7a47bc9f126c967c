//! The answer of a simulation for a terminal.

use super::report::{Fullness, Lost, PodOutcome, Report, Use};
use crate::explain::report::Amount;
use crate::table::Table;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Rows of nodes before the table is cut off.
const NODES: usize = 20;
/// Nodes named in the row of an owner.
const NAMED: usize = 6;

/// The whole text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    pods(out, &report.pods)?;
    if !report.preempted.is_empty() {
        writeln!(out, "\nPREEMPTED")?;
        let mut table = Table::new(2, ["POD", "NODE", "FOR"]);
        for it in &report.preempted {
            table.row([&*it.pod, &*it.node, &*it.by]);
        }
        write!(out, "{table}")?;
    }
    listed(out, "LOST", &report.lost)?;
    listed(out, "NOT EVICTED", &report.held)?;
    writeln!(out, "\nHOW FULL")?;
    full(out, &report.before, &report.after)?;
    fragments(out, &report.before, &report.after)?;
    if !report.notes.is_empty() {
        writeln!(out, "\nNOTES")?;
        report.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    }
    Ok(())
}

/// A row an owner and reason; then why pods stay without a node.
fn pods(out: &mut String, pods: &[PodOutcome]) -> fmt::Result {
    if pods.is_empty() {
        return writeln!(out, "No pod has to be placed.");
    }
    let placed = pods.iter().filter(|pod| pod.node.is_some()).count();
    writeln!(out, "{placed} of {} pods find a node.\n", pods.len())?;
    let mut groups: BTreeMap<_, Vec<&PodOutcome>> = BTreeMap::new();
    for pod in pods {
        groups.entry((pod.origin, &pod.owner)).or_default().push(pod);
    }
    let mut table = Table::new(2, ["PODS OF", "WHY", "PLACED", "ON"]);
    for ((origin, owner), pods) in &groups {
        let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
        for node in pods.iter().filter_map(|pod| pod.node.as_deref()) {
            *nodes.entry(node).or_default() += 1;
        }
        let placed: usize = nodes.values().sum();
        let more = nodes.len().saturating_sub(NAMED);
        let named = nodes.iter().take(NAMED).map(|(node, count)| match count {
            1 => (*node).to_owned(),
            count => format!("{node} x{count}"),
        });
        let mut on = named.collect::<Vec<_>>().join(", ");
        if more > 0 {
            let _ = write!(on, " and {more} more");
        }
        table.row([owner.as_str(), origin.text(), &format!("{placed} of {}", pods.len()), &on]);
    }
    write!(out, "{table}")?;
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        if let Some(message) = &pod.message {
            reasons.entry(message).or_default().push(&pod.pod);
        }
    }
    if !reasons.is_empty() {
        writeln!(out, "\nWITHOUT A NODE")?;
    }
    for (message, pods) in reasons {
        let more = if pods.len() > 1 { format!(" and {} more", pods.len() - 1) } else { String::new() };
        writeln!(out, "  {}{more}: {message}", pods[0])?;
    }
    Ok(())
}

fn listed(out: &mut String, heading: &str, lost: &[Lost]) -> fmt::Result {
    if lost.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{heading}")?;
    let mut table = Table::new(2, ["POD", "NODE", "BECAUSE"]);
    for it in lost {
        table.row([&*it.pod, &*it.node, &*it.why]);
    }
    write!(out, "{table}")
}

fn full(out: &mut String, before: &Fullness, after: &Fullness) -> fmt::Result {
    let names = after.total.iter().map(|of| of.resource.to_uppercase());
    let mut table = Table::new(2, ["NODE".to_owned()].into_iter().chain(names).chain([String::new()]));
    let cell = |of: &Use| format!("{} ({:.0}%)", of.text, of.percent);
    for (name, full) in [("all, before", before), ("all, after", after)] {
        table.row([name.to_owned()].into_iter().chain(full.total.iter().map(cell)));
    }
    for node in after.nodes.iter().take(NODES) {
        let closed = if node.open { "" } else { "closed" };
        let cells = node.resources.iter().map(cell);
        table.row([node.node.clone()].into_iter().chain(cells).chain([closed.to_owned()]));
    }
    write!(out, "{table}")?;
    match after.nodes.len().saturating_sub(NODES) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} nodes that are less full: -o json has them all"),
    }
}

fn fragments(out: &mut String, before: &Fullness, after: &Fullness) -> fmt::Result {
    writeln!(out, "\nHOW FRAGMENTED (nodes that are open to ordinary pods)")?;
    let mut table = Table::new(2, ["", "BEFORE", "AFTER"]);
    let both = |of: &dyn Fn(&Fullness) -> String| [of(before), of(after)];
    let mut row = |name: &str, [before, after]: [String; 2]| table.row([name.to_owned(), before, after]);
    row("the usual pod asks for", both(&|full| amounts(&full.usual_pod)));
    row("more of them fit", both(&|full| full.usual_pods_that_fit.to_string()));
    row(
        "the largest pod like it that fits",
        both(&|full| match &full.largest_usual {
            Some(largest) => format!("{} on {}", amounts(&largest.requests), largest.node),
            None => "none".to_owned(),
        }),
    );
    for (at, largest) in after.largest_free.iter().enumerate() {
        let name = format!("the most {} free on a node", largest.amount.resource);
        row(
            &name,
            both(&|full| match full.largest_free.get(at) {
                Some(most) => format!("{} on {}", most.amount.text, most.node),
                None => "none".to_owned(),
            }),
        );
    }
    row("stranded where no usual pod fits", both(&|full| amounts(&full.stranded)));
    write!(out, "{table}")
}

fn amounts(amounts: &[Amount]) -> String {
    if amounts.is_empty() {
        return "nothing".to_owned();
    }
    let texts = amounts.iter().map(|amount| format!("{} {}", amount.text, amount.resource));
    texts.collect::<Vec<_>>().join(", ")
}
