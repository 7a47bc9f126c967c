//! certificates.k8s.io/v1: CertificateSigningRequest.

use jiff::Timestamp;
use serde_json::Value;

use super::Subresource;
use super::checks;
use super::columns::{self, Column};
use super::fields::SelectableField;
use super::names::NameRule;
use super::read::Read;
use super::row::{Api, Row};
use super::strategy::Rules;
use crate::field::{FieldError, FieldErrors, Path};

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
    validate: check,
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

fn check(request: &Value, errors: &mut FieldErrors) {
    /// Shortest life of a certificate, in seconds.
    const SHORTEST: i64 = 600;
    const AT: Path<'static> = Path::root("spec");
    let spec = &request["spec"];
    if spec.list("usages").is_empty() {
        errors.push(FieldError::required(AT.child("usages"), ""));
    }
    let signer = spec.text("signerName");
    match signer.split_once('/') {
        _ if signer.is_empty() => errors.push(FieldError::required(AT.child("signerName"), "")),
        Some((domain, _)) => checks::subdomain(AT.child("signerName"), domain, errors),
        None => {
            let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid(AT.child("signerName"), signer, why));
        }
    }
    if let Some(seconds) = spec.int("expirationSeconds").filter(|seconds| *seconds < SHORTEST) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(AT.child("expirationSeconds"), seconds, why));
    }
}
