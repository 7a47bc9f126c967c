//! DefaultIngressClass: an Ingress without a class gets the default one.
//!
//! Source: kubernetes `plugin/pkg/admission/network/defaultingressclass`.

use serde_json::Value;

use super::Attributes;
use super::storage::newest;
use crate::http::route::Verb;
use crate::kinds::read::Read;

const OLD_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) fn admit(attributes: &Attributes<'_>, ingress: &mut Value) {
    if !attributes.is("networking.k8s.io", "ingresses") || attributes.verb != Verb::Create {
        return;
    }
    if ingress["spec"].has("ingressClassName") || ingress["metadata"]["annotations"].has(OLD_ANNOTATION) {
        return;
    }
    let classes = attributes.all("networking.k8s.io", "ingressclasses", "");
    let is_default = |class: &&Value| class["metadata"]["annotations"].text(DEFAULT_ANNOTATION) == "true";
    if let Some(name) = newest(classes.iter().filter(is_default)) {
        ingress["spec"]["ingressClassName"] = name.into();
    }
}
