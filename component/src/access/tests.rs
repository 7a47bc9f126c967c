//! What must hold of the module above: who is let in, and how often the API server is asked.

use super::*;
use crate::client::from_service;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use parking_lot::Mutex;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use tower::BoxError;

/// An API server that knows the token `good` of `ann`, and lets `ann` get `/metrics` and use the proxy of node `n`.
/// Keeps what it was asked.
#[derive(Clone, Default)]
struct Reviewer(Arc<Mutex<Vec<Value>>>);

impl Reviewer {
    fn client(&self) -> Client {
        let reviewer = self.clone();
        from_service(tower::service_fn(move |request| {
            let reviewer = reviewer.clone();
            async move { Ok::<_, BoxError>(reviewer.answer(request).await) }
        }))
    }

    async fn answer(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut review: Value = serde_json::from_slice(&body).unwrap();
        self.0.lock().push(review["spec"].clone());
        let spec = &review["spec"];
        let ann = spec["user"] == "ann";
        review["status"] = match review["kind"].as_str().unwrap() {
            "TokenReview" if spec["token"] == "good" => json!({"authenticated": true,
                "user": {"username": "ann", "uid": "7", "groups": ["dev"], "extra": {"k": ["v"]}}}),
            "TokenReview" => json!({"user": {}, "error": "[invalid bearer token]"}),
            _ if spec["nonResourceAttributes"] == json!({"path": "/metrics", "verb": "get"}) => {
                json!({"allowed": ann})
            }
            _ => json!({"allowed": ann && spec["resourceAttributes"]["name"] == "n"}),
        };
        Response::builder().status(201).body(Full::new(Bytes::from(review.to_string()))).unwrap()
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock())
    }
}

