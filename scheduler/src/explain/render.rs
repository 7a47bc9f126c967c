//! An explanation for a terminal: what is recorded first, what is computed now after it, each under its own heading.

use super::report::{
    By, Explanation, FilterCount, Fix, NodeAnswer, Outcome, Outlook, PluginScore, Ranking, Room, Standing,
};
use crate::table::Table;
use jiff::Timestamp;
use std::fmt::{self, Write as _};

/// The whole text.
pub fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, explanation);
    out
}

fn write(out: &mut String, all: &Explanation) -> fmt::Result {
    heading(out, all)?;
    decision(out, all)?;
    now(out, all)?;
    if let Some(node) = &all.node {
        self::node(out, node, &all.outlook)?;
    }
    if !all.history.is_empty() {
        writeln!(out, "\nHISTORY (recorded)")?;
        let mut table = Table::new(2, ["AT", "WHAT"]);
        all.history.iter().for_each(|line| table.row([time(line.at), line.what.clone()]));
        write!(out, "{table}")?;
    }
    if all.node.is_none() {
        fixes(
            out,
            "WHAT WOULD HELP (each was tried against the plugins; the smallest change first)",
            &all.fixes,
        )?;
    }
    Ok(())
}

fn heading(out: &mut String, all: &Explanation) -> fmt::Result {
    let asks: Vec<String> =
        all.requests.iter().map(|amount| format!("{} {}", amount.text, amount.resource)).collect();
    let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
    writeln!(out, "Pod {} asks for {asks}; its scheduler is {}.", all.pod, all.scheduler_name)?;
    match &all.standing {
        Standing::Bound { node } => writeln!(out, "It is on node {node}.")?,
        Standing::Ended { phase } => writeln!(out, "It has ended: {phase}.")?,
        Standing::Pending => writeln!(out, "It waits for a node.")?,
        Standing::Waiting { .. } => waiting(out, &all.standing)?,
    }
    if let Some(gate) = &all.outlook.gate {
        writeln!(out, "It is held back: {gate}.")?;
    }
    if let Some(note) = &all.source.note {
        writeln!(out, "Note: {note}.")?;
    }
    Ok(())
}

fn waiting(out: &mut String, standing: &Standing) -> fmt::Result {
    let Standing::Waiting {
        queue,
        next_try,
        waits_for,
        rejectors,
        attempts,
        ready_since,
        last_attempt,
        nominated_node,
        ..
    } = standing
    else {
        return Ok(());
    };
    let since = ready_since.map(|at| format!(" since {}", time(at))).unwrap_or_default();
    let tries = match (attempts, last_attempt) {
        (0, _) | (_, None) => "not tried yet".to_owned(),
        (1, Some(at)) => format!("tried once, at {}", time(*at)),
        (tries, Some(at)) => format!("tried {tries} times, last at {}", time(*at)),
    };
    writeln!(out, "It waits{since}, in the queue \"{queue}\": {tries}.")?;
    if !rejectors.is_empty() {
        writeln!(out, "Refused by {}.", rejectors.join(", "))?;
    }
    if !waits_for.is_empty() {
        writeln!(out, "Tried again after one of: {}.", waits_for.join(", "))?;
    }
    if let Some(at) = next_try {
        writeln!(out, "Tried again at {} in any case.", time(*at))?;
    }
    if let Some(node) = nominated_node {
        writeln!(out, "Room is being made for it on node {node}.")?;
    }
    Ok(())
}

fn decision(out: &mut String, all: &Explanation) -> fmt::Result {
    let Some(decision) = &all.decision else { return Ok(()) };
    writeln!(out, "\nTHE DECISION (recorded at {}, attempt {})", time(decision.at), decision.attempt)?;
    match &decision.outcome {
        Outcome::Placed { node, feasible, ranking } => {
            writeln!(out, "  Placed on {node}; {feasible} {} fitted.", plural(*feasible, "node", "nodes"))?;
            match ranking {
                Some(ranking) => scores(out, ranking),
                None if *feasible > 1 => {
                    writeln!(out, "  Its scores were not recorded; those below are of now.")
                }
                None => Ok(()),
            }
        }
        Outcome::Refused { nodes, filters, message, room } => {
            writeln!(out, "  Refused by all of {nodes} {}:", plural(*nodes, "node", "nodes"))?;
            counts(out, filters)?;
            self::room(out, room.as_ref())?;
            writeln!(out, "  {message}")
        }
        Outcome::NotBound { error } => writeln!(out, "  Binding failed: {error}"),
    }
}

