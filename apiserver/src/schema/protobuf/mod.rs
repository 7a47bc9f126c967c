//! Kubernetes' protobuf: an envelope with the type, around a message whose layout the schema knows.
//!
//! kubectl 1.32+ and client-go send bodies this way by default and do not fall back to JSON. There is no code a
//! kind: [`decode`] and [`encode`] walk the definition, whose fields carry their numbers.
//! Source: apimachinery `pkg/runtime/serializer/protobuf`, `runtime.Unknown`.

mod decode;
mod encode;
mod wire;

use serde_json::Value;

pub use wire::WireError;
pub(crate) use wire::Writer;

use super::definition::Definition;
use super::load::Registry;
use super::zero::settle;
use wire::Reader;

/// The first bytes of every protobuf body.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// Another format, sent as protobuf.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoMagic,

    #[error("the body is no protobuf message of its kind")]
    Wire(#[from] WireError),

    /// The envelope names a kind that is not built in.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { api_version: String, kind: String },
}

/// `runtime.Unknown`: what the body says of itself, and the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
}

impl Envelope<'_> {
    /// The definition of the kind it names.
    pub fn definition(&self) -> Result<&'static Definition, ProtobufError> {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        Registry::builtin().for_kind(group, version, self.kind).ok_or_else(|| ProtobufError::UnknownKind {
            api_version: self.api_version.to_owned(),
            kind: self.kind.to_owned(),
        })
    }
}

/// Opens the envelope of a body.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let message = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => {
                let mut reader = Reader::new(field.bytes()?);
                while let Some((number, field)) = reader.next()? {
                    match number {
                        1 => envelope.api_version = field.text()?,
                        2 => envelope.kind = field.text()?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = field.bytes()?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Reads a whole body: the object as JSON would have it, with `apiVersion` and `kind`.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = open(body)?;
    let mut object = decode_as(envelope.definition()?, envelope.raw)?;
    if let Value::Object(object) = &mut object {
        object.insert("apiVersion".into(), envelope.api_version.into());
        object.insert("kind".into(), envelope.kind.into());
    }
    Ok(object)
}

/// Reads the message of an envelope as an object of that definition, whatever the envelope calls itself.
pub fn decode_as(definition: &Definition, raw: &[u8]) -> Result<Value, ProtobufError> {
    let mut object = Value::Object(decode::message(definition, raw)?);
    settle(definition, &mut object);
    Ok(object)
}

/// Writes an object with its envelope, byte for byte as upstream does.
pub fn encode(definition: &Definition, object: &Value) -> Vec<u8> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut type_meta = Writer::default();
    type_meta.text(1, text("apiVersion"));
    type_meta.text(2, text("kind"));
    let mut envelope = Writer::starting_with(MAGIC);
    envelope.bytes(1, &type_meta.finish());
    envelope.bytes(2, &encode::message(definition, object));
    envelope.text(3, "");
    envelope.text(4, "");
    envelope.finish()
}

#[cfg(test)]
mod tests;
