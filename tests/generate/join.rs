//! Joins the two sides: every definition of k8s-openapi with the message of k8s-pb that has its name.
//!
//! A Go struct that is embedded in another is flattened in JSON but is a message of its own on the wire
//! (`Volume` holds `VolumeSource` as field 2). The outer definition then has an `embedded` entry, and its fields
//! that travel inside have no number of their own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::facts;
use crate::json_side::{self, Kind, Property, Type};
use crate::supplement::Supplement;
use crate::wire_side::{self, Message, plain_definition};

#[derive(Debug)]
pub(crate) struct Schema {
    pub definitions: BTreeMap<String, Definition>,
    /// Fields whose protobuf number no source tells.
    pub gaps: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Definition {
    pub name: String,
    pub description: String,
    pub kind: Option<Kind>,
    /// `+structType`.
    pub structure: Option<String>,
    /// `+union`: the field that says which member is set, if there is one.
    pub union: Option<String>,
    pub embedded: Vec<(u32, String)>,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub json: String,
    /// 0: not on the wire by itself.
    pub number: u32,
    pub ty: Type,
    pub required: bool,
    pub presence: Presence,
    pub list: Option<String>,
    pub map: Option<String>,
    pub patch: Option<String>,
    pub default: Option<String>,
    pub values: Vec<String>,
    /// The Go type, where error texts do not show the plain one.
    pub go: Option<String>,
    pub description: String,
}

/// What Go's encoder does with a field that is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Presence {
    /// A value with `omitempty`: left out when zero.
    Dropped,
    /// A pointer: left out when absent, kept when zero.
    Kept,
    /// A value that is always there.
    Written,
    /// Always there, null when absent.
    Nullable,
}

/// Definitions that are one JSON value, with a meaning of their own to every walk over a schema.
const SCALARS: &[&str] = &[
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
];

/// Messages that no OpenAPI document describes, but requests and answers carry.
const WIRE_ONLY: &[&str] = &[
    "io.k8s.apimachinery.pkg.apis.meta.v1.CreateOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.GetOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.ListOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
    "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList",
    "io.k8s.apimachinery.pkg.apis.meta.v1.PatchOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.UpdateOptions",
    "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
];

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

pub(crate) fn join(
    json: &BTreeMap<String, json_side::Definition>,
    wire: &BTreeMap<String, Message>,
    supplement: &Supplement,
) -> Result<Schema> {
    let mut join = Join { json, wire, supplement, out: BTreeMap::new(), gaps: Vec::new() };
    for definition in json.values() {
        match definition.name.as_str() {
            name if WIRE_ONLY.contains(&name) => {}
            name if SCALARS.contains(&name) => join.scalar(definition),
            _ => join.definition(definition),
        }
        if let (Some(kind), Some(list_kind)) = (&definition.kind, &definition.list_kind) {
            join.list(definition, kind, list_kind);
        }
    }
    for name in WIRE_ONLY {
        join.wire_only(name)?;
    }
    let known: BTreeSet<(String, String)> = join
        .out
        .values()
        .flat_map(|definition| {
            let fields = definition.fields.iter().map(|field| field.json.clone());
            fields.chain([String::new()]).map(|field| (definition.name.clone(), field))
        })
        .collect();
    let unused = supplement.unused(&known);
    if !unused.is_empty() {
        bail!("supplement.txt speaks of fields that do not exist: {}", unused.join(", "));
    }
    Ok(Schema { definitions: join.out, gaps: join.gaps })
}

struct Join<'a> {
    json: &'a BTreeMap<String, json_side::Definition>,
    wire: &'a BTreeMap<String, Message>,
    supplement: &'a Supplement,
    out: BTreeMap<String, Definition>,
    gaps: Vec<String>,
}

