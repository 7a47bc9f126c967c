//! Reads k8s-openapi: what a definition looks like in JSON.
//!
//! Every file of that crate holds one definition and ends with its JSON schema as a literal, one property a
//! block with fixed indentation. That literal is read as text: it carries the JSON names, the types, the
//! required fields and the descriptions as upstream wrote them (the Rust fields carry renamed, escaped ones).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::locate::rust_files;
use crate::wire_side::plain;

/// The API level the project serves.
const LEVEL: &str = "v1_36";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Bool,
    Int32,
    Int64,
    Float64,
    String,
    Bytes,
    /// Another definition, by name.
    Named(String),
    List(Box<Type>),
    Map(Box<Type>),
    /// A list that is wrapped in a message of its own on the wire (field 1 repeats the items).
    Wrapped(Box<Type>),
}

#[derive(Debug)]
pub(crate) struct Property {
    pub json: String,
    pub ty: Type,
    pub required: bool,
    pub description: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

#[derive(Debug)]
pub(crate) struct Definition {
    pub name: String,
    pub description: String,
    pub properties: Vec<Property>,
    pub kind: Option<Kind>,
    pub list_kind: Option<String>,
}

impl Definition {
    /// Whether it has a property of that name, however it is spelled.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.properties.iter().any(|property| plain(&property.json) == plain(name))
    }
}

/// Alpha versions that are served all the same.
const SERVED_ALPHA: &[&str] = &["io.k8s.api.scheduling.v1alpha2."];

/// All definitions of served versions, by name.
pub(crate) fn read(source: &Path) -> Result<BTreeMap<String, Definition>> {
    let mut definitions = BTreeMap::new();
    for path in rust_files(&source.join(LEVEL))? {
        let text = std::fs::read_to_string(&path)?;
        let Some(name) = text.strip_prefix("// Generated from definition ") else { continue };
        let name = name.lines().next().unwrap_or_default();
        if !served(name) {
            continue;
        }
        let definition = definition(name, &text).with_context(|| format!("in {}", path.display()))?;
        definitions.insert(name.to_owned(), definition);
    }
    Ok(definitions)
}

/// Alpha and beta versions are off by default upstream, and with one exception not served here. `List` and
/// `version.Info` are no kinds.
fn served(name: &str) -> bool {
    if ["io.k8s.List", "io.k8s.apimachinery.pkg.version.Info"].contains(&name) {
        return false;
    }
    if SERVED_ALPHA.iter().any(|package| name.starts_with(package)) {
        return true;
    }
    !name.split('.').any(|part| part.starts_with('v') && (part.contains("alpha") || part.contains("beta")))
}

fn definition(name: &str, text: &str) -> Result<Definition> {
    let constant = |name: &str| {
        let after = text.split_once(&format!("const {name}: &'static str = \""))?.1;
        Some(after.split_once('"')?.0.to_owned())
    };
    let kind = match (constant("GROUP"), constant("VERSION"), constant("KIND")) {
        (Some(group), Some(version), Some(kind)) => Some(Kind { group, version, kind }),
        _ => None,
    };
    let schema = text.split_once("json_schema!({").map_or("", |(_, schema)| schema);
    let (head, body) = schema.split_once("            \"properties\": {\n").unwrap_or((schema, ""));
    let (body, tail) = body.split_once("\n            },\n").unwrap_or((body, ""));
    let required =
        tail.split_once("\"required\": [").map_or("", |(_, list)| list.split(']').next().unwrap_or(""));
    let mut properties = Vec::new();
    for (json, block) in blocks(body) {
        let required = required.contains(&format!("\"{json}\""));
        // k8s-openapi makes `metadata` of every object required; upstream does so nowhere.
        let required = required && !(json == "metadata" && block.contains("Meta>()"));
        let ty = ty(block).with_context(|| format!("property {json}"))?;
        properties.push(Property { json: json.to_owned(), ty, required, description: description(block) });
    }
    let list_kind = constant("LIST_KIND");
    Ok(Definition { name: name.to_owned(), description: description(head), properties, kind, list_kind })
}

/// Cuts the properties apart: each begins with its name at the indentation of the list.
fn blocks(body: &str) -> Vec<(&str, &str)> {
    const INDENT: &str = "                \"";
    let mut starts: Vec<usize> = body.match_indices(&format!("\n{INDENT}")).map(|(at, _)| at + 1).collect();
    if body.starts_with(INDENT) {
        starts.insert(0, 0);
    }
    let ends: Vec<usize> = starts.iter().copied().skip(1).chain([body.len()]).collect();
    let cut = |(start, end): (usize, usize)| body[start + INDENT.len()..end].split_once("\": ");
    starts.into_iter().zip(ends).filter_map(cut).collect()
}

fn ty(block: &str) -> Result<Type> {
    // The outer of two nested types stands first.
    let items = block.find("\"items\": ").filter(|at| block[..*at].contains("\"type\": \"array\""));
    let values =
        block.find("\"additionalProperties\": ").filter(|at| block[..*at].contains("\"type\": \"object\""));
    match (items, values) {
        (Some(at), None) => return Ok(Type::List(Box::new(ty(&block[at + "\"items\": ".len()..])?))),
        (_, Some(at)) => {
            return Ok(Type::Map(Box::new(ty(&block[at + "\"additionalProperties\": ".len()..])?)));
        }
        (None, None) => {}
    }
    if let Some((_, path)) = block.split_once("subschema_for::<") {
        let path = path.split('>').next().unwrap_or_default();
        return Ok(Type::Named(definition_name(path)));
    }
    let word = |key: &str| {
        let after = block.split_once(&format!("\"{key}\": \""))?.1;
        after.split('"').next()
    };
    Ok(match (word("type"), word("format")) {
        (Some("boolean"), _) => Type::Bool,
        (Some("integer"), Some("int32")) => Type::Int32,
        (Some("integer"), _) => Type::Int64,
        (Some("number"), _) => Type::Float64,
        (Some("string"), Some("byte")) => Type::Bytes,
        (Some("string"), _) => Type::String,
        other => bail!("cannot tell the type of {other:?}"),
    })
}

/// `crate::api::core::v1::Pod` is `io.k8s.api.core.v1.Pod`.
fn definition_name(path: &str) -> String {
    let dotted = path.trim_start_matches("crate::").replace("::", ".");
    let dotted = dotted.replace("apiextensions_apiserver.", "apiextensions-apiserver.");
    format!("io.k8s.{}", dotted.replace("kube_aggregator.", "kube-aggregator."))
}

fn description(block: &str) -> String {
    let literal =
        match (block.split_once("\"description\".into(), \""), block.split_once("\"description\": \"")) {
            (Some((_, rest)), _) | (None, Some((_, rest))) => rest,
            (None, None) => return String::new(),
        };
    let mut text = String::new();
    let mut characters = literal.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.push(match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('u') => unicode(&mut characters),
                Some(other) => other,
                None => break,
            }),
            other => text.push(other),
        }
    }
    text
}

/// The rest of `\u{2019}`.
fn unicode(characters: &mut std::str::Chars<'_>) -> char {
    let digits: String = characters.by_ref().skip(1).take_while(|character| *character != '}').collect();
    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}
