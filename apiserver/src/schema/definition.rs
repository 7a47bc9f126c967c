//! The data of the schema: definitions, fields, types.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

use super::load::Entry;

/// Text that lives in the generated tables for built-in kinds, and on the heap for custom ones.
pub type Text = Cow<'static, str>;

/// One struct of the API, such as `io.k8s.api.core.v1.PodSpec`.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// The name in OpenAPI documents.
    pub name: Text,
    /// Set for objects that are sent by themselves.
    pub kind: Option<GroupVersionKind>,
    /// Sorted by JSON name.
    pub fields: Vec<Field>,
    /// Structs that JSON flattens into this one, but protobuf sends as a message of their own.
    pub embedded: Vec<Embedded>,
    /// Whether server-side apply takes the struct as one value.
    pub structure: Structure,
    /// One of the fields is set; the text is the JSON name of the field that says which, or empty.
    pub union: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: Text,
    pub version: Text,
    pub kind: Text,
}

#[derive(Clone, Debug)]
pub struct Embedded {
    /// The protobuf number of the message.
    pub number: u32,
    pub definition: Ref,
}

#[derive(Clone, Debug)]
pub struct Field {
    /// The name in JSON.
    pub json: Text,
    /// The protobuf number; 0 for fields that travel in an embedded message or in the envelope.
    pub number: u32,
    pub ty: Type,
    /// Listed as required in OpenAPI.
    pub required: bool,
    pub presence: Presence,
    pub list: List,
    /// Said of a map, or of the struct the field holds.
    pub map: Structure,
    pub patch: Option<Patch>,
    /// The default stated in OpenAPI. For values that Go always writes it is their zero.
    pub default: Option<Value>,
    /// The words this string, or the items of this list, may have. Documentation only: validation checks them.
    pub values: Vec<Text>,
    /// The Go type as upstream's error texts name it (`v1.RestartPolicy`), where it is not the plain one.
    pub go: Option<Text>,
}

#[derive(Clone, Debug)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Float64,
    String,
    /// Base64 in JSON.
    Bytes,
    /// `resource.Quantity`: a decimal with a suffix.
    Quantity,
    IntOrString,
    /// RFC 3339 in seconds.
    Time,
    /// RFC 3339 in microseconds.
    MicroTime,
    /// Any value, meant to be an object: `runtime.RawExtension` or `FieldsV1`, by the definition's name. The bytes of
    /// its JSON on the wire.
    RawObject(Text),
    /// Any JSON value: the `JSON` of a CRD's schema.
    RawValue,
    Object(Ref),
    List(Box<Type>),
    /// Keys are strings.
    Map(Box<Type>),
    /// A list that is a message of its own on the wire, whose field 1 repeats the items.
    Wrapped(Box<Type>),
    /// An object of that definition or a bool: `JSONSchemaPropsOrBool`.
    OrBool(Ref),
    /// An object of that definition or a list of such: `JSONSchemaPropsOrArray`.
    OrList(Ref),
    /// An object of that definition or a list of strings: `JSONSchemaPropsOrStringArray`.
    OrStrings(Ref),
}

/// What an answer does with a field that is empty; upstream's Go structs decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Left out when zero: `omitempty` on a value, a list or a map.
    #[default]
    Dropped,
    /// Left out when absent, kept when zero: a pointer.
    Kept,
    /// Always there, as zero if need be. The zero of lists, maps and times is null.
    Written,
    /// Always there, null when absent.
    Nullable,
}

/// How the items of a list relate (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// Not said; the list is taken as one value.
    #[default]
    Unstated,
    Atomic,
    Set,
    /// Items are objects, told apart by these fields.
    Map(Vec<Text>),
}

/// Whether a map or a struct is merged by field or replaced as a whole (`x-kubernetes-map-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structure {
    /// Not said; merged by field.
    #[default]
    Unstated,
    Granular,
    Atomic,
}

/// How a strategic merge patch treats a field (`x-kubernetes-patch-strategy`, `-merge-key`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// As stated: `merge`, `merge,retainKeys`, `replace`, `retainKeys` or empty.
    pub strategy: Text,
    /// The field that tells the items of a merged list apart.
    pub key: Option<Text>,
}

impl Patch {
    pub fn merges(&self) -> bool {
        self.strategy.split(',').any(|word| word == "merge")
    }

    pub fn replaces(&self) -> bool {
        self.strategy.split(',').any(|word| word == "replace")
    }

    pub fn retains_keys(&self) -> bool {
        self.strategy.split(',').any(|word| word == "retainKeys")
    }
}

impl Definition {
    pub fn field(&self, json: &str) -> Option<&Field> {
        self.position(json).map(|at| &self.fields[at])
    }

    /// Where in `fields` that name stands.
    pub fn position(&self, json: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.json.as_ref().cmp(json)).ok()
    }

    /// The last word of the name: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The version, which is also the Go package in upstream's error texts: `v1`.
    pub fn package(&self) -> &str {
        self.name.rsplit('.').nth(1).unwrap_or_default()
    }
}

/// A definition that a field points to. Built-in ones are parsed when first looked at.
#[derive(Clone)]
pub struct Ref(Target);

#[derive(Clone)]
enum Target {
    Builtin(&'static Entry),
    Own(Arc<Definition>),
}

impl Ref {
    pub(super) fn builtin(entry: &'static Entry) -> Self {
        Self(Target::Builtin(entry))
    }

    /// The name, without looking at the definition.
    pub fn name(&self) -> &str {
        match &self.0 {
            Target::Builtin(entry) => entry.name(),
            Target::Own(definition) => &definition.name,
        }
    }
}

impl From<Arc<Definition>> for Ref {
    fn from(definition: Arc<Definition>) -> Self {
        Self(Target::Own(definition))
    }
}

impl Deref for Ref {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        match &self.0 {
            Target::Builtin(entry) => entry.definition(),
            Target::Own(definition) => definition,
        }
    }
}

/// By name only: definitions refer to themselves.
impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ref").field(&self.name()).finish()
    }
}
