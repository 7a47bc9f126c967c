//! Values to messages, in the order and with the zeros of upstream's generated encoders.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::super::definition::{Definition, Field, Presence, Type};
use super::super::zero::zero;
use super::wire::Writer;

/// Writes one message.
pub(super) fn message(definition: &Definition, object: &Value) -> Vec<u8> {
    let mut parts: Vec<(u32, Part<'_>)> = Vec::new();
    parts.extend(
        definition.fields.iter().filter(|field| field.number != 0).map(|f| (f.number, Part::Field(f))),
    );
    parts.extend(
        definition.embedded.iter().map(|embedded| (embedded.number, Part::Embedded(&embedded.definition))),
    );
    parts.sort_by_key(|(number, _)| *number);
    let mut writer = Writer::default();
    for (number, part) in parts {
        match part {
            Part::Field(field) => write_field(&mut writer, field, object.get(field.json.as_ref())),
            // Its members stand among those of the outer object.
            Part::Embedded(inner) => writer.bytes(number, &message(inner, object)),
        }
    }
    writer.finish()
}

enum Part<'a> {
    Field(&'a Field),
    Embedded(&'a Definition),
}

fn write_field(writer: &mut Writer, field: &Field, value: Option<&Value>) {
    let value = value.filter(|value| !value.is_null());
    match (&field.ty, value) {
        (Type::List(items), Some(Value::Array(list))) => {
            list.iter().for_each(|item| write(writer, field.number, items, item));
        }
        (Type::Map(values), Some(Value::Object(map))) => {
            for (key, value) in map {
                let mut entry = Writer::default();
                entry.text(1, key);
                write(&mut entry, 2, values, value);
                writer.bytes(field.number, &entry.finish());
            }
        }
        (Type::List(_) | Type::Map(_), _) => {}
        (ty, Some(value)) => write(writer, field.number, ty, value),
        // Upstream writes the zero of everything that is no pointer.
        (ty, None) => match (field.presence, ty) {
            (Presence::Kept | Presence::Nullable, _) | (_, Type::Bytes | Type::Wrapped(_)) => {}
            (_, Type::Time | Type::MicroTime | Type::RawObject(_) | Type::RawValue) => {
                writer.bytes(field.number, &[])
            }
            (_, ty) => write(writer, field.number, ty, &zero(ty)),
        },
    }
}

fn write(writer: &mut Writer, number: u32, ty: &Type, value: &Value) {
    let text = || value.as_str().unwrap_or_default();
    match ty {
        Type::Bool => writer.int(number, i64::from(value.as_bool().unwrap_or_default())),
        Type::Int32 | Type::Int64 => writer.int(number, value.as_i64().unwrap_or_default()),
        Type::Float64 => writer.float(number, value.as_f64().unwrap_or_default()),
        Type::String => writer.text(number, text()),
        Type::Bytes => writer.bytes(number, &STANDARD.decode(text()).unwrap_or_default()),
        Type::Quantity => writer.bytes(number, &with(|inner| inner.text(1, text()))),
        Type::IntOrString => writer.bytes(
            number,
            &with(|inner| {
                inner.int(1, i64::from(value.is_string()));
                inner.int(2, value.as_i64().unwrap_or_default());
                inner.text(3, text());
            }),
        ),
        Type::Time | Type::MicroTime => writer.bytes(number, &time(text())),
        Type::RawObject(_) | Type::RawValue => {
            let json = serde_json::to_vec(value).unwrap_or_default();
            writer.bytes(number, &with(|inner| inner.bytes(1, &json)));
        }
        Type::Object(definition) => writer.bytes(number, &message(definition, value)),
        Type::Wrapped(list) => {
            let Type::List(items) = &**list else { return };
            let items = |inner: &mut Writer| {
                value.as_array().into_iter().flatten().for_each(|item| write(inner, 1, items, item));
            };
            writer.bytes(number, &with(items));
        }
        Type::OrBool(definition) => writer.bytes(
            number,
            &with(|inner| match value {
                Value::Bool(allows) => inner.int(1, i64::from(*allows)),
                schema => {
                    inner.int(1, 1);
                    inner.bytes(2, &message(definition, schema));
                }
            }),
        ),
        Type::OrList(definition) => writer.bytes(
            number,
            &with(|inner| match value {
                Value::Array(list) => list.iter().for_each(|item| inner.bytes(2, &message(definition, item))),
                schema => inner.bytes(1, &message(definition, schema)),
            }),
        ),
        Type::OrStrings(definition) => writer.bytes(
            number,
            &with(|inner| match value {
                Value::Array(list) => {
                    list.iter().for_each(|item| inner.text(2, item.as_str().unwrap_or_default()))
                }
                schema => inner.bytes(1, &message(definition, schema)),
            }),
        ),
        // A list or map inside another is always wrapped.
        Type::List(_) | Type::Map(_) => {}
    }
}

fn with(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

fn time(text: &str) -> Vec<u8> {
    let Ok(instant) = text.parse::<Timestamp>() else { return Vec::new() };
    with(|inner| {
        inner.int(1, instant.as_second());
        inner.int(2, i64::from(instant.subsec_nanosecond()));
    })
}
