//! Messages to values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Map, Number, Value};

use super::super::definition::{Definition, Field, Type};
use super::wire::{Raw, Reader, WireError};
use super::{MAGIC, decode};

/// Deeper than any object of the API; a CRD's schema is the deepest.
const MAX_DEPTH: usize = 100;

/// Reads one message. What it lacks is not added yet, and zero values are still there.
pub(super) fn message(definition: &Definition, bytes: &[u8]) -> Result<Map<String, Value>, WireError> {
    let mut object = Map::new();
    read_into(definition, bytes, &mut object, 0)?;
    Ok(object)
}

fn read_into(
    definition: &Definition,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        if let Some(field) = definition.fields.iter().find(|field| field.number == number) {
            add(field, raw, object, depth)?;
        } else if let Some(embedded) = definition.embedded.iter().find(|embedded| embedded.number == number) {
            read_into(&embedded.definition, raw.bytes()?, object, depth + 1)?;
        }
    }
    Ok(())
}

fn add(field: &Field, raw: Raw<'_>, object: &mut Map<String, Value>, depth: usize) -> Result<(), WireError> {
    let key = field.json.as_ref();
    match &field.ty {
        Type::List(items) => {
            let list = object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            match (&**items, raw) {
                // Numbers may come packed.
                (Type::Bool | Type::Int32 | Type::Int64, Raw::Bytes(packed)) => {
                    let mut reader = Reader::new(packed);
                    while let Some(number) = reader.next_varint()? {
                        list.push(value(items, Raw::Varint(number), depth)?);
                    }
                }
                _ => list.push(value(items, raw, depth)?),
            }
        }
        Type::Map(values) => {
            let map = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(map) = map else { return Ok(()) };
            let (key, value) = entry(values, raw.bytes()?, depth)?;
            map.insert(key, value);
        }
        ty => {
            let value = value(ty, raw, depth)?;
            object.insert(key.to_owned(), value);
        }
    }
    Ok(())
}

/// A map is a list of messages with key and value.
fn entry(values: &Type, bytes: &[u8], depth: usize) -> Result<(String, Value), WireError> {
    let mut key = String::new();
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        match number {
            1 => raw.text()?.clone_into(&mut key),
            2 => found = Some(value(values, raw, depth)?),
            _ => {}
        }
    }
    let value = match found {
        Some(value) => value,
        None => value(values, Raw::Bytes(&[]), depth).unwrap_or(Value::Null),
    };
    Ok((key, value))
}

fn value(ty: &Type, raw: Raw<'_>, depth: usize) -> Result<Value, WireError> {
    Ok(match ty {
        Type::Bool => Value::Bool(raw.varint()? != 0),
        Type::Int32 => Value::from(raw.int()? as i32),
        Type::Int64 => Value::from(raw.int()?),
        Type::Float64 => Number::from_f64(raw.float()?).map_or(Value::Null, Value::Number),
        Type::String => raw.text()?.into(),
        Type::Bytes => STANDARD.encode(raw.bytes()?).into(),
        Type::Quantity => single(raw, 1)?.map_or(Ok("0"), Raw::text)?.into(),
        Type::IntOrString => int_or_string(raw.bytes()?)?,
        Type::Time => time(raw.bytes()?, "%Y-%m-%dT%H:%M:%SZ")?,
        Type::MicroTime => time(raw.bytes()?, "%Y-%m-%dT%H:%M:%S%.6fZ")?,
        Type::RawObject(_) | Type::RawValue => single(raw, 1)?.map_or(Ok(Value::Null), raw_value)?,
        Type::Object(definition) => object(definition, raw, depth)?,
        Type::Wrapped(list) => wrapped(list, raw.bytes()?, depth)?,
        Type::OrBool(definition) => match (single(raw, 2)?, single(raw, 1)?) {
            (Some(schema), _) => object(definition, schema, depth)?,
            (None, allows) => Value::Bool(allows.map_or(Ok(0), Raw::varint)? != 0),
        },
        Type::OrList(definition) => match single(raw, 1)? {
            Some(schema) => object(definition, schema, depth)?,
            None => repeated(raw, |item| object(definition, item, depth))?,
        },
        Type::OrStrings(definition) => match single(raw, 1)? {
            Some(schema) => object(definition, schema, depth)?,
            None => repeated(raw, |item| item.text().map(Value::from))?,
        },
        // A list or map inside another is always wrapped.
        Type::List(_) | Type::Map(_) => return Err(WireError::Mismatch),
    })
}

fn object(definition: &Definition, raw: Raw<'_>, depth: usize) -> Result<Value, WireError> {
    let mut object = Map::new();
    read_into(definition, raw.bytes()?, &mut object, depth + 1)?;
    Ok(Value::Object(object))
}

/// Field `wanted` of a message that holds little else.
fn single(raw: Raw<'_>, wanted: u32) -> Result<Option<Raw<'_>>, WireError> {
    let mut found = None;
    let mut reader = Reader::new(raw.bytes()?);
    while let Some((number, raw)) = reader.next()? {
        if number == wanted {
            found = Some(raw);
        }
    }
    Ok(found)
}

/// The items in field 2 of a schema-or-list.
fn repeated<'a>(
    raw: Raw<'a>,
    item: impl Fn(Raw<'a>) -> Result<Value, WireError>,
) -> Result<Value, WireError> {
    let mut list = Vec::new();
    let mut reader = Reader::new(raw.bytes()?);
    while let Some((number, raw)) = reader.next()? {
        if number == 2 {
            list.push(item(raw)?);
        }
    }
    Ok(Value::Array(list))
}

fn wrapped(list: &Type, bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let Type::List(items) = list else { return Err(WireError::Mismatch) };
    let mut found = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        if number == 1 {
            found.push(value(items, raw, depth)?);
        }
    }
    Ok(Value::Array(found))
}

/// Field 1 says which: 0 the number in field 2, 1 the text in field 3.
fn int_or_string(bytes: &[u8]) -> Result<Value, WireError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some((field, raw)) = reader.next()? {
        match field {
            1 => is_text = raw.varint()? == 1,
            2 => number = raw.int()?,
            3 => text = raw.text()?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { Value::from(number as i32) })
}

/// Seconds and nanoseconds since 1970; an empty message is Go's zero time.
fn time(bytes: &[u8], format: &str) -> Result<Value, WireError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        match number {
            1 => seconds = raw.int()?,
            2 => nanos = raw.int()? as i32,
            _ => {}
        }
    }
    let instant = Timestamp::new(seconds, nanos).map_err(|_| WireError::Overflow)?;
    Ok(Offset::UTC.to_datetime(instant).strftime(format).to_string().into())
}

/// The bytes of a raw extension: JSON, or another enveloped message.
fn raw_value(raw: Raw<'_>) -> Result<Value, WireError> {
    let bytes = raw.bytes()?;
    if bytes.starts_with(MAGIC) {
        return decode(bytes).map_err(|_| WireError::Json);
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|_| WireError::Json)
}
