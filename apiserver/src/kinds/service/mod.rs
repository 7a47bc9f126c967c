//! Service.

mod cells;
pub(super) mod defaults;
mod validate;

pub(super) use cells::ingress_points;

use super::Subresource;
use super::core::V1;
use super::fields::SelectableField;
use super::names::NameRule;
use super::row::Row;
use super::strategy::Rules;

pub(super) fn row() -> Row {
    Row::namespaced(V1, "Service", "services")
        .short(&["svc"])
        .category("all")
        .name_rule(NameRule::Label)
        .subresources(&[Subresource::Proxy, Subresource::Status])
        .fields([SelectableField::at("spec.clusterIP"), SelectableField::at("spec.type")])
        .strategy(Rules {
            status: Some(r#"{"loadBalancer": {}}"#),
            create_on_update: true,
            defaults: defaults::service,
            validate: validate::service,
            validate_update: validate::update,
            create: defaults::create,
            update: defaults::update,
            ..Rules::PLAIN
        })
        .columns(cells::columns(), cells::cells)
}
