//! The one walk over incoming data: reads, checks and normalises in a single pass.
//!
//! It is a serde seed, so the same walk reads JSON bytes, YAML bytes and values in memory (a patched object). It
//! keeps what the schema knows, drops unknown fields, nulls and empty values that Go's `omitempty` drops, writes
//! the zero values Go always writes, and notes on the way what upstream's decoder complains about:
//! strict problems (unknown and duplicate fields) and type errors, in upstream's words (sigs.k8s.io/json).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::definition::{Definition, Field, Type};
use super::scalar;
use super::zero::{fill, is_absent, zero, zero_object};

/// Strict problems are collected up to this number, as upstream does.
const MAX_PROBLEMS: usize = 100;

/// What the walk found besides the value.
#[derive(Debug, Default)]
pub(super) struct Findings<'d> {
    /// `unknown field "spec.foo"`, `duplicate field "data.a"`, in the order of the document.
    pub problems: Vec<String>,
    /// The first type error; reading went on.
    pub type_error: Option<String>,
    /// An error of a value that parses itself (quantity, time): reading stopped.
    pub fatal: Option<String>,
    path: String,
    /// JSON names from the root to here, without indices and map keys: upstream's `Go struct field` path.
    fields: Vec<&'d str>,
    /// The struct whose field is being read.
    owner: &'d str,
}

