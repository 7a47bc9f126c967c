//! Objects out of a file as kubectl writes it: JSON or YAML, one document or several, lists opened.

use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why a file does not give objects. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is neither JSON nor YAML.
    #[error("{} is neither JSON nor YAML", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_yaml_ng::Error,
    },
    /// It is, but a document in it is no Kubernetes object.
    #[error("document {number} of {} is no Kubernetes object: it has no {field}", path.display())]
    NoObject {
        /// The file.
        path: PathBuf,
        /// Which document, from 1.
        number: usize,
        /// The field that every object has.
        field: &'static str,
    },
    /// There is nothing in it.
    #[error("{} has no objects in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The objects in a file; `-` is standard input.
///
/// # Errors
///
/// When it cannot be read, or something in it is no object.
pub fn documents(path: &Path) -> Result<Vec<Value>, DumpError> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|source| DumpError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Value>, DumpError> {
    let mut objects = Vec::new();
    for (number, document) in (1..).zip(values(text, path)?) {
        if !document.is_null() {
            open(document, &mut objects).map_err(|field| DumpError::NoObject {
                path: path.to_owned(),
                number,
                field,
            })?;
        }
    }
    if objects.is_empty() {
        return Err(DumpError::Empty { path: path.to_owned() });
    }
    Ok(objects)
}

/// JSON is tried first: it is what large dumps are, and ten times as quick.
fn values(text: &str, path: &Path) -> Result<Vec<Value>, DumpError> {
    if text.trim_start().starts_with('{')
        && let Ok(values) = serde_json::Deserializer::from_str(text).into_iter().collect()
    {
        return Ok(values);
    }
    serde_yaml_ng::Deserializer::from_str(text)
        .map(Value::deserialize)
        .collect::<Result<_, _>>()
        .map_err(|source| DumpError::Syntax { path: path.to_owned(), source })
}

/// Puts an object, or those of a list, into `objects`. Fails with the field that is missing.
fn open(mut document: Value, objects: &mut Vec<Value>) -> Result<(), &'static str> {
    let kind = document["kind"].as_str().ok_or("kind")?.to_owned();
    let version = document["apiVersion"].as_str().ok_or("apiVersion")?.to_owned();
    if let Some(items) = kind.strip_suffix("List").and_then(|_| document.get_mut("items")) {
        let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
        let Value::Array(items) = items.take() else { return Err("items") };
        for mut item in items {
            // A typed list (`PodList`) leaves the kind out of its items.
            if let (Some(of), true) = (of, item["kind"].is_null() && item.is_object()) {
                item["kind"] = of.into();
                item["apiVersion"] = version.clone().into();
            }
            open(item, objects)?;
        }
        return Ok(());
    }
    if document["metadata"]["name"].as_str().is_none() && document["metadata"]["generateName"].is_null() {
        return Err("metadata.name");
    }
    objects.push(document);
    Ok(())
}
