//! Strategic merge patch: like a merge patch, but lists merge by the keys the schema names, and directives say more.
//!
//! | directive | where | what |
//! |---|---|---|
//! | `$patch: replace` | in a map | the rest of the patch replaces the map |
//! | `$patch: delete` | in a map | the map becomes empty; in a list item: the item with that key goes |
//! | `$patch: replace` | a list item | the other items replace the list |
//! | `$deleteFromPrimitiveList/FIELD` | beside a list of scalars | these values go |
//! | `$setElementOrder/FIELD` | beside a list | the order of the items it names; the others keep theirs |
//! | `$retainKeys` | in a map | fields it does not name go |
//!
//! Source: community `sig-api-machinery/strategic-merge-patch.md`.

use serde_json::{Map, Value};

use super::shown::go_text;
use crate::schema::{Definition, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Why a patch cannot be applied; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective { directive: String, map: String },

    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey { map: String, key: String },

    #[error("cannot merge lists without merge key for struct")]
    NoKeyDeclared,

    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,

    #[error("invalid patch format of retainKeys")]
    RetainKeys,

    #[error("invalid patch format of setElementOrder list")]
    SetOrder,

    #[error("The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{order}\n")]
    OrderMismatch { patch: String, order: String },

    #[error("lists of lists are not supported")]
    ListOfLists,

    #[error("list element types are not identical: {0}")]
    MixedList(String),
}

/// The object after the patch.
pub fn strategic(
    definition: &Definition,
    old: &Value,
    patch: &Map<String, Value>,
) -> Result<Value, StrategicError> {
    let original = old.as_object().cloned().unwrap_or_default();
    merge_map(original, patch.clone(), Shape::Struct(definition)).map(Value::Object)
}

/// What is known of the place that is being merged.
#[derive(Clone, Copy)]
enum Shape<'d> {
    Struct(&'d Definition),
    /// A map with such values.
    Map(&'d Type),
    Unknown,
}

/// How a field is merged.
struct Rule<'d> {
    /// Of the value, or of the items of the list.
    inner: Shape<'d>,
    merges: bool,
    replaces: bool,
    key: Option<&'d str>,
}

impl<'d> Shape<'d> {
    fn of(ty: &'d Type) -> Self {
        match ty {
            Type::Object(definition) => Self::Struct(definition),
            Type::Map(values) => Self::Map(values),
            Type::List(items) => Self::of(items),
            _ => Self::Unknown,
        }
    }

    fn rule(self, field: &str) -> Rule<'d> {
        let none = |inner| Rule { inner, merges: false, replaces: false, key: None };
        match self {
            Self::Unknown => none(Self::Unknown),
            Self::Map(values) => none(Self::of(values)),
            Self::Struct(definition) => match definition.field(field) {
                None => none(Self::Unknown),
                Some(field) => Rule {
                    inner: Self::of(&field.ty),
                    merges: field.patch.as_ref().is_some_and(|patch| patch.merges()),
                    replaces: field.patch.as_ref().is_some_and(|patch| patch.replaces()),
                    key: field.patch.as_ref().and_then(|patch| patch.key.as_deref()),
                },
            },
        }
    }
}

type Object = Map<String, Value>;

fn merge_map(mut original: Object, mut patch: Object, shape: Shape<'_>) -> Result<Object, StrategicError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, shape)?;
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(list)), Value::Array(gone)) = (original.get_mut(field), value) {
                list.retain(|item| !gone.contains(item));
            }
            continue;
        }
        merge_field(&mut original, key, value, shape)?;
    }
    Ok(original)
}

fn merge_field(
    original: &mut Object,
    key: String,
    value: Value,
    shape: Shape<'_>,
) -> Result<(), StrategicError> {
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let rule = shape.rule(&key);
    let merged = match (original.remove(&key), value) {
        (Some(Value::Object(_)), Value::Object(patch)) if rule.replaces => Some(Value::Object(patch)),
        (Some(Value::Object(old)), Value::Object(patch)) => {
            Some(Value::Object(merge_map(old, patch, rule.inner)?))
        }
        (Some(Value::Array(old)), Value::Array(patch)) if rule.merges => {
            Some(Value::Array(merge_list(old, patch, &rule)?))
        }
        (Some(Value::Array(_)), Value::Array(patch)) => Some(Value::Array(patch)),
        // Nothing there, or something else: the patch is taken, less what is said to the merge.
        (_, patch) => without_directives(without_nulls(patch)),
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

/// `$retainKeys` names every field that may stay; the patch may only set those.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), StrategicError> {
    let Some(names) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(names) = names else { return Err(StrategicError::RetainKeys) };
    let named = |key: &str| names.iter().any(|name| name.as_str() == Some(key));
    let parallel = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !parallel(key) && !named(key)) {
        return Err(StrategicError::RetainKeys);
    }
    original.retain(|key, _| named(key));
    Ok(())
}