/// What the next value should be.
#[derive(Clone, Copy)]
pub(super) enum Shape<'d> {
    /// Anything: custom resources and bodies whose kind is not known yet.
    Any,
    /// The object itself.
    Root(&'d Definition),
    Of(&'d Type),
}

pub(super) struct Seed<'w, 'd> {
    pub findings: &'w mut Findings<'d>,
    pub shape: Shape<'d>,
    /// The Go type, where it has a name that the shape does not tell.
    pub go: Option<&'d str>,
}

impl<'d> Findings<'d> {
    fn problem(&mut self, what: &str, key: &str) {
        let dot = if self.path.is_empty() || key.is_empty() { "" } else { "." };
        let text = format!("{what} field \"{}{dot}{key}\"", self.path);
        if self.problems.len() < MAX_PROBLEMS && !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    /// Notes that `found` (`string`, `number 1.5`, ...) stands where `wanted` should.
    fn mismatch(&mut self, found: &str, wanted: &str) {
        if self.type_error.is_none() {
            self.type_error = Some(self.mismatch_text(found, wanted));
        }
    }

    fn mismatch_text(&self, found: &str, wanted: &str) -> String {
        if self.fields.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        let field = self.fields.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {}.{field} of type {wanted}", self.owner)
    }

    fn enter(&mut self, key: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        before
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'d> Seed<'_, 'd> {
    fn wanted(&self) -> Cow<'d, str> {
        if let Some(name) = self.go {
            return name.into();
        }
        match self.shape {
            Shape::Any => "interface {}".into(),
            Shape::Root(definition) => scalar::go_object(definition).into(),
            Shape::Of(ty) => scalar::go_type(ty),
        }
    }

    /// Notes that something else than wanted stands here and goes on; values that parse themselves stop the walk.
    fn mismatch<E: Error>(self, found: &str) -> Result<Value, E> {
        let wanted = match self.shape {
            Shape::Of(Type::Quantity) => return self.fatal(scalar::not_a_quantity()),
            Shape::Of(Type::Time | Type::MicroTime) => "string",
            Shape::Of(Type::IntOrString) => "int32",
            _ => {
                let wanted = self.wanted();
                self.findings.mismatch(found, &wanted);
                return Ok(Value::Null);
            }
        };
        let text = self.findings.mismatch_text(found, wanted);
        self.fatal(text)
    }

    /// Stops the walk with an error of a value that parses itself.
    fn fatal<E: Error>(self, text: String) -> Result<Value, E> {
        let error = E::custom(&text);
        self.findings.fatal = Some(text);
        Err(error)
    }

    fn number<E: Error>(self, number: Number) -> Result<Value, E> {
        let int32 = || number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
        match self.shape {
            Shape::Any | Shape::Of(Type::Float64 | Type::RawValue | Type::RawObject(_)) => Ok(number.into()),
            Shape::Of(Type::Int32 | Type::IntOrString) if int32() => Ok(number.into()),
            Shape::Of(Type::Int64) if number.is_i64() => Ok(number.into()),
            Shape::Of(Type::Int32 | Type::Int64 | Type::IntOrString) => {
                self.mismatch(&format!("number {number}"))
            }
            Shape::Of(Type::Quantity) => match scalar::quantity(&number.to_string()) {
                Ok(text) => Ok(Value::String(text)),
                Err(text) => self.fatal(text),
            },
            _ => self.mismatch("number"),
        }
    }

    fn object<'de, A: MapAccess<'de>>(
        self,
        definition: &'d Definition,
        mut entries: A,
    ) -> Result<Value, A::Error> {
        let findings = self.findings;
        let outer = std::mem::replace(&mut findings.owner, definition.short_name());
        let mut object = Map::new();
        let mut seen = vec![false; definition.fields.len()];
        while let Some(key) = entries.next_key_seed(KeySeed(definition))? {
            let (at, field) = match key {
                Key::Known(at) => (at, &definition.fields[at]),
                Key::Unknown(key) => {
                    findings.problem("unknown", &key);
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if std::mem::replace(&mut seen[at], true) {
                findings.problem("duplicate", &field.json);
            }
            let before = findings.enter(&field.json);
            findings.fields.push(&field.json);
            let value = entries.next_value_seed(Seed {
                findings,
                shape: Shape::Of(&field.ty),
                go: field.go.as_deref(),
            })?;
            findings.fields.pop();
            findings.path.truncate(before);
            keep(&mut object, field, value);
        }
        findings.owner = outer;
        fill(definition, &mut object);
        Ok(Value::Object(object))
    }

    fn map<'de, A: MapAccess<'de>>(self, values: Shape<'d>, mut entries: A) -> Result<Value, A::Error> {
        let go = self.go.and_then(|name| name.strip_prefix("map[string]"));
        let findings = self.findings;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(TextSeed)? {
            if map.contains_key(&key) {
                findings.problem("duplicate", &key);
            }
            let before = findings.enter(&key);
            let value = entries.next_value_seed(Seed { findings, shape: values, go })?;
            findings.path.truncate(before);
            map.insert(key, or_zero(value, values));
        }
        Ok(Value::Object(map))
    }

    fn list<'de, A: SeqAccess<'de>>(self, items: Shape<'d>, mut sequence: A) -> Result<Value, A::Error> {
        let go = self.go.and_then(|name| name.strip_prefix("[]"));
        let findings = self.findings;
        let mut list = Vec::new();
        loop {
            let before = findings.path.len();
            // Writing to a string cannot fail.
            let _ = write!(findings.path, "[{}]", list.len());
            let item = sequence.next_element_seed(Seed { findings, shape: items, go })?;
            findings.path.truncate(before);
            match item {
                Some(item) => list.push(or_zero(item, items)),
                None => return Ok(Value::Array(list)),
            }
        }
    }
}

/// Null stands for the zero value where Go has no pointer: items of lists, values of maps.
fn or_zero(value: Value, shape: Shape<'_>) -> Value {
    match shape {
        Shape::Of(ty) if value.is_null() => zero(ty),
        Shape::Root(definition) if value.is_null() => zero_object(definition),
        _ => value,
    }
}

/// Puts a field that was read into its object, unless the answer would leave it out.
fn keep(object: &mut Map<String, Value>, field: &Field, value: Value) {
    if !is_absent(field, &value) {
        object.insert(field.json.clone().into_owned(), value);
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        match self.shape {
            Shape::Any | Shape::Of(Type::Bool | Type::OrBool(_) | Type::RawValue | Type::RawObject(_)) => {
                Ok(value.into())
            }
            _ => self.mismatch("bool"),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.number(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => self.mismatch("number"),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        let parsed = match self.shape {
            Shape::Any
            | Shape::Of(Type::String | Type::IntOrString | Type::RawValue | Type::RawObject(_)) => {
                Ok(text.into())
            }
            Shape::Of(Type::Quantity) => scalar::quantity(text.trim()).map(Value::String),
            Shape::Of(Type::Time) => scalar::time(text),
            Shape::Of(Type::MicroTime) => scalar::micro_time(text),
            Shape::Of(Type::Bytes) => {
                return Ok(scalar::base64(text).map_or_else(
                    |error| {
                        // Noted like a wrong type: upstream reads on.
                        self.findings.type_error.get_or_insert(error);
                        Value::Null
                    },
                    Value::String,
                ));
            }
            _ => return self.mismatch("string"),
        };
        parsed.or_else(|text| self.fatal(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let items = match self.shape {
            Shape::Any | Shape::Of(Type::RawValue | Type::RawObject(_) | Type::OrStrings(_)) => {
                Some(Shape::Any)
            }
            Shape::Of(Type::List(items)) => Some(Shape::Of(items)),
            Shape::Of(Type::OrList(items)) => Some(Shape::Root(items)),
            Shape::Of(Type::Wrapped(list)) => match &**list {
                Type::List(items) => Some(Shape::Of(items)),
                other => Some(Shape::Of(other)),
            },
            _ => None,
        };
        if let Some(items) = items {
            return self.list(items, sequence);
        }
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        self.mismatch("array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        match self.shape {
            Shape::Root(definition) => self.object(definition, entries),
            Shape::Of(
                Type::Object(inner) | Type::OrBool(inner) | Type::OrList(inner) | Type::OrStrings(inner),
            ) => self.object(inner, entries),
            Shape::Of(Type::Map(values)) => self.map(Shape::Of(values), entries),
            Shape::Any | Shape::Of(Type::RawObject(_) | Type::RawValue) => self.map(Shape::Any, entries),
            Shape::Of(_) => {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.mismatch("object")
            }
        }
    }
}

/// Reads a key as the field it names, without allocating.
struct KeySeed<'d>(&'d Definition);

enum Key {
    Known(usize),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        let definition = self.0;
        deserializer.deserialize_any(KeyVisitor(|key: &str| match definition.position(key) {
            Some(at) => Key::Known(at),
            None => Key::Unknown(key.to_owned()),
        }))
    }
}

/// Reads a key as text.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(KeyVisitor(str::to_owned))
    }
}

/// YAML has keys that are no strings; as JSON they are their text.
struct KeyVisitor<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> Visitor<'de> for KeyVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<T, E> {
        Ok(self.0(key))
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<T, E> {
        Ok(self.0(if key { "true" } else { "false" }))
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<T, E> {
        Ok(self.0(&key.to_string()))
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<T, E> {
        Ok(self.0(&key.to_string()))
    }

    fn visit_f64<E: Error>(self, key: f64) -> Result<T, E> {
        Ok(self.0(&key.to_string()))
    }
}