fn now(out: &mut String, all: &Explanation) -> fmt::Result {
    let by = match all.source.by {
        By::Scheduler => "by the scheduler from its live state",
        By::Client => "by this command from what the API server shows",
    };
    let there = matches!(all.standing, Standing::Bound { .. });
    let there = if there { ", as if the pod were not there yet" } else { "" };
    writeln!(out, "\nNOW (computed at {} {by}{there})", time(all.source.at))?;
    let Outlook { nodes, filters, message, ranking, room, .. } = &all.outlook;
    match message {
        None => {
            writeln!(out, "  {} of {nodes} nodes fit.", ranking.feasible)?;
            scores(out, ranking)
        }
        Some(message) => {
            writeln!(out, "  None of {nodes} nodes fits:")?;
            counts(out, filters)?;
            self::room(out, room.as_ref())?;
            writeln!(out, "  {message}")
        }
    }
}

fn room(out: &mut String, room: Option<&Room>) -> fmt::Result {
    let Some(Room { node, victims }) = room else { return Ok(()) };
    writeln!(out, "  Room is made on node {node} by evicting {}.", victims.join(", "))
}

fn counts(out: &mut String, filters: &[FilterCount]) -> fmt::Result {
    if filters.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(4, ["NODES", "FILTER", "REASON"]);
    for count in filters {
        table.row([count.nodes.to_string(), count.plugin.clone(), count.reason.clone()]);
    }
    write!(out, "{table}")
}

/// A row a plugin, a column a node: raw, normalised and weighted points.
fn scores(out: &mut String, ranking: &Ranking) -> fmt::Result {
    let Some(first) = ranking.nodes.first().filter(|first| !first.scores.is_empty()) else { return Ok(()) };
    let nodes = ranking.nodes.iter().map(|ranked| ranked.node.clone());
    let mut table =
        Table::new(4, ["SCORE (raw > normalised > weighted)".to_owned()].into_iter().chain(nodes));
    for (at, PluginScore { plugin, weight, .. }) in first.scores.iter().enumerate() {
        let points = ranking.nodes.iter().map(|ranked| match ranked.scores.get(at) {
            Some(score) => format!("{} > {} > {}", score.raw, score.normalised, score.weighted),
            None => String::new(),
        });
        table.row([format!("{plugin}, weight {weight}")].into_iter().chain(points));
    }
    let totals = ranking.nodes.iter().map(|ranked| ranked.total.to_string());
    table.row(["total".to_owned()].into_iter().chain(totals));
    write!(out, "{table}")?;
    match ranking.tied {
        0 | 1 => Ok(()),
        tied => writeln!(out, "    {tied} nodes share the best total; one of them is drawn."),
    }
}

fn node(out: &mut String, node: &NodeAnswer, outlook: &Outlook) -> fmt::Result {
    writeln!(out, "\nNODE {} (computed now)", node.node)?;
    match (node.fits, node.place) {
        (true, Some(1)) => writeln!(out, "  The pod fits, and no node is better.")?,
        (true, Some(place)) => {
            let (best, here) = (outlook.ranking.nodes.first(), outlook.ranking.nodes.iter());
            let here = here.into_iter().find(|ranked| ranked.node == node.node);
            write!(
                out,
                "  The pod fits, but {} {} better",
                place - 1,
                plural(place - 1, "node is", "nodes are")
            )?;
            if let (Some(best), Some(here)) = (best, here) {
                write!(out, ": {} has {}, it has {}", best.node, best.total, here.total)?;
            }
            writeln!(out, ".")?;
        }
        (true, None) => writeln!(out, "  The pod fits.")?,
        (false, _) => writeln!(out, "  The pod does not fit.")?,
    }
    let mut table = Table::new(4, ["FILTER", "VERDICT", "DETAIL"]);
    for filter in &node.filters {
        let verdict = match (filter.fits, filter.evicting_may_help) {
            (true, _) => "fits".to_owned(),
            (false, true) => format!("{} (evicting pods may help)", filter.reasons.join(", ")),
            (false, false) => filter.reasons.join(", "),
        };
        table.row([filter.plugin.clone(), verdict, filter.detail.clone().unwrap_or_default()]);
    }
    if !table.is_empty() {
        write!(out, "{table}")?;
    }
    if node.fits {
        return Ok(());
    }
    let heading = format!("WHAT WOULD HELP ON {} (each was tried against the plugins)", node.node);
    fixes(out, &heading, &node.fixes)
}

fn fixes(out: &mut String, heading: &str, fixes: &[Fix]) -> fmt::Result {
    if fixes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{heading}")?;
    for (number, fix) in (1..).zip(fixes) {
        let also = match fix.nodes {
            0 | 1 => String::new(),
            nodes => format!(" and {} more", nodes - 1),
        };
        writeln!(out, "  {number}. {}  (it then fits {}{also})", fix.text, fix.node)?;
    }
    Ok(())
}

fn plural<'t>(count: usize, one: &'t str, several: &'t str) -> &'t str {
    if count == 1 { one } else { several }
}

/// `13:05:09` would leave the day open; this is RFC 3339 in whole seconds.
fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}
