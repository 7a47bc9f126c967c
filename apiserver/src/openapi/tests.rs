//! What kubectl reads from the documents.

use std::collections::BTreeSet;

use super::*;

fn document(path: &str) -> Value {
    let openapi = OpenApi::new(Kinds::builtin());
    serde_json::from_slice(&openapi.document(path).unwrap().bytes).unwrap()
}

#[test]
fn every_reference_leads_somewhere() {
    let openapi = OpenApi::new(Kinds::builtin());
    for path in openapi.document_paths() {
        let document: Value = serde_json::from_slice(&openapi.document(&path).unwrap().bytes).unwrap();
        let mut found = BTreeSet::new();
        schemas::references(&document, &mut found);
        for name in found {
            assert!(document["components"]["schemas"].get(&name).is_some(), "{path} refers to {name}");
        }
    }
}

#[test]
fn the_index_names_each_document_by_its_hash() {
    let openapi = OpenApi::new(Kinds::builtin());
    let index = openapi.index();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let hash = openapi.document("apis/apps/v1").unwrap().hash;
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={hash}"));
    assert!(index["paths"].get("api/v1").is_some());
    assert_eq!(openapi.index(), index);
}

#[test]
fn unknown_documents_are_none() {
    let openapi = OpenApi::new(Kinds::builtin());
    for path in ["", "api/v2", "apis/apps/v2", "apis/nothing", "apis/apps/v1/deployments", "version"] {
        assert!(openapi.document(path).is_none(), "{path}");
    }
}

#[test]
fn apply_finds_the_patch_and_its_keys() {
    let document = document("apis/apps/v1");
    let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let patch = &path["patch"];
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let containers =
        &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn explain_finds_kinds_fields_and_descriptions() {
    let document = document("api/v1");
    let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    assert!(pod["description"].as_str().unwrap().starts_with("Pod is a collection of containers"));
    let spec = &pod["properties"]["spec"];
    assert_eq!(spec["allOf"], json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]));
    assert_eq!(spec["default"], json!({}));
    assert!(spec["description"].as_str().unwrap().starts_with("Specification of the desired behavior"));
}

#[test]
fn shared_parameters_stand_beside_the_methods() {
    let document = document("api/v1");
    let all = &document["paths"]["/api/v1/pods"];
    assert!(all["get"].get("parameters").is_none());
    assert_eq!(all["get"]["operationId"], "listCoreV1PodForAllNamespaces");
    let names = |item: &Value| -> Vec<String> {
        item["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(names(all).contains(&"labelSelector".to_owned()));
    let proxy = &document["paths"]["/api/v1/nodes/{name}/proxy/{path}"];
    assert_eq!(names(proxy), ["name", "path", "path"]);
    assert_eq!(proxy["head"]["operationId"], "connectCoreV1HeadNodeProxyWithPath");
}

#[test]
fn version_two_has_every_kind_once() {
    let openapi = OpenApi::new(Kinds::builtin());
    let document = openapi.v2();
    assert!(document["paths"].get("/apis/apps/v1/namespaces/{namespace}/deployments/{name}").is_some());
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    assert!(pod["properties"]["spec"].get("allOf").is_none());
    assert!(gnostic::encode(&document).len() > 500_000);
}
