//! What must hold of the module above, against a real little HTTP server.

use super::*;
use crate::config::Extender as Configured;
use crate::plugins::fixtures::requesting;
use component::tasks::Tasks;
use serde_json::json;
use std::sync::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves `answer` to every request and keeps what was asked. Answers its address.
async fn serve(tasks: &Tasks, status: u16, answers: Value) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x/", listener.local_addr().unwrap());
    let log = Log::default();
    let (kept, own) = (log.clone(), tasks.clone());
    tasks.spawn_until_stopped("server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            own.spawn_until_stopped("connection", answer(stream, status, answers.clone(), kept.clone()));
        }
    });
    (url, log)
}

async fn answer(stream: TcpStream, status: u16, answers: Value, log: Log) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        log.lock().unwrap().push((path.clone(), serde_json::from_slice(&body).unwrap()));
        let text = answers[path.rsplit('/').next().unwrap()].to_string();
        let head = "content-type: application/json\r\ncontent-length";
        let all = format!("HTTP/1.1 {status} X\r\n{head}: {}\r\n\r\n{text}", text.len());
        stream.write_all(all.as_bytes()).await.unwrap();
    }
}

async fn extenders(configured: &[Value]) -> Extenders {
    let mut all = Vec::new();
    for extender in configured {
        let configured: Configured = serde_json::from_value(extender.clone()).unwrap();
        all.push(Extender::connect(&configured).await.unwrap());
    }
    Extenders { all: Arc::new(all), client: None, nodes: None }
}

fn nodes(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|name| NodeName::from(*name)).collect()
}

#[tokio::test]
async fn filters_one_after_the_other_and_adds_up_weighted_scores() {
    let tasks = Tasks::new();
    let answers = json!({
        "filter": {"NodeNames": ["b", "c"], "FailedNodes": {"a": "a is taken"}},
        "rank": [{"Host": "b", "Score": 3}, {"Host": "c", "Score": 1}],
    });
    let (first, asked_first) = serve(&tasks, 200, answers).await;
    let answers = json!({
        "filter": {"nodenames": ["b", "c"]}, "rank": [{"host": "c", "score": 10}],
    });
    let (second, asked_second) = serve(&tasks, 200, answers).await;
    let both = extenders(&[
        json!({"urlPrefix": first, "filterVerb": "filter", "prioritizeVerb": "rank", "weight": 2, "nodeCacheCapable": true}),
        json!({"urlPrefix": second, "filterVerb": "filter", "prioritizeVerb": "rank", "weight": 1, "nodeCacheCapable": true}),
    ])
    .await;
    let pod = requesting("p", json!({"cpu": "1"}));
    let advice = both.ask(&pod, nodes(&["a", "b", "c"])).await.unwrap();
    assert_eq!(advice.fits, [("b".into(), 60), ("c".into(), 20 + 100)]);
    let a = Refused { node: "a".into(), why: "a is taken".to_owned(), hopeless: false };
    assert_eq!(advice.refused, [a]);
    let asked: Vec<_> = asked_first.lock().unwrap().clone();
    assert_eq!(
        asked[0],
        ("/x/filter".to_owned(), json!({"Pod": null, "Nodes": null, "NodeNames": ["a", "b", "c"]}))
    );
    assert_eq!((asked[1].0.as_str(), &asked[1].1["NodeNames"]), ("/x/rank", &json!(["b", "c"])));
    assert_eq!(asked_second.lock().unwrap()[0].1["NodeNames"], json!(["b", "c"]));
    assert!(tasks.stop().await.is_empty());
}

#[tokio::test]
async fn a_failure_counts_unless_it_is_ignorable() {
    let tasks = Tasks::new();
    let (broken, _) = serve(&tasks, 500, json!({"filter": {}, "bind": {}})).await;
    let (refusing, _) =
        serve(&tasks, 200, json!({"filter": {"Error": "out of order"}, "bind": {"Error": "no"}})).await;
    let pod = requesting("p", json!({}));
    for (url, ignorable, filtered, bound) in [
        (&broken, false, Err("failed to filter with extender"), Some(false)),
        (&refusing, false, Err("out of order"), Some(false)),
        (&refusing, true, Ok(1), None),
        (&broken, true, Ok(1), None),
        (
            &"http://127.0.0.1:1".to_owned(),
            false,
            Err("failed to filter with extender at URL http://127.0.0.1:1"),
            Some(false),
        ),
    ] {
        let extender =
            json!({"urlPrefix": url, "filterVerb": "filter", "bindVerb": "bind", "ignorable": ignorable});
        let one = extenders(&[extender]).await;
        match (one.ask(&pod, nodes(&["a"])).await, filtered) {
            (Ok(advice), Ok(left)) => assert_eq!(advice.fits.len(), left),
            (Err(said), Err(want)) => assert!(said.starts_with(want), "{said}"),
            (got, want) => panic!("{url}, {ignorable}: {got:?}, not {want:?}"),
        }
        assert_eq!(one.bind(&pod, &"a".into()).await.map(|outcome| outcome.is_ok()), bound, "{url}");
    }
    assert!(tasks.stop().await.is_empty());
}

#[tokio::test]
async fn binds_the_pods_that_ask_for_what_it_manages() {
    let tasks = Tasks::new();
    let (url, asked) = serve(&tasks, 200, json!({"bind": {}})).await;
    let extender =
        json!({"urlPrefix": url, "bindVerb": "bind", "managedResources": [{"name": "example.com/gpu"}]});
    let one = extenders(&[extender]).await;
    assert_eq!(one.bind(&requesting("plain", json!({"cpu": "1"})), &"n".into()).await, None);
    assert_eq!(
        one.bind(&requesting("gpu", json!({"example.com/gpu": "1"})), &"n".into()).await,
        Some(Ok(()))
    );
    let want = json!({"PodName": "gpu", "PodNamespace": "default", "PodUID": "gpu", "Node": "n"});
    assert_eq!(*asked.lock().unwrap(), [("/x/bind".to_owned(), want)]);
    assert!(tasks.stop().await.is_empty());
}
