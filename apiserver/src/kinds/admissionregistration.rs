//! admissionregistration.k8s.io/v1: policies and webhooks that look at requests.

use serde_json::{Value, json};

use super::Subresource;
use super::columns::{self, Column};
use super::read::{Read, child, default, default_text, items_mut};
use super::row::{Api, Row};
use super::strategy::Rules;

const V1: Api = Api {
    group: "admissionregistration.k8s.io",
    version: "v1",
    package: "io.k8s.api.admissionregistration.v1",
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        mutating_policies(),
        bindings("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        webhooks("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        validating_policies(),
        bindings("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        webhooks("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ]
}

fn cluster(kind: &'static str, plural: &'static str) -> Row {
    Row::cluster(V1, kind, plural).category("api-extensions")
}

const RULES: Rules = Rules { generation: true, generation_of: &["spec", "webhooks"], ..Rules::PLAIN };

fn validating_policies() -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "Validations",
            "Validations indicates the number of validation rules defined in this configuration",
        )
        .of("integer"),
        Column::text(
            "ParamKind",
            "ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        columns::age(),
    ];
    cluster("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .subresources(&[Subresource::Status])
        .strategy(Rules { status: Some("{}"), defaults: policy_defaults, ..RULES })
        .columns(columns, |policy, now| {
            vec![
                policy["metadata"]["name"].clone(),
                columns::count(&policy["spec"]["validations"]),
                param_kind(policy),
                columns::age_of(policy, now),
            ]
        })
}

fn mutating_policies() -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "Mutations",
            "Mutations indicates the number of mutations rules defined in this configuration",
        )
        .of("integer"),
        Column::text(
            "ParamKind",
            "ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        columns::age(),
    ];
    cluster("MutatingAdmissionPolicy", "mutatingadmissionpolicies")
        .strategy(Rules { defaults: policy_defaults, ..RULES })
        .columns(columns, |policy, now| {
            vec![
                policy["metadata"]["name"].clone(),
                columns::count(&policy["spec"]["mutations"]),
                param_kind(policy),
                columns::age_of(policy, now),
            ]
        })
}

fn bindings(kind: &'static str, plural: &'static str) -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "PolicyName",
            "PolicyName indicates the policy definition which the policy binding binded to",
        ),
        Column::text("ParamRef", "ParamRef indicates the param resource which sets the configration param"),
        columns::age(),
    ];
    cluster(kind, plural).strategy(Rules { defaults: binding_defaults, ..RULES }).columns(
        columns,
        |binding, now| {
            let spec = &binding["spec"];
            vec![
                binding["metadata"]["name"].clone(),
                spec.text("policyName").into(),
                param_ref(&spec["paramRef"]),
                columns::age_of(binding, now),
            ]
        },
    )
}

fn webhooks(kind: &'static str, plural: &'static str) -> Row {
    let columns = vec![
        columns::name(),
        Column::text(
            "Webhooks",
            "Webhooks indicates the number of webhooks registered in this configuration",
        )
        .of("integer"),
        columns::age(),
    ];
    let defaults = if kind.starts_with("Mutating") { mutating_defaults } else { webhook_defaults };
    cluster(kind, plural).strategy(Rules { defaults, ..RULES }).columns(columns, |hooks, now| {
        vec![
            hooks["metadata"]["name"].clone(),
            columns::count(&hooks["webhooks"]),
            columns::age_of(hooks, now),
        ]
    })
}

fn param_kind(policy: &Value) -> Value {
    let kind = &policy["spec"]["paramKind"];
    if kind.is_null() {
        return "<unset>".into();
    }
    format!("{}/{}", kind.text("apiVersion"), kind.text("kind")).into()
}

fn param_ref(reference: &Value) -> Value {
    if reference.is_null() {
        return "<unset>".into();
    }
    match (reference.text("namespace"), reference.text("name")) {
        ("", "") => "*".into(),
        ("", name) => name.into(),
        (namespace, "") => format!("{namespace}/*").into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

fn policy_defaults(policy: &mut Value) {
    let spec = child(policy, "spec");
    default_text(spec, "failurePolicy", "Fail");
    if spec.has("matchConstraints") {
        match_defaults(&mut spec["matchConstraints"]);
    }
}

fn binding_defaults(binding: &mut Value) {
    if binding["spec"].has("matchResources") {
        match_defaults(&mut binding["spec"]["matchResources"]);
    }
}

fn match_defaults(constraints: &mut Value) {
    default_text(constraints, "matchPolicy", "Equivalent");
    default(constraints, "namespaceSelector", json!({}));
    default(constraints, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        items_mut(constraints, list).for_each(|rule| default_text(rule, "scope", "*"));
    }
}

fn webhook_defaults(hooks: &mut Value) {
    for hook in items_mut(hooks, "webhooks") {
        default_text(hook, "failurePolicy", "Fail");
        default_text(hook, "matchPolicy", "Equivalent");
        default(hook, "namespaceSelector", json!({}));
        default(hook, "objectSelector", json!({}));
        default(hook, "timeoutSeconds", 10);
        items_mut(hook, "rules").for_each(|rule| default_text(rule, "scope", "*"));
        if hook["clientConfig"].has("service") {
            default(&mut hook["clientConfig"]["service"], "port", 443);
        }
    }
}

fn mutating_defaults(hooks: &mut Value) {
    webhook_defaults(hooks);
    items_mut(hooks, "webhooks").for_each(|hook| default_text(hook, "reinvocationPolicy", "Never"));
}