/// Merges each list that comes with a `$setElementOrder`, and puts its items in that order.
fn merge_ordered_lists(
    original: &mut Object,
    patch: &mut Object,
    shape: Shape<'_>,
) -> Result<(), StrategicError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(StrategicError::SetOrder);
        };
        let field = &directive[SET_ORDER.len()..];
        let rule = shape.rule(field);
        let old = list_of(original.get(field))?;
        let new = list_of(patch.get(field))?;
        patch.remove(field);
        if let Some(new) = &new {
            check_order(new, &order, rule.key)?;
        }
        let merged = match (&old, new) {
            (None, None) => continue,
            (Some(old), None) => old.clone(),
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(new)) => new,
                _ => continue,
            },
            (Some(old), Some(new)) if rule.merges => merge_list(old.clone(), new, &rule)?,
            (Some(_), Some(new)) => new,
        };
        let (named, others) = split(merged, &order, rule.key)?;
        let server = old.unwrap_or_default();
        original.insert(field.to_owned(), Value::Array(in_order(named, others, &order, &server, rule.key)));
    }
    Ok(())
}

fn list_of(value: Option<&Value>) -> Result<Option<Vec<Value>>, StrategicError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list.clone())),
        Some(_) => Err(StrategicError::SetOrder),
    }
}

/// The items of the patch must stand in the order that `$setElementOrder` gives them.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), StrategicError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if !wanted.any(|other| same(item, other, key)) {
            let show = |list: &[Value]| go_text(&Value::Array(list.to_vec()));
            return Err(StrategicError::OrderMismatch { patch: show(patch), order: show(order) });
        }
    }
    Ok(())
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    rule: &Rule<'_>,
) -> Result<Vec<Value>, StrategicError> {
    let all = || original.iter().chain(&patch);
    if all().any(Value::is_array) {
        return Err(StrategicError::ListOfLists);
    }
    let objects = all().filter(|item| item.is_object()).count();
    if objects == 0 {
        return Ok(merge_scalars(&original, &patch));
    }
    if objects != original.len() + patch.len() {
        return Err(StrategicError::MixedList(go_text(&Value::Array(all().cloned().collect()))));
    }
    let key = rule.key.ok_or(StrategicError::NoKeyDeclared)?;
    let (server, patch) = apply_item_directives(original, patch, key)?;
    let mut merged = server.clone();
    for item in &patch {
        let value = item.get(key).ok_or_else(|| no_merge_key(item, key))?;
        match merged.iter_mut().find(|old| old.get(key) == Some(value)) {
            Some(old) => {
                if let (Value::Object(before), Value::Object(change)) = (old.take(), item.clone()) {
                    *old = Value::Object(merge_map(before, change, rule.inner)?);
                }
            }
            None => merged.push(item.clone()),
        }
    }
    let (named, others) = split(merged, &patch, Some(key))?;
    Ok(in_order(named, others, &patch, &server, Some(key)))
}

/// Scalars are a set: what is new is added, in the order of the patch.
fn merge_scalars(original: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for item in original.iter().chain(patch) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    let (named, others) = merged.into_iter().partition(|item| patch.contains(item));
    in_order(named, others, patch, original, None)
}

/// Does what `$patch` items say; returns the list they leave and the ordinary items.
fn apply_item_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    let mut ordinary = Vec::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            ordinary.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                original.retain(|old| old.get(key) != Some(value));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(StrategicError::MergeDirective),
            _ => {
                let empty = Object::new();
                return Err(unknown_directive(directive, item.as_object().unwrap_or(&empty)));
            }
        }
    }
    Ok(if replace { (ordinary, Vec::new()) } else { (original, ordinary) })
}

/// Parts a list into the items that `names` has and the others.
fn split(
    list: Vec<Value>,
    names: &[Value],
    key: Option<&str>,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    if let Some(key) = key
        && let Some(item) = list.iter().find(|item| item.get(key).is_none())
    {
        return Err(no_merge_key(item, key));
    }
    Ok(list.into_iter().partition(|item| names.iter().any(|name| same(item, name, key))))
}

/// Interleaves the named items, in their order, with the others, in the server's: a named item comes first
/// unless the server had the other one before it.
fn in_order(
    mut named: Vec<Value>,
    mut others: Vec<Value>,
    order: &[Value],
    server: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(item, other, key));
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(server, item));
    let mut merged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(left), Some(right)) = (others.peek(), named.peek()) {
        let before = match (place(server, left), place(server, right)) {
            (Some(left), Some(right)) => left < right,
            _ => false,
        };
        merged.extend(if before { others.next() } else { named.next() });
    }
    merged.extend(others);
    merged.extend(named);
    merged
}

/// Whether two items are one: by the key if the list has one.
fn same(left: &Value, right: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        None => left == right,
    }
}

/// What a directive-free document keeps of the value; `None` for a map that is a directive itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn unknown_directive(directive: &Value, map: &Object) -> StrategicError {
    StrategicError::UnknownDirective {
        directive: go_text(directive),
        map: go_text(&Value::Object(map.clone())),
    }
}

fn no_merge_key(item: &Value, key: &str) -> StrategicError {
    StrategicError::NoMergeKey { map: go_text(item), key: key.to_owned() }
}
