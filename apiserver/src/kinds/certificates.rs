//! certificates.k8s.io/v1: CertificateSigningRequest.

use jiff::Timestamp;
use serde_json::Value;

use super::Subresource;
use super::columns::{self, Column};
use super::fields::SelectableField;
use super::names::NameRule;
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api { group: "certificates.k8s.io", version: "v1", package: "io.k8s.api.certificates.v1" };
const SPEC: &str = "io.k8s.api.certificates.v1.CertificateSigningRequestSpec";

pub(super) fn rows() -> Vec<Row> {
    let columns = vec![
        columns::name(),
        columns::age(),
        Column::field("SignerName", SPEC, "signerName"),
        Column::field("Requestor", SPEC, "request"),
        Column::field("RequestedDuration", SPEC, "expirationSeconds"),
        Column::field(
            "Condition",
            "io.k8s.api.certificates.v1.CertificateSigningRequestStatus",
            "conditions",
        ),
    ];
    vec![
        Row::cluster(V1, "CertificateSigningRequest", "certificatesigningrequests")
            .short(&["csr"])
            .name_rule(NameRule::PathSegment)
            .subresources(&[Subresource::Approval, Subresource::Status])
            .fields([SelectableField::at("spec.signerName")])
            .strategy(RULES)
            .columns(columns, cells),
    ]
}

const RULES: Rules = Rules {
    status: Some("{}"),
    // What was asked for stays as it was asked.
    update: |request, old| crate::object::carry_over(request, old, "spec"),
    ..Rules::PLAIN
};

fn cells(request: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &request["spec"];
    let duration = spec.int("expirationSeconds").map_or_else(|| "<none>".to_owned(), columns::human_duration);
    vec![
        request["metadata"]["name"].clone(),
        columns::age_of(request, now),
        spec.text("signerName").into(),
        spec.text("username").into(),
        duration.into(),
        condition(&request["status"]).into(),
    ]
}

fn condition(status: &Value) -> String {
    let has = |kind: &str| status.list("conditions").iter().any(|one| one.text("type") == kind);
    let mut parts = Vec::new();
    if has("Denied") {
        parts.push("Denied");
    } else if has("Approved") {
        parts.push("Approved");
    } else {
        parts.push("Pending");
    }
    if has("Failed") {
        parts.push("Failed");
    }
    if !status.text("certificate").is_empty() {
        parts.push("Issued");
    }
    parts.join(",")
}
