//! What must hold of the module above, as tables and scenarios.

use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn args(flags: &[&str]) -> Args {
    Cli::try_parse_from([&["scheduler"], flags].concat()).unwrap().args
}

fn config(flags: &[&str]) -> Config {
    args(flags).read(&Random::from_seed(1)).unwrap().0
}

#[test]
fn flags_become_the_configuration() {
    let default = config(&[]);
    assert_eq!(default.scheduler_names().collect::<Vec<_>>(), ["default-scheduler"]);
    let leader = default.leader.unwrap();
    assert_eq!((leader.name.as_str(), leader.namespace.as_str()), ("kube-scheduler", "kube-system"));
    assert_eq!(leader.lease_duration, Duration::from_secs(15));
    assert_eq!(default.backoff.parked.as_secs(), 300);

    let mine =
        config(&["--scheduler-name", "mine", "--scheduler-name=too", "--leader-elect=false", "--seed", "7"]);
    assert_eq!(mine.scheduler_names().collect::<Vec<_>>(), ["mine", "too"]);
    assert_eq!((mine.leader, mine.seed), (None, Some(7)));
    assert_eq!(config(&["--scheduler-name", "mine"]).leader.unwrap().name, "mine");

    let flags =
        ["--leader-elect-resource-name=my-lease", "--leader-elect-lease-duration", "30s", "--secure-port=0"];
    let leader = config(&flags).leader.unwrap();
    assert_eq!((leader.name.as_str(), leader.lease_duration), ("my-lease", Duration::from_secs(30)));
    let parked = config(&["--pod-max-in-unschedulable-pods-duration=90s"]).backoff.parked;
    assert_eq!(parked.as_secs(), 90);
}

#[test]
fn flags_win_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, \
                leaderElection: {leaderElect: false, resourceName: a, leaseDuration: 40s}, \
                clientConnection: {kubeconfig: /from/the/file}, profiles: [{schedulerName: one}, {schedulerName: two}]}";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let from_file = args(&["--config", path, "--kubeconfig=/flag"]);
    let (config, read) = from_file.read(&Random::from_seed(1)).unwrap();
    assert_eq!(config.scheduler_names().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(config.leader, None);
    assert_eq!(from_file.client(&read).kubeconfig, Some("/from/the/file".into()));

    let flags = ["--config", path, "--leader-elect", "--leader-elect-resource-name=b"];
    let leader = args(&flags).read(&Random::from_seed(1)).unwrap().0.leader.unwrap();
    assert_eq!((leader.name.as_str(), leader.lease_duration), ("b", Duration::from_secs(40)));
    let too_short = args(&["--config", path, "--leader-elect", "--leader-elect-lease-duration=9s"]);
    let said = too_short.read(&Random::from_seed(1)).unwrap_err().to_string();
    assert!(said.contains("LeaseDuration must be greater than RenewDeadline"), "{said}");
}

#[test]
fn a_manifest_for_upstream_starts() {
    // What kubeadm and the chart of a second scheduler write.
    let flags = [
        "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",
        "--authorization-kubeconfig=/etc/kubernetes/scheduler.conf",
        "--bind-address=127.0.0.1",
        "--kubeconfig=/etc/kubernetes/scheduler.conf",
        "--leader-elect=true",
        "--feature-gates=A=true,B=false",
        "--feature-gates=C=1",
        "--profiling=false",
        "--contention-profiling",
        "--tls-min-version=VersionTLS12",
        "--kube-api-qps=100",
        "--kube-api-burst=200",
        "--emulated-version=kube=1.36",
        "--min-compatibility-version=kube=1.35",
        "-v=3",
    ];
    let args = args(&flags);
    let (_, file) = args.read(&Random::from_seed(1)).unwrap();
    assert_eq!((file.client_connection.qps, file.client_connection.burst), (Some(100.0), Some(200)));
    assert_eq!(args.feature_gates.len(), 2);
    args.warn(&file);
}

#[test]
fn a_feature_gate_takes_its_plugin_away() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, profiles: [{plugins: \
                {multiPoint: {enabled: [{name: NodeDeclaredFeatures}]}, filter: {enabled: [{name: NodeDeclaredFeatures}]}}}]}";
    std::fs::write(file.path(), text).unwrap();
    let named = format!("--config={}", file.path().display());
    for (flags, on) in [
        (&[][..], true),
        (&["--feature-gates=NodeDeclaredFeatures=true"], true),
        (&["--feature-gates=NodeDeclaredFeatures=false"], false),
        (&["--feature-gates=Other=false"], true),
        (&["--feature-gates=AllBeta=false"], false),
        (&["--feature-gates=NodeDeclaredFeatures=true,AllBeta=false"], true),
        (&["--feature-gates=NodeDeclaredFeatures=false", "--feature-gates=NodeDeclaredFeatures=true"], true),
        (&[&named], true),
        (&[&named, "--feature-gates=NodeDeclaredFeatures=false"], false),
    ] {
        let (config, file) = args(flags).read(&Random::from_seed(1)).unwrap();
        let has = |config: &Config| {
            let plugins = config.profiles.iter().flat_map(|profile| &profile.plugins);
            plugins.filter(|chosen| chosen.name == "NodeDeclaredFeatures").count() == 1
        };
        assert_eq!(has(&config), on, "{flags:?}");
        let written = file.spelt_out().config("me").unwrap();
        assert_eq!(has(&written), on, "as written for {flags:?}");
    }
}

#[test]
fn usage_errors_say_what_to_write() {
    for (flags, want) in [
        (["--feature-gates=A"], "missing bool value for A"),
        (["--feature-gates=A=maybe"], "invalid value of A=maybe"),
        (["--emulated-version=1.30"], "only 1.36 can be emulated"),
        (["--leader-elect-resource-lock=endpoints"], "[possible values: leases]"),
        (["--profiling=maybe"], "invalid value 'maybe'"),
        (["--kube-api-qps=fast"], "invalid value 'fast'"),
        (["--no-such-flag"], "unexpected argument '--no-such-flag'"),
    ] {
        let error = Cli::try_parse_from([&["scheduler"], &flags[..]].concat()).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let both = Cli::try_parse_from(["scheduler", "--config=f", "--scheduler-name=mine"]).unwrap_err();
    assert_eq!(both.exit_code(), 2);
}
