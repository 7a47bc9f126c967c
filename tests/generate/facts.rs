//! What the markers and types of one field say: list type, patch strategy, default, presence.

use crate::join::Presence;
use crate::json_side::{self, Property, Type};
use crate::supplement::Fact;
use crate::wire_side::{Field, Message, plain};

/// `atomic`, `set` or `map:KEY,KEY`.
pub(crate) fn list(field: &Field) -> Option<String> {
    let ty = field.marker("listType").chain(field.marker("k8s:listType")).next()?;
    let mut keys: Vec<&str> = field.marker("listMapKey").collect();
    if keys.is_empty() {
        keys = field.marker("k8s:listMapKey").collect();
    }
    Some(if keys.is_empty() || ty != "map" { ty.to_owned() } else { format!("{ty}:{}", keys.join(",")) })
}

/// `granular` or `atomic`, said of a map or of the struct that the field holds.
pub(crate) fn map(field: &Field) -> Option<String> {
    field.marker("mapType").chain(field.marker("structType")).next().map(str::to_owned)
}

/// `STRATEGY:KEY`; either may be empty.
pub(crate) fn patch(field: &Field) -> Option<String> {
    let strategy = field.marker("patchStrategy").next();
    let key = field.marker("patchMergeKey").next();
    (strategy.is_some() || key.is_some())
        .then(|| format!("{}:{}", strategy.unwrap_or_default(), key.unwrap_or_default()))
}

/// The JSON text of a stated default. `ref(...)` names a Go constant, whose text is its last words.
pub(crate) fn default(field: &Field) -> Option<String> {
    let text = field.marker("default").chain(field.marker("k8s:default")).next()?;
    match text.strip_prefix("ref(").and_then(|text| text.strip_suffix(')')) {
        Some(constant) => constant_text(constant).map(|text| format!("{text:?}")),
        None => Some(text.to_owned()),
    }
}

/// The constants that defaults refer to.
fn constant_text(constant: &str) -> Option<&'static str> {
    match constant {
        "AzureDataDiskCachingReadWrite" => Some("ReadWrite"),
        "AzureSharedBlobDisk" => Some("Shared"),
        "PersistentVolumeFilesystem" => Some("Filesystem"),
        _ => None,
    }
}

/// What the OpenAPI documents state as default for values that Go always writes.
pub(crate) fn zero(ty: &Type, presence: Presence) -> Option<String> {
    if presence != Presence::Written {
        return None;
    }
    let text = match ty {
        Type::Bool => "false",
        Type::Int32 | Type::Int64 | Type::Float64 => "0",
        Type::String => "\"\"",
        Type::Named(name) if !is_scalar(name) => "{}",
        _ => return None,
    };
    Some(text.to_owned())
}

fn is_scalar(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    ["Time", "MicroTime", "Quantity", "IntOrString", "RawExtension", "FieldsV1", "JSON"].contains(&last)
}

/// What Go's encoder does with an empty field: by rule, and by the supplement where the rule does not hold.
pub(crate) fn presence(
    definition: &json_side::Definition,
    property: &Property,
    required: bool,
    extra: &Fact,
) -> Presence {
    if let Some(stated) = stated_presence(extra) {
        return stated;
    }
    let outer = matches!(property.json.as_str(), "metadata" | "spec" | "status") && definition.kind.is_some();
    match &property.ty {
        _ if required => Presence::Written,
        Type::Named(name) if name.ends_with(".ObjectMeta") || name.ends_with(".ListMeta") => {
            Presence::Written
        }
        Type::Named(name) if outer && !is_scalar(name) => Presence::Written,
        Type::Named(_) => Presence::Kept,
        _ => Presence::Dropped,
    }
}

/// What the supplement says.
pub(crate) fn stated_presence(extra: &Fact) -> Option<Presence> {
    match extra.presence.as_deref()? {
        "kept" => Some(Presence::Kept),
        "written" => Some(Presence::Written),
        "nullable" => Some(Presence::Nullable),
        _ => Some(Presence::Dropped),
    }
}

/// A list that k8s-pb holds in one message is wrapped on the wire.
pub(crate) fn wrapped(ty: &Type, field: Option<&Field>) -> Type {
    let Some(field) = field else { return ty.clone() };
    match ty {
        Type::List(_) if field.is_single_message() => Type::Wrapped(Box::new(ty.clone())),
        Type::Map(value) if field.map() && field.is_message() && matches!(**value, Type::List(_)) => {
            Type::Map(Box::new(Type::Wrapped(value.clone())))
        }
        _ => ty.clone(),
    }
}

/// The type of a field that only the wire side knows.
pub(crate) fn wire_type(field: &Field) -> Type {
    let inner = match &field.message {
        Some(name) => Type::Named(name.clone()),
        None if field.attribute.contains("bool") => Type::Bool,
        None if field.attribute.contains("int32") => Type::Int32,
        None if field.attribute.contains("int64") => Type::Int64,
        None if field.attribute.contains("bytes") => Type::Bytes,
        None => Type::String,
    };
    if field.repeated() { Type::List(Box::new(inner)) } else { inner }
}

/// The JSON name of the field that says which member of a union is set; empty if no field does.
pub(crate) fn discriminator(message: &Message, properties: &[Property]) -> String {
    let is_discriminator = |field: &&Field| field.markers.iter().any(|marker| marker == "unionDiscriminator");
    let Some(field) = message.fields.iter().find(is_discriminator) else { return String::new() };
    let property = properties.iter().find(|property| plain(&property.json) == plain(&field.name));
    property.map(|property| property.json.clone()).unwrap_or_default()
}

/// `dry_run` is `dryRun` in JSON.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::new();
    for (at, word) in name.trim_start_matches("r#").split('_').enumerate() {
        let mut letters = word.chars();
        match (at, letters.next()) {
            (0, _) | (_, None) => out.push_str(word),
            (_, Some(first)) => out.extend(first.to_uppercase().chain(letters)),
        }
    }
    out
}
