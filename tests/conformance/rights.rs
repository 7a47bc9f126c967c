//! Roles and bindings decide what users may do, and nobody hands out more than he has.

use apiserver::authn::User;
use component::client::from_service;
use harness::cluster::TestCluster;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

fn binding(name: &str, role: &str, user: &str) -> RoleBinding {
    let object = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    serde_json::from_value(object).unwrap()
}

fn client(cluster: &TestCluster, user: &str) -> Client {
    from_service(cluster.apiserver.as_user(User::new(user, ["dev"])))
}

/// The refusal's text.
fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> String {
    match answer.unwrap_err() {
        kube::Error::Api(status) => {
            assert_eq!(status.code, 403, "{status:?}");
            status.message.clone()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_binding_lets_in_at_once_and_its_end_shuts_out() {
    let cluster = TestCluster::apiserver().await;
    let alice = client(&cluster, "alice");
    let maps = |namespace: &str| Api::<ConfigMap>::namespaced(alice.clone(), namespace);
    let all = ListParams::default();
    refused(maps("default").list(&all).await);
    // `view` is gathered from other roles by their labels.
    cluster
        .api::<RoleBinding>()
        .create(&PostParams::default(), &binding("looks", "view", "alice"))
        .await
        .unwrap();
    maps("default").list(&all).await.unwrap();
    refused(maps("kube-system").list(&all).await);
    refused(Api::<Secret>::namespaced(alice.clone(), "default").list(&all).await);
    refused(maps("default").delete("a", &DeleteParams::default()).await);

    let question = json!({"spec": {"user": "alice", "resourceAttributes":
        {"verb": "list", "resource": "configmaps", "namespace": "default"}}});
    let question: SubjectAccessReview = serde_json::from_value(question).unwrap();
    let reviews = Api::<SubjectAccessReview>::all(cluster.client.clone());
    let status = reviews.create(&PostParams::default(), &question).await.unwrap().status.unwrap();
    let why = r#"RBAC: allowed by RoleBinding "looks/default" of ClusterRole "view" to User "alice""#;
    assert_eq!((status.allowed, status.reason.as_deref()), (true, Some(why)));

    cluster.api::<RoleBinding>().delete("looks", &DeleteParams::default()).await.unwrap();
    refused(maps("default").list(&all).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_more_than_he_has() {
    let cluster = TestCluster::apiserver().await;
    let bob = client(&cluster, "bob");
    let post = PostParams::default();
    cluster.api::<RoleBinding>().create(&post, &binding("leads", "admin", "bob")).await.unwrap();
    let bindings = Api::<RoleBinding>::namespaced(bob.clone(), "default");
    bindings.create(&post, &binding("helps", "edit", "carol")).await.unwrap();
    let said = refused(bindings.create(&post, &binding("rules", "cluster-admin", "carol")).await);
    let want = "rolebindings.rbac.authorization.k8s.io \"rules\" is forbidden: user \"bob\" \
        (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
        {APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}";
    assert_eq!(said, want);

    let role = |resource: &str| -> Role {
        let rule = json!({"apiGroups": [""], "resources": [resource], "verbs": ["update"]});
        serde_json::from_value(json!({"metadata": {"name": resource}, "rules": [rule]})).unwrap()
    };
    let roles = Api::<Role>::namespaced(bob.clone(), "default");
    roles.create(&post, &role("services")).await.unwrap();
    let said = refused(roles.create(&post, &role("resourcequotas")).await);
    assert!(
        said.ends_with("{APIGroups:[\"\"], Resources:[\"resourcequotas\"], Verbs:[\"update\"]}"),
        "{said}"
    );
    refused(Api::<ClusterRole>::all(bob.clone()).list(&ListParams::default()).await);

    // Who may bind a role hands it out without having what it grants.
    let own: ClusterRole = serde_json::from_value(json!({"metadata": {"name": "hands-out"}, "rules": [{
        "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["cluster-admin"], "verbs": ["bind"]}]}))
    .unwrap();
    Api::<ClusterRole>::all(cluster.client.clone()).create(&post, &own).await.unwrap();
    let mut everywhere = serde_json::to_value(binding("hands-out", "hands-out", "bob")).unwrap();
    everywhere["kind"] = "ClusterRoleBinding".into();
    let everywhere: ClusterRoleBinding = serde_json::from_value(everywhere).unwrap();
    Api::<ClusterRoleBinding>::all(cluster.client.clone()).create(&post, &everywhere).await.unwrap();
    bindings.create(&post, &binding("rules", "cluster-admin", "carol")).await.unwrap();
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn acting_as_another_has_to_be_granted() {
    let cluster = TestCluster::apiserver().await;
    let post = PostParams::default();
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": "acts"}, "rules": [
        {"apiGroups": [""], "resources": ["users"], "resourceNames": ["carol"], "verbs": ["impersonate"]},
        {"apiGroups": [""], "resources": ["groups"], "resourceNames": ["readers"], "verbs": ["impersonate"]},
    ]}))
    .unwrap();
    Api::<ClusterRole>::all(cluster.client.clone()).create(&post, &role).await.unwrap();
    let mut everywhere = serde_json::to_value(binding("acts", "acts", "bob")).unwrap();
    everywhere["kind"] = "ClusterRoleBinding".into();
    let everywhere: ClusterRoleBinding = serde_json::from_value(everywhere).unwrap();
    Api::<ClusterRoleBinding>::all(cluster.client.clone()).create(&post, &everywhere).await.unwrap();
    cluster.api::<RoleBinding>().create(&post, &binding("looks", "view", "carol")).await.unwrap();

    let bob = client(&cluster, "bob");
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = http::Request::get("/api/v1/namespaces/default/configmaps");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        bob.request::<serde_json::Value>(request.body(Vec::new()).unwrap()).await
    };
    ask(&[("impersonate-user", "carol"), ("impersonate-group", "readers")]).await.unwrap();
    for (headers, cannot) in [
        (vec![("impersonate-user", "root")], "\"users\" in API group \"\" at the cluster scope"),
        (
            vec![("impersonate-user", "carol"), ("impersonate-group", "system:masters")],
            "\"groups\" in API group \"\" at the cluster scope",
        ),
        (
            vec![("impersonate-user", "system:serviceaccount:a:b")],
            "\"serviceaccounts\" in API group \"\" in the namespace \"a\"",
        ),
        (
            vec![("impersonate-user", "carol"), ("impersonate-extra-scopes", "all")],
            "\"userextras/scopes\" in API group \"authentication.k8s.io\" at the cluster scope",
        ),
        (
            vec![("impersonate-user", "carol"), ("impersonate-uid", "1")],
            "\"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
        ),
    ] {
        let said = refused(ask(&headers).await);
        assert!(said.ends_with(&format!("User \"bob\" cannot impersonate resource {cannot}")), "{said}");
    }
    cluster.stop().await;
}
