//! What flows between a terminal and a container: logs, exec, attach, port-forward, cp.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use harness::eventually::eventually;
use harness::kubectl::Kubectl;

use crate::cluster::{self, IMAGE};

fn pod(kubectl: &Kubectl, namespace: &str, name: &str, script: &str) {
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "args": ["-c", script], "stdin": true}],
        },
    });
    kubectl.run_with(&["create", "-f", "-"], &manifest.to_string());
    kubectl.run(&["wait", "--for=condition=Ready", "pod", name, "-n", namespace, "--timeout=60s"]);
}

#[test]
fn logs_are_read_and_followed() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("logs");
    pod(
        &kubectl,
        "logs",
        "count",
        "i=0; while true; do i=$((i+1)); echo line $i; echo oops $i >&2; sleep 0.1; done",
    );
    eventually("five lines", || match kubectl.run(&["logs", "count", "-n", "logs"]) {
        text if text.contains("line 5\n") && text.contains("oops 5\n") => Ok(()),
        text => Err(text),
    });
    assert_eq!(kubectl.run(&["logs", "count", "-n", "logs", "--tail=2"]).lines().count(), 2);
    let stamped = kubectl.run(&["logs", "count", "-n", "logs", "--timestamps", "--tail=1"]);
    assert!(stamped.starts_with("20") && stamped.contains('T'), "{stamped}");

    let mut follow = kubectl.start(&["logs", "-f", "count", "-n", "logs", "--tail=1"]);
    let lines = BufReader::new(follow.0.stdout.take().expect("piped")).lines();
    assert_eq!(lines.map_while(Result::ok).take(10).count(), 10, "logs -f goes on");
}

#[test]
fn exec_carries_input_output_and_exit_codes() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("exec");
    pod(&kubectl, "exec", "box", "sleep 3600");
    assert_eq!(kubectl.run(&["exec", "box", "-n", "exec", "--", "echo", "hello"]), "hello\n");
    let counted =
        kubectl.run_with(&["exec", "-i", "box", "-n", "exec", "--", "wc", "-c"], &"x".repeat(100_000));
    assert_eq!(counted.trim(), "100000", "all of standard input and its end arrive");
    let failed = kubectl.try_run(&["exec", "box", "-n", "exec", "--", "sh", "-c", "echo no >&2; exit 7"]);
    let failed = failed.expect_err("the exit code is the command's");
    assert!(failed.contains("exit status: 7") && failed.contains("no\n"), "{failed}");
    let missing = kubectl.try_run(&["exec", "box", "-n", "exec", "-c", "other", "--", "true"]);
    assert!(missing.is_err_and(|error| error.contains("container other is not valid for pod box")));
}

#[test]
fn exec_gives_a_terminal() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("terminal");
    pod(&kubectl, "terminal", "box", "sleep 3600");
    let real = kubectl.command(&[]);
    let mut script = Command::new("script");
    script.args(["-qefc", "kubectl exec -it box -n terminal -- sh", "/dev/null"]);
    script.envs(real.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of bsdutils");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"tty; stty size\necho sum $((40 + 2))\nexit 3\n").expect("typed");
    let mut screen = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut screen).expect("screen");
    drop(input);
    assert!(screen.contains("/dev/pts/") && screen.contains("sum 42"), "{screen}");
    assert_eq!(child.wait().expect("ended").code(), Some(3), "{screen}");
}

#[test]
fn attach_reaches_the_main_process() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("attach");
    pod(&kubectl, "attach", "echo", "while read line; do echo got $line; done");
    let mut attach = kubectl
        .command(&["attach", "-i", "echo", "-n", "attach"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl starts");
    attach.stdin.as_mut().expect("piped").write_all(b"this\n").expect("typed");
    let mut lines = BufReader::new(attach.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "got this");
    let _ = attach.kill();
    let _ = attach.wait();
}

#[test]
fn port_forward_reaches_a_server_in_the_pod() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("forward");
    pod(&kubectl, "forward", "web", "mkdir /w; echo page > /w/index.html; exec httpd -f -p 8080 -h /w");
    let mut forward = kubectl.start(&["port-forward", "pod/web", ":8080", "-n", "forward"]);
    let mut lines = BufReader::new(forward.0.stdout.take().expect("piped")).lines();
    let line = lines.next().expect("says where").expect("text");
    let port =
        line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port").to_owned();
    for _ in 0..3 {
        let page = eventually("the page", || page(&port));
        assert!(page.ends_with("page\n"), "{page}");
    }
}

fn page(port: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).map_err(|error| error.to_string())?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").map_err(|error| error.to_string())?;
    let mut page = String::new();
    stream.read_to_string(&mut page).map_err(|error| error.to_string())?;
    if page.contains("200 OK") { Ok(page) } else { Err(page) }
}

#[test]
fn cp_copies_both_ways() {
    let _shared = cluster::share();
    let (kubectl, _) = cluster::namespace("copy");
    pod(&kubectl, "copy", "box", "sleep 3600");
    let folder = tempfile::tempdir().expect("folder");
    let (sent, received) = (folder.path().join("sent"), folder.path().join("received"));
    let text = "steersman\n".repeat(50_000);
    std::fs::write(&sent, &text).expect("written");
    kubectl.run(&["cp", sent.to_str().expect("UTF-8"), "copy/box:/tmp/there"]);
    kubectl.run(&["cp", "copy/box:/tmp/there", received.to_str().expect("UTF-8")]);
    assert_eq!(std::fs::read_to_string(&received).expect("copied"), text);
}
