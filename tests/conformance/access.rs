//! Who may use a component's own port, asked of the real API server.

use component::access::{Access, Act, Caller, Refusal, Rules, published};
use harness::cluster::TestCluster;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::json;

fn get(path: &str) -> Act {
    Act::Path { verb: "get".to_owned(), path: path.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn tokens_and_rights_are_reviewed_by_the_api_server() {
    let cluster = TestCluster::apiserver().await;
    let account: ServiceAccount = cluster.create(json!({"metadata": {"name": "prometheus"}})).await;
    let accounts: Api<ServiceAccount> = cluster.api();
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let name = account.metadata.name.as_deref().unwrap();
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    let token = made.status.unwrap().token.unwrap();

    let reviewer = Some(cluster.client.clone());
    let access = Access::new(Rules::by(reviewer.clone(), reviewer));
    let caller = access.caller(None, Some(&token)).await.unwrap();
    assert_eq!(caller.name, "system:serviceaccount:default:prometheus");
    assert!(caller.is_in("system:serviceaccounts:default"), "{caller:?}");
    assert_eq!(access.caller(None, Some(&token[1..])).await, Err(Refusal::Unauthorized));
    let refused = access.authorize(&caller, get("/metrics")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "forbidden: User \"system:serviceaccount:default:prometheus\" cannot get path \"/metrics\""
    );
    let component = Caller { name: "system:kube-controller-manager".into(), ..Caller::default() };
    access.authorize(&component, get("/metrics")).await.unwrap();
    access.authorize(&Caller::anonymous(), get("/healthz")).await.unwrap();
    assert!(access.authorize(&Caller::anonymous(), get("/debug/decisions")).await.is_err());
    // This one has no port and so no client CA; the ConfigMap is not there.
    assert!(published(&cluster.client).await.is_err());
    cluster.stop().await;
}
