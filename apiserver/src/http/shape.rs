//! Objects in other shapes: rows of a Table, or only their metadata.
//!
//! Promise: the shapes of `meta.k8s.io/v1`. Metadata is cut out of the stored bytes without decoding the rest.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::kinds::{self, Description, Kind};
use crate::schema::Descriptions;
use crate::status::{ApiError, ApiResult};

/// How much of the object a Table row carries (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// Reads the query parameter.
    pub fn parse(value: &str) -> ApiResult<Self> {
        match value {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => {
                let message = format!("unrecognized includeObject value: {other:?}");
                Err(ApiError::bad_request(message))
            }
        }
    }
}

/// Makes Tables of one kind.
#[derive(Debug)]
pub struct TableWriter<'a> {
    pub kind: &'a Kind,
    pub include: IncludeObject,
    /// What ages are counted to.
    pub now: Timestamp,
}

impl TableWriter<'_> {
    /// A Table of these objects under the given list metadata. Without `columns` the header is left out, as
    /// in all watch events but the first.
    pub fn table<'b>(
        &self,
        objects: impl IntoIterator<Item = &'b Bytes>,
        metadata: Value,
        columns: bool,
    ) -> ApiResult<Value> {
        let rows = objects.into_iter().map(|bytes| self.row(bytes)).collect::<ApiResult<Vec<_>>>()?;
        Ok(json!({
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": if columns { self.columns() } else { Value::Null },
            "rows": rows,
        }))
    }

    fn columns(&self) -> Value {
        let columns = self.kind.columns.iter().map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": describe(&column.description),
                "priority": column.priority,
            })
        });
        columns.collect()
    }

    fn row(&self, bytes: &Bytes) -> ApiResult<Value> {
        let object: Value = serde_json::from_slice(bytes).map_err(ApiError::internal)?;
        let mut row = json!({ "cells": (self.kind.cells)(&object, self.now) });
        let carried = match self.include {
            IncludeObject::None => return Ok(row),
            IncludeObject::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata"),
            }),
            IncludeObject::Object => object,
        };
        row["object"] = carried;
        Ok(row)
    }
}

/// The text of a column's description.
fn describe(description: &Description) -> &str {
    match description {
        Description::Text(text) => text,
        Description::Field(definition, field) => {
            FIELDS.get(&(*definition, *field)).map_or("", String::as_str)
        }
    }
}

/// The descriptions that columns of built-in kinds take from the schema, read once when a table is first asked for.
static FIELDS: LazyLock<HashMap<(&str, &str), String>> = LazyLock::new(|| {
    let descriptions = Descriptions::inflate();
    let columns = kinds::builtin().iter().flat_map(|kind| &kind.columns);
    let fields = columns.filter_map(|column| match column.description {
        Description::Field(definition, field) => Some((definition, field)),
        Description::Text(_) => None,
    });
    fields
        .map(|(definition, field)| ((definition, field), descriptions.of_field(definition, field)))
        .collect()
});

/// The object's PartialObjectMetadata.
pub fn metadata_only(object: &[u8]) -> ApiResult<Vec<u8>> {
    #[derive(Deserialize)]
    struct Carrier<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let carrier: Carrier<'_> = serde_json::from_slice(object).map_err(ApiError::internal)?;
    let metadata = carrier.metadata.get();
    let mut out = Vec::with_capacity(METADATA_HEAD.len() + metadata.len() + 1);
    out.extend_from_slice(METADATA_HEAD);
    out.extend_from_slice(metadata.as_bytes());
    out.push(b'}');
    Ok(out)
}

const METADATA_HEAD: &[u8] = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_cut_out_of_the_bytes() {
        let cut = metadata_only(br#"{"kind":"Pod","metadata":{"name":"a"},"spec":{"x":[1]}}"#).unwrap();
        let value: Value = serde_json::from_slice(&cut).unwrap();
        assert_eq!(value["metadata"], json!({"name": "a"}));
        assert_eq!(value["kind"], "PartialObjectMetadata");
        assert!(value.get("spec").is_none());
    }
}
