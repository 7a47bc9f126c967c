//! Which objects a request means: place, labels and fields.
//!
//! Promise: decides from the record's header alone; no object is decoded to be left out.

use objects::fields::FieldSelector;
use objects::labels::Selector;

use crate::http::call::Call;
use crate::http::query::ListOptions;
use crate::kinds::{Kind, SelectableField};
use crate::status::{ApiError, ApiResult};
use crate::store::{Header, Record};

/// The objects a list or watch is about.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// A key if it does not end in `/`, else everything below.
    pub prefix: String,
    labels: Selector,
    fields: Vec<Wanted>,
}

#[derive(Clone, Debug)]
struct Wanted {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Name,
    Namespace,
    /// Index into the header's fields.
    Extracted(usize),
}

impl Selection {
    /// Reads the selection of a request; a field that the kind does not offer is upstream's error.
    pub(crate) fn new(call: &Call, kind: &Kind, options: &ListOptions) -> ApiResult<Self> {
        let fields = wanted(call, kind, &options.fields)?;
        let namespace = if kind.namespaced { call.namespace() } else { "" };
        let mut prefix = kind.storage_prefix();
        if !namespace.is_empty() {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        // A single object by name is a single key, if it is clear in which namespace it is.
        if !kind.namespaced || !namespace.is_empty() {
            let by_name = fields.iter().find(|w| w.equal && matches!(w.field, Field::Name));
            prefix.push_str(by_name.map_or_else(|| call.name(), |wanted| &wanted.value));
        }
        Ok(Self { prefix, labels: options.labels.clone(), fields })
    }

    /// Whether an object is meant.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        self.in_place(record) && self.matches_header(&record.header)
    }

    fn in_place(&self, record: &Record) -> bool {
        self.prefix.ends_with('/') || record.key.as_str() == self.prefix
    }

    fn matches_header(&self, header: &Header) -> bool {
        let labels = self.labels.is_everything() || self.labels.matches_with(|key| header.label(key));
        labels && self.fields.iter().all(|wanted| wanted.holds(header))
    }
}

impl Wanted {
    fn holds(&self, header: &Header) -> bool {
        let is = match self.field {
            Field::Name => header.name(),
            Field::Namespace => header.namespace(),
            Field::Extracted(index) => header.field(index),
        };
        (is == self.value) == self.equal
    }
}

/// Fields of the row beside name and namespace: what a header keeps, in this order.
pub(crate) fn extracted(kind: &Kind) -> impl Iterator<Item = &SelectableField> {
    kind.selectable_fields.iter().filter(|field| !field.name.starts_with("metadata."))
}

fn wanted(call: &Call, kind: &Kind, selector: &FieldSelector) -> ApiResult<Vec<Wanted>> {
    let mut all = Vec::new();
    for requirement in selector.requirements() {
        let label = requirement.field.as_str();
        let served = call.served_kind(kind);
        let offered = served.selectable_fields.iter().any(|field| field.name == label);
        let stored = call.conversion().map_or_else(|| label.to_owned(), |shape| shape.stored_field(label));
        let field = match label {
            "metadata.name" => Field::Name,
            "metadata.namespace" if offered => Field::Namespace,
            label => match extracted(kind).position(|field| field.name == stored) {
                Some(index) if offered => Field::Extracted(index),
                _ => return Err(ApiError::bad_request(served.unsupported_field(label))),
            },
        };
        all.push(Wanted { field, value: requirement.value.clone(), equal: requirement.equal });
    }
    Ok(all)
}
