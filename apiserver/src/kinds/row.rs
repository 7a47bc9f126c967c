//! A short way to write down a kind.
//!
//! Promise: what a row does not say is the common case: all verbs, no subresources, no rules.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::columns::{self, Column};
use super::fields::SelectableField;
use super::names::NameRule;
use super::strategy::{Rules, Strategy};
use super::{Kind, Subresource};

const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A kind on its way into the table.
#[derive(Debug)]
pub(super) struct Row(Kind);

impl Row {
    /// A kind in a namespace. `plural` is the resource in URLs; the schema is `definition`'s package plus the kind.
    pub(super) fn namespaced(api: Api, kind: &'static str, plural: &'static str) -> Self {
        Self(Kind {
            group: Cow::Borrowed(api.group),
            version: Cow::Borrowed(api.version),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            singular: Cow::Owned(kind.to_ascii_lowercase()),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: ALL_VERBS,
            subresources: Vec::new(),
            selectable_fields: vec![
                SelectableField::at("metadata.name"),
                SelectableField::at("metadata.namespace"),
            ],
            columns: vec![columns::name(), columns::age()],
            cells: |object, now| vec![object["metadata"]["name"].clone(), columns::age_of(object, now)],
            strategy: Arc::new(Rules::PLAIN),
            definition: Cow::Owned(format!("{}.{kind}", api.package)),
            name_rule: NameRule::Subdomain,
            storage: (Cow::Borrowed(api.group), Cow::Borrowed(plural)),
            deprecated: None,
        })
    }

    /// A kind outside namespaces.
    pub(super) fn cluster(api: Api, kind: &'static str, plural: &'static str) -> Self {
        let mut row = Self::namespaced(api, kind, plural);
        row.0.namespaced = false;
        row
    }

    /// Whether the kind lives in namespaces.
    pub(super) fn is_namespaced(&self) -> bool {
        self.0.namespaced
    }

    pub(super) fn short(mut self, names: &[&'static str]) -> Self {
        self.0.short_names = names.iter().map(|name| Cow::Borrowed(*name)).collect();
        self
    }

    pub(super) fn category(mut self, category: &'static str) -> Self {
        self.0.categories.push(Cow::Borrowed(category));
        self
    }

    pub(super) fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.0.verbs = verbs;
        self
    }

    pub(super) fn subresources(mut self, subresources: &[Subresource]) -> Self {
        self.0.subresources = subresources.to_vec();
        self
    }

    /// Fields beside name and namespace that selectors may name.
    pub(super) fn fields(mut self, fields: impl IntoIterator<Item = SelectableField>) -> Self {
        self.0.selectable_fields.extend(fields);
        self
    }

    pub(super) fn columns(
        mut self,
        columns: Vec<Column>,
        cells: fn(&Value, Timestamp) -> Vec<Value>,
    ) -> Self {
        self.0.columns = columns;
        self.0.cells = cells;
        self
    }

    pub(super) fn strategy(mut self, strategy: impl Strategy + 'static) -> Self {
        self.0.strategy = Arc::new(strategy);
        self
    }

    pub(super) fn name_rule(mut self, rule: NameRule) -> Self {
        self.0.name_rule = rule;
        self
    }

    /// The same objects as those of another group.
    pub(super) fn stored_as(mut self, group: &'static str) -> Self {
        self.0.storage.0 = Cow::Borrowed(group);
        self
    }

    /// Requests for it are answered with this warning.
    pub(super) fn deprecated(mut self, warning: &'static str) -> Self {
        self.0.deprecated = Some(warning);
        self
    }

    pub(super) fn build(self) -> Kind {
        self.0
    }
}

/// A group-version and the package its schemas are named by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) package: &'static str,
}