fn get(path: &str) -> Act {
    Act::Path { verb: "get".to_owned(), path: path.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn callers_are_let_in_by_what_the_api_server_says() {
    let reviewer = Reviewer::default();
    let access = Access::new(Rules::by(Some(reviewer.client()), Some(reviewer.client())));
    let master = Caller { name: "root".into(), groups: vec![MASTERS.into()], ..Caller::default() };
    let bob = Caller { name: "bob".into(), ..Caller::default() };
    let node = |name: &str| Act::Resource {
        verb: "get".to_owned(),
        resource: "nodes",
        subresource: "proxy",
        name: name.to_owned(),
    };
    let may_not = |user: &str, path: &str| Err(format!("forbidden: User {user:?} cannot get path {path:?}"));
    for (name, certificate, token, act, want) in [
        ("a master", Some(&master), None, get("/anything"), Ok(())),
        ("a certificate goes before a token", Some(&master), Some("bad"), get("/metrics"), Ok(())),
        ("a good token", None, Some("good"), get("/metrics"), Ok(())),
        ("but not everything", None, Some("good"), get("/configz"), may_not("ann", "/configz")),
        ("a bad token", None, Some("bad"), get("/metrics"), Err("Unauthorized".to_owned())),
        ("even where nobody needs one", None, Some("bad"), get("/healthz"), Err("Unauthorized".to_owned())),
        ("nobody", None, None, get("/metrics"), may_not("system:anonymous", "/metrics")),
        ("nobody asks for health", None, None, get("/healthz"), Ok(())),
        ("of a single check", None, None, get("/healthz/ping"), may_not("system:anonymous", "/healthz/ping")),
        ("another certificate", Some(&bob), None, get("/metrics"), may_not("bob", "/metrics")),
        ("a resource", None, Some("good"), node("n"), Ok(())),
        (
            "another one",
            None,
            Some("good"),
            node("m"),
            Err("nodes \"m\" is forbidden: User \"ann\" cannot get resource \"nodes/proxy\" in API group \"\" at \
                 the cluster scope"
                .to_owned()),
        ),
    ] {
        let said = match access.caller(certificate, token).await {
            Ok(caller) => access.authorize(&caller, act).await,
            Err(refusal) => Err(refusal),
        };
        assert_eq!(said.map_err(|refusal| refusal.to_string()), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_says_who_asks() {
    let reviewer = Reviewer::default();
    let front = FrontProxy {
        allowed_names: vec!["front".to_owned()],
        username_headers: vec![USERNAME_HEADERS.to_owned()],
        group_headers: vec![GROUP_HEADERS.to_owned()],
        extra_prefixes: vec![EXTRA_PREFIXES.to_owned()],
        ..FrontProxy::default()
    };
    let (access, front) = (Access::new(Rules::by(Some(reviewer.client()), None)), Arc::new(front));
    let bob = Caller { name: "bob".into(), ..Caller::default() };
    let proxy = |name: &str| Some(Proxy { name: name.to_owned(), front: front.clone() });
    let of_proxy = |name: &str| Holder { user: None, proxy: proxy(name) };
    let of_both = Holder { user: Some(bob.clone()), proxy: proxy("front") };
    let of_user = Holder { user: Some(bob), proxy: None };
    let (user, token) = (("x-remote-user", "eve"), ("authorization", "Bearer good"));
    for (name, holder, headers, want) in [
        ("a user", of_proxy("front"), vec![user], Some("eve")),
        ("before the proxy's own name", of_both.clone(), vec![user], Some("eve")),
        ("nobody, so the proxy itself asks", of_both, vec![], Some("bob")),
        ("a certificate of a user is none of a proxy", of_user, vec![user], Some("bob")),
        ("no certificate", Holder::default(), vec![user], Some("system:anonymous")),
        ("another proxy", of_proxy("other"), vec![user], None),
        ("another proxy with a token", of_proxy("other"), vec![user, token], Some("ann")),
        ("nobody", of_proxy("front"), vec![], None),
        ("a token", of_proxy("front"), vec![token], Some("ann")),
    ] {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        let caller = access.caller_of(&holder, &map).await;
        assert_eq!(caller.ok().map(|caller| caller.name).as_deref(), want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_hold_for_a_while() {
    let reviewer = Reviewer::default();
    let access = Access::new(Rules::by(Some(reviewer.client()), Some(reviewer.client())));
    let ask = async || {
        let caller = access.caller(None, Some("good")).await.unwrap();
        access.authorize(&caller, get("/metrics")).await.unwrap();
    };
    ask().await;
    ask().await;
    let asked = reviewer.asked();
    assert_eq!(asked.len(), 2, "one review of each kind: {asked:?}");
    assert_eq!(asked[0], json!({"token": "good"}));
    assert_eq!(
        asked[1],
        json!({"user": "ann", "uid": "7", "groups": ["dev"], "extra": {"k": ["v"]},
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"}})
    );
    tokio::time::advance(ANSWER_HOLDS).await;
    ask().await;
    assert_eq!(reviewer.asked().len(), 2, "and again when they are old");
}

#[tokio::test]
async fn without_a_reviewer_only_masters_come_in() {
    let access = Access::new(Rules {
        always_allowed: vec!["/healthz".to_owned(), "/debug/*".to_owned()],
        ..Rules::by(None, None)
    });
    assert_eq!(access.caller(None, Some("good")).await, Err(Refusal::Unauthorized));
    let nobody = access.caller(None, None).await.unwrap();
    assert_eq!(nobody, Caller::anonymous());
    for (path, want) in
        [("/healthz", true), ("/debug/decisions/a/b", true), ("/debug", false), ("/metrics", false)]
    {
        assert_eq!(access.authorize(&nobody, get(path)).await.is_ok(), want, "{path}");
    }
    let refusal = access.authorize(&nobody, get("/metrics")).await.unwrap_err();
    assert_eq!((refusal.code().as_u16(), &refusal.status()["reason"]), (403, &json!("Forbidden")));
}

#[test]
fn a_caller_is_its_certificates_subject() {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "ann");
    params.distinguished_name.push(DnType::OrganizationName, "dev");
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let caller = Caller::from_certificate(certificate.der()).unwrap();
    assert_eq!((caller.name.as_str(), caller.is_in("dev"), caller.is_in(AUTHENTICATED)), ("ann", true, true));
    let nobody = CertificateParams::new(vec!["x".to_owned()]).unwrap();
    let mut nobody_params = nobody;
    nobody_params.distinguished_name = rcgen::DistinguishedName::new();
    let nobody = nobody_params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(Caller::from_certificate(nobody.der()), None);
    assert_eq!(Caller::from_certificate(b"nonsense"), None);
}
