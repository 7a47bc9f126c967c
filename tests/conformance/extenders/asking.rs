//! What extenders are asked and how their answers count, without a scheduler around them.

use component::informers::Informers;
use objects::views;
use scheduler::config::Extender as Configured;
use scheduler::extender::Refused;
use scheduler::pod::{NodeName, PodInfo};

use super::*;

impl Scene {
    async fn extenders(&self, configured: &[Value]) -> Extenders {
        let configured: Vec<Configured> =
            configured.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
        let client = &self.cluster.client;
        let informers =
            Informers::new(client.clone(), self.cluster.tasks.child(), self.cluster.clock.clone());
        Extenders::connect(&configured, client, &informers).await.unwrap()
    }

    /// A pod as the scheduler knows it.
    async fn known(&self, name: &str, gpus: u32) -> PodInfo {
        self.pod(name, gpus).await;
        let pods: Api<views::Pod> = Api::default_namespaced(self.cluster.client.clone());
        PodInfo::new(Arc::new(pods.get(name).await.unwrap()))
    }
}

fn nodes(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|name| NodeName::from(*name)).collect()
}

/// The answer of that name, whatever is asked.
async fn serve(scene: &Scene, status: u16, answers: Value) -> Server {
    let answer =
        move |path: &str, _: &Value| (status, answers[path.rsplit('/').next().unwrap_or_default()].clone());
    Server::start(&scene.cluster.tasks, answer).await
}

#[tokio::test]
async fn filters_one_after_the_other_and_adds_up_weighted_scores() {
    let scene = Scene::new().await;
    let answers = json!({
        "filter": {"NodeNames": ["b", "c"], "FailedNodes": {"a": "a is taken"}},
        "rank": [{"Host": "b", "Score": 3}, {"Host": "c", "Score": 1}],
    });
    let mut first = serve(&scene, 200, answers).await;
    let answers = json!({
        "filter": {"nodenames": ["b", "c"]}, "rank": [{"host": "c", "score": 10}],
    });
    let mut second = serve(&scene, 200, answers).await;
    let both = scene.extenders(&[
        json!({"urlPrefix": first.url, "filterVerb": "filter", "prioritizeVerb": "rank", "weight": 2, "nodeCacheCapable": true}),
        json!({"urlPrefix": second.url, "filterVerb": "filter", "prioritizeVerb": "rank", "weight": 1, "nodeCacheCapable": true}),
    ]).await;
    let pod = scene.known("p", 0).await;
    let advice = both.ask(&pod, nodes(&["a", "b", "c"])).await.unwrap();
    assert_eq!(advice.fits, [("b".into(), 60), ("c".into(), 20 + 100)]);
    let a = Refused { node: "a".into(), why: "a is taken".to_owned(), hopeless: false };
    assert_eq!(advice.refused, [a]);
    let asked = first.asked();
    assert_eq!(asked[0].0, "/extend/filter");
    assert_eq!((&asked[0].1["Nodes"], &asked[0].1["NodeNames"]), (&Value::Null, &json!(["a", "b", "c"])));
    assert_eq!(asked[0].1["Pod"]["metadata"]["name"], "p");
    assert_eq!((asked[1].0.as_str(), &asked[1].1["NodeNames"]), ("/extend/rank", &json!(["b", "c"])));
    assert_eq!(second.asked()[0].1["NodeNames"], json!(["b", "c"]));
    scene.cluster.stop().await;
}

#[tokio::test]
async fn a_failure_counts_unless_it_is_ignorable() {
    let scene = Scene::new().await;
    let broken = serve(&scene, 500, json!({"filter": {}, "bind": {}})).await;
    let refusing =
        serve(&scene, 200, json!({"filter": {"Error": "out of order"}, "bind": {"Error": "no"}})).await;
    let nobody = "http://127.0.0.1:1".to_owned();
    let pod = scene.known("p", 0).await;
    for (url, ignorable, filtered, bound) in [
        (&broken.url, false, Err("failed to filter with extender"), Some(false)),
        (&refusing.url, false, Err("out of order"), Some(false)),
        (&refusing.url, true, Ok(1), None),
        (&broken.url, true, Ok(1), None),
        (&nobody, false, Err("failed to filter with extender at URL http://127.0.0.1:1"), Some(false)),
    ] {
        let extender = json!({"urlPrefix": url, "filterVerb": "filter", "bindVerb": "bind",
            "ignorable": ignorable, "nodeCacheCapable": true});
        let one = scene.extenders(&[extender]).await;
        match (one.ask(&pod, nodes(&["a"])).await, filtered) {
            (Ok(advice), Ok(left)) => assert_eq!(advice.fits.len(), left),
            (Err(said), Err(want)) => assert!(said.starts_with(want), "{said}"),
            (got, want) => panic!("{url}, {ignorable}: {got:?}, not {want:?}"),
        }
        assert_eq!(one.bind(&pod, &"a".into()).await.map(|outcome| outcome.is_ok()), bound, "{url}");
    }
    scene.cluster.stop().await;
}

#[tokio::test]
async fn binds_the_pods_that_ask_for_what_it_manages() {
    let scene = Scene::new().await;
    let mut server = serve(&scene, 200, json!({"bind": {}})).await;
    let managed = json!([{"name": "example.com/gpu"}]);
    let extender = json!({"urlPrefix": server.url, "bindVerb": "bind", "managedResources": managed});
    let one = scene.extenders(&[extender]).await;
    assert_eq!(one.bind(&scene.known("plain", 0).await, &"n".into()).await, None);
    let gpu = scene.known("gpu", 1).await;
    assert_eq!(one.bind(&gpu, &"n".into()).await, Some(Ok(())));
    let want =
        json!({"PodName": "gpu", "PodNamespace": "default", "PodUID": gpu.uid.to_string(), "Node": "n"});
    assert_eq!(server.asked(), [("/extend/bind".to_owned(), want)]);
    scene.cluster.stop().await;
}
