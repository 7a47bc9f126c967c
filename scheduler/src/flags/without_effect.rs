//! Flags of kube-scheduler 1.36 that have nothing to act on here. They are taken, so that a manifest written for
//! upstream starts, and each that is given is told about with the reason.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use std::collections::BTreeMap;

/// Takes no value, or `true` or `false`.
const SWITCH: bool = true;
/// Takes a value.
const VALUE: bool = false;

const TLS: &str = "the TLS library's own versions and suites are used";
const METRICS: &str = "all metrics are shown with all their labels";
const LOGS: &str = "logs are lines of text on standard error, written at once";
const PROFILING: &str = "there is no /debug/pprof";
const LISTEN: &str = "the listener's own settings are used";

/// Name, whether it is a switch, why it does nothing.
const FLAGS: &[(&str, bool, &str)] = &[
    ("allow-metric-labels", VALUE, METRICS),
    ("allow-metric-labels-manifest", VALUE, METRICS),
    ("cert-dir", VALUE, "a self-signed certificate is kept in memory: see --tls-cert-file"),
    ("contention-profiling", SWITCH, PROFILING),
    ("disable-http2-serving", SWITCH, LISTEN),
    ("disabled-metrics", VALUE, METRICS),
    ("http2-max-streams-per-connection", VALUE, LISTEN),
    ("kube-api-content-type", VALUE, "requests are JSON"),
    ("log-flush-frequency", VALUE, LOGS),
    ("log-json-info-buffer-size", VALUE, LOGS),
    ("log-json-split-stream", SWITCH, LOGS),
    ("log-text-info-buffer-size", VALUE, LOGS),
    ("log-text-split-stream", SWITCH, LOGS),
    ("logging-format", VALUE, LOGS),
    ("min-compatibility-version", VALUE, "no behaviour depends on the version of other components"),
    ("permit-address-sharing", SWITCH, LISTEN),
    ("permit-port-sharing", SWITCH, LISTEN),
    ("profiling", SWITCH, PROFILING),
    ("show-hidden-metrics-for-version", VALUE, METRICS),
    ("tls-cipher-suites", VALUE, TLS),
    ("tls-curve-preferences", VALUE, TLS),
    ("tls-min-version", VALUE, TLS),
    ("tls-sni-cert-key", VALUE, "one certificate is shown to all: see --tls-cert-file"),
    ("vmodule", VALUE, "the verbosity is that of -v in all modules"),
];

/// The heading of these flags in the help.
const HEADING: &str = "Flags of kube-scheduler without effect";

/// Those that were given, with their values.
#[derive(Clone, Debug, Default)]
pub struct WithoutEffect {
    given: BTreeMap<&'static str, String>,
}

impl WithoutEffect {
    /// Tells about each.
    pub(super) fn warn(&self) {
        for (flag, value) in &self.given {
            let why = FLAGS.iter().find(|(name, ..)| name == flag).map_or("", |(.., why)| *why);
            // What stands for upstream's default does no harm.
            if !matches!((*flag, value.as_str()), ("logging-format", "text") | (_, "false")) {
                tracing::warn!(flag = format!("--{flag}"), why, "flag has no effect");
            }
        }
    }
}

impl FromArgMatches for WithoutEffect {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut all = Self::default();
        all.update_from_arg_matches(matches)?;
        Ok(all)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (name, ..) in FLAGS {
            if let Some(values) = matches.get_many::<String>(name) {
                self.given.insert(name, values.cloned().collect::<Vec<_>>().join(","));
            }
        }
        Ok(())
    }
}

impl clap::Args for WithoutEffect {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(|(name, switch, why)| {
            let arg = Arg::new(*name).long(*name).help(*why).help_heading(HEADING).action(ArgAction::Append);
            if *switch == SWITCH {
                let arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
                return arg.value_name("BOOL").value_parser(["true", "false"]).hide_possible_values(true);
            }
            arg.value_name("VALUE")
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