impl<'a> Join<'a> {
    fn message(&self, name: &str) -> Option<&'a Message> {
        self.wire.get(&plain_definition(name))
    }

    /// A definition that became stable after k8s-pb was made: it kept the numbers of its beta version.
    fn beta(&self, name: &str) -> Option<&'a Message> {
        self.message(&name.replace(".v1.", ".v1beta1."))
            .or_else(|| self.message(&name.replace(".v1.", ".v1beta2.")))
    }

    /// A definition without fields: its name is its meaning.
    fn scalar(&mut self, source: &json_side::Definition) {
        let (name, description) = (source.name.clone(), source.description.clone());
        self.put(Definition { name, description, ..Definition::default() });
    }

    fn definition(&mut self, source: &json_side::Definition) {
        let message = self.message(&source.name).or_else(|| self.beta(&source.name));
        let embedded = message.map(|message| self.embedded(message, source)).unwrap_or_default();
        let fields: Vec<Field> =
            source.properties.iter().map(|property| self.field(source, property, message)).collect();
        self.note_gaps(source, message, &fields);
        let union = message.filter(|message| message.markers.iter().any(|marker| marker == "union"));
        let union = union.map(|message| facts::discriminator(message, &source.properties));
        let stated = self.supplement.of(&source.name, "").union.then(String::new);
        self.put(Definition {
            name: source.name.clone(),
            description: source.description.clone(),
            kind: source.kind.clone(),
            structure: message.and_then(|message| message.marker("structType").next()).map(str::to_owned),
            union: union.or(stated),
            embedded,
            fields,
        });
    }

    fn field(
        &self,
        source: &json_side::Definition,
        property: &Property,
        message: Option<&'a Message>,
    ) -> Field {
        let own = message.and_then(|message| message.field(&property.json));
        let known = own.or_else(|| message.and_then(|message| self.field_inside(source, message, property)));
        let extra = self.supplement.of(&source.name, &property.json);
        // k8s-openapi takes a few fields with a default as required; upstream marks them optional.
        let optional = known.is_some_and(|field| field.is_optional() && facts::default(field).is_some());
        let required = extra.required.unwrap_or(property.required && !optional);
        let presence = facts::presence(source, property, required, &extra);
        let ty = facts::wrapped(&property.ty, known);
        Field {
            json: property.json.clone(),
            number: extra.number.or_else(|| own.map(|field| field.number)).unwrap_or(0),
            list: extra.list.or_else(|| known.and_then(facts::list)),
            map: known.and_then(facts::map),
            patch: extra.patch.or_else(|| known.and_then(facts::patch)),
            default: known.and_then(facts::default).or_else(|| facts::zero(&ty, presence)),
            values: extra.values,
            go: extra.go,
            description: property.description.clone(),
            required,
            presence,
            ty,
        }
    }

    /// A field that travels inside an embedded message, however deep.
    fn field_inside(
        &self,
        source: &json_side::Definition,
        message: &'a Message,
        property: &Property,
    ) -> Option<&'a wire_side::Field> {
        message.fields.iter().filter(|field| field.is_single_message() && !source.has(&field.name)).find_map(
            |field| {
                let inner = self.message(field.message.as_deref()?)?;
                inner.field(&property.json).or_else(|| self.field_inside(source, inner, property))
            },
        )
    }

    /// The fields of `message` that JSON flattens, each with the definition that has its members.
    fn embedded(&mut self, message: &'a Message, source: &json_side::Definition) -> Vec<(u32, String)> {
        let mut embedded = Vec::new();
        for field in
            message.fields.iter().filter(|field| field.is_single_message() && !source.has(&field.name))
        {
            let Some(inner) = field.message.as_deref().and_then(|name| self.message(name)) else { continue };
            if !inner.fields.iter().any(|field| source.has(&field.name) || field.is_single_message()) {
                continue; // a field that the newer release dropped
            }
            if !self.json.contains_key(&inner.name) {
                self.helper(inner, source);
            }
            embedded.push((field.number, inner.name.clone()));
        }
        embedded
    }

    /// A definition for an embedded message, whose fields are as the struct around has them.
    fn helper(&mut self, message: &'a Message, around: &json_side::Definition) {
        let embedded = self.embedded(message, around);
        let inside = |property: &&Property| message.field(&property.json).is_some();
        let fields = around.properties.iter().filter(inside);
        let fields = fields.map(|property| self.field(around, property, Some(message))).collect();
        self.put(Definition { name: message.name.clone(), embedded, fields, ..Definition::default() });
    }

    fn note_gaps(&mut self, source: &json_side::Definition, message: Option<&'a Message>, fields: &[Field]) {
        // The envelope around an object carries these two.
        let typed = |field: &Field| ["apiVersion", "kind"].contains(&field.json.as_str());
        let inside = |field: &Field| {
            let property = source.properties.iter().find(|property| property.json == field.json)?;
            self.field_inside(source, message?, property)
        };
        let lost =
            fields.iter().filter(|field| field.number == 0 && !typed(field) && inside(field).is_none());
        let lost: Vec<String> = lost.map(|field| format!("{} {}", source.name, field.json)).collect();
        self.gaps.extend(lost);
    }

    fn list(&mut self, item: &json_side::Definition, kind: &Kind, list_kind: &str) {
        let name = format!("{}List", item.name);
        let message = self.message(&name).or_else(|| self.beta(&name));
        let prose = |json: &str| {
            message
                .and_then(|message| message.field(json))
                .map(|field| field.description.clone())
                .unwrap_or_default()
        };
        let property = |json: &str, ty: Type, description: String| Property {
            json: json.to_owned(),
            ty,
            required: json == "items",
            description,
        };
        let meta = Type::Named("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta".into());
        self.definition(&json_side::Definition {
            properties: vec![
                property("apiVersion", Type::String, API_VERSION.into()),
                property("items", Type::List(Box::new(Type::Named(item.name.clone()))), prose("items")),
                property("kind", Type::String, KIND.into()),
                property("metadata", meta, prose("metadata")),
            ],
            kind: Some(Kind { kind: list_kind.to_owned(), ..kind.clone() }),
            list_kind: None,
            description: message.map(|message| message.description.clone()).unwrap_or_default(),
            name,
        });
    }

    fn wire_only(&mut self, name: &str) -> Result<()> {
        let message = self.message(name).with_context(|| format!("k8s-pb has no {name}"))?;
        let fields = message.fields.iter().map(|field| {
            let json = facts::camel(&field.name);
            let extra = self.supplement.of(name, &json);
            let ty = facts::wire_type(field);
            let presence = facts::stated_presence(&extra).unwrap_or(Presence::Dropped);
            let default = facts::zero(&ty, presence);
            let required = extra.required.unwrap_or(false);
            let description = field.description.clone();
            Field { required, presence, default, description, ..Field::wire(&json, field.number, ty) }
        });
        let fields = fields.collect();
        let description = message.description.clone();
        self.put(Definition { name: name.to_owned(), description, fields, ..Definition::default() });
        Ok(())
    }

    fn put(&mut self, definition: Definition) {
        self.out.insert(definition.name.clone(), definition);
    }
}

impl Field {
    /// A field of which only the wire form is known.
    fn wire(json: &str, number: u32, ty: Type) -> Self {
        Self {
            json: json.to_owned(),
            number,
            ty,
            required: false,
            presence: Presence::Dropped,
            list: None,
            map: None,
            patch: None,
            default: None,
            values: Vec::new(),
            go: None,
            description: String::new(),
        }
    }
}
