//! authentication and authorization v1: questions that are posted and answered, never stored.

use super::row::{Api, Row};

const AUTHENTICATION: Api =
    Api { group: "authentication.k8s.io", version: "v1", package: "io.k8s.api.authentication.v1" };
const AUTHORIZATION: Api =
    Api { group: "authorization.k8s.io", version: "v1", package: "io.k8s.api.authorization.v1" };

pub(super) fn authentication() -> Vec<Row> {
    vec![
        Row::cluster(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews").verbs(&["create"]),
        Row::cluster(AUTHENTICATION, "TokenReview", "tokenreviews").verbs(&["create"]),
    ]
}

pub(super) fn authorization() -> Vec<Row> {
    vec![
        Row::namespaced(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews")
            .verbs(&["create"]),
        Row::cluster(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews").verbs(&["create"]),
        Row::cluster(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews").verbs(&["create"]),
        Row::cluster(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews").verbs(&["create"]),
    ]
}
