//! Reads k8s-pb: what a definition looks like in protobuf, and the `+markers` of its doc comments.
//!
//! That crate is prost's output, so a message is a struct whose fields each stand under their comment and one
//! `#[prost(...)]` attribute. It is one release behind (v1.35); `supplement.txt` has the fields added since.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::locate::rust_files;

#[derive(Debug)]
pub(crate) struct Message {
    pub name: String,
    pub description: String,
    pub markers: Vec<String>,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// As prost spells it: `host_ipc`.
    pub name: String,
    pub number: u32,
    /// The words of the attribute: `message, optional`, `btree_map = "string, bytes"`.
    pub attribute: String,
    /// The definition a message field holds.
    pub message: Option<String>,
    pub markers: Vec<String>,
    pub description: String,
}

impl Field {
    pub(crate) fn repeated(&self) -> bool {
        self.attribute.contains("repeated")
    }

    pub(crate) fn map(&self) -> bool {
        self.attribute.contains("map = ")
    }

    pub(crate) fn is_message(&self) -> bool {
        self.attribute.contains("message")
    }

    pub(crate) fn is_optional(&self) -> bool {
        self.markers.iter().any(|marker| marker == "optional" || marker == "k8s:optional")
    }

    /// One message, neither repeated nor a map.
    pub(crate) fn is_single_message(&self) -> bool {
        self.is_message() && !self.repeated() && !self.map()
    }

    /// The value of `+name=value`, for every time it stands there.
    pub(crate) fn marker<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.markers, name)
    }
}

impl Message {
    /// The field whose name is that of a JSON field.
    pub(crate) fn field(&self, json: &str) -> Option<&Field> {
        self.fields.iter().find(|field| plain(&field.name) == plain(json))
    }

    pub(crate) fn marker<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.markers, name)
    }
}

fn values<'a>(markers: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    markers.iter().filter_map(move |marker| marker.strip_prefix(name)?.strip_prefix('='))
}

/// `hostIPC`, `host_ipc` and `HostIPC` are one name.
pub(crate) fn plain(name: &str) -> String {
    name.trim_start_matches("r#")
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}

/// All messages by plain definition name.
pub(crate) fn read(source: &Path) -> Result<BTreeMap<String, Message>> {
    let mut messages = BTreeMap::new();
    for path in rust_files(source)? {
        let folder = path.strip_prefix(source).ok().and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        let module: Vec<String> =
            folder.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        for message in messages_of(&std::fs::read_to_string(&path)?, &module) {
            messages.insert(plain_definition(&message.name), message);
        }
    }
    Ok(messages)
}

/// The key of [`read`]: prost respells definition names too (`JsonSchemaProps`).
pub(crate) fn plain_definition(name: &str) -> String {
    name.split('.').map(plain).collect::<Vec<_>>().join(".")
}

fn messages_of(text: &str, module: &[String]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut open = false;
    let mut comment: Vec<&str> = Vec::new();
    let mut attribute = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(doc) = trimmed.strip_prefix("///") {
            comment.push(doc.strip_prefix(' ').unwrap_or(doc));
        } else if let Some(name) = trimmed.strip_prefix("pub struct ") {
            let name =
                format!("{}.{}", definition_prefix(module), name.split([' ', '{']).next().unwrap_or(""));
            let (description, markers) = split(&std::mem::take(&mut comment));
            messages.push(Message { name, description, markers, fields: Vec::new() });
            open = !trimmed.ends_with("{}");
        } else if trimmed.starts_with("#[prost(") {
            attribute = trimmed.to_owned();
        } else if let (true, Some(field)) = (open, trimmed.strip_prefix("pub ")) {
            let mut declaration = field.to_owned();
            while !declaration.ends_with(',') {
                declaration.push_str(lines.next().unwrap_or(",").trim());
            }
            let (name, ty) = declaration.split_once(':').unwrap_or((&declaration, ""));
            let (description, markers) = split(&std::mem::take(&mut comment));
            let message = attribute.contains("message").then(|| resolve(ty, module));
            let number = number(&attribute);
            let attribute = std::mem::take(&mut attribute);
            if let Some(last) = messages.last_mut() {
                last.fields.push(Field {
                    name: name.into(),
                    number,
                    attribute,
                    message,
                    markers,
                    description,
                });
            }
        } else if trimmed == "}" {
            open = false;
        } else if !trimmed.starts_with("#[") {
            comment.clear();
        }
    }
    messages
}

fn definition_prefix(module: &[String]) -> String {
    format!("io.k8s.{}", module.join("."))
        .replace("apiextensions_apiserver", "apiextensions-apiserver")
        .replace("kube_aggregator", "kube-aggregator")
}

fn number(attribute: &str) -> u32 {
    let tag = attribute.split_once("tag = \"").and_then(|(_, rest)| rest.split('"').next());
    tag.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The definition named by a field type such as `Option<super::super::core::v1::PodTemplateSpec>`.
fn resolve(ty: &str, module: &[String]) -> String {
    let inner = ty.trim().trim_end_matches([',', '>']);
    let inner = inner.rsplit(['<', ',']).next().unwrap_or(inner).trim();
    let parts: Vec<&str> = inner.split("::").collect();
    let up = parts.iter().take_while(|part| **part == "super").count();
    let base = &module[..module.len().saturating_sub(up)];
    let full: Vec<String> = base.iter().cloned().chain(parts[up..].iter().map(ToString::to_string)).collect();
    let (name, module) = full.split_last().map_or(("", &[][..]), |(name, module)| (name.as_str(), module));
    format!("{}.{name}", definition_prefix(module))
}

/// Parts a comment into prose (paragraphs joined as in the OpenAPI documents) and markers.
fn split(comment: &[&str]) -> (String, Vec<String>) {
    let is_marker = |line: &&&str| line.trim_start().starts_with('+');
    let markers = comment.iter().filter(is_marker).map(|line| line.trim()[1..].to_owned()).collect();
    let mut prose = String::new();
    for line in comment.iter().filter(|line| !is_marker(line)) {
        let line = line.trim();
        match () {
            () if line.is_empty() && !prose.is_empty() => prose.push_str("\n\n"),
            () if prose.is_empty() || prose.ends_with('\n') => prose.push_str(line),
            () => {
                prose.push(' ');
                prose.push_str(line);
            }
        }
    }
    (prose.trim_end().replace(['<', '>'], ""), markers)
}
