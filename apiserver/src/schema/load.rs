//! Reads the generated table of definitions.
//!
//! The text stays where the linker put it; a definition is parsed when somebody first asks for it, so a server
//! that handles pods never pays for the other kinds. One line a definition, then one line a field:
//!
//! ```text
//! =NAME [kind=GROUP/VERSION/KIND] [struct=atomic] [union=DISCRIMINATOR] [embed=NUMBER:NAME]...
//! JSON NUMBER TYPE [kept|written|nullable] [required] [list=atomic|set|map:KEY,KEY] [map=atomic|granular]
//!     [patch=STRATEGY:KEY] [go=TYPE] [values=WORD|WORD] [default=JSON]                (one line; the default is its rest)
//! ```
//!
//! TYPE is `bool`, `int32`, `int64`, `float64`, `string`, `bytes` or a definition's name, after `[]` for a list,
//! `{}` for a map, `*` for a list that is wrapped on the wire. In words, `~` stands for a space.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use super::definition::{
    Definition, Embedded, Field, GroupVersionKind, List, Patch, Presence, Ref, Structure, Text, Type,
};

static TABLE: &str = include_str!("generated/definitions.txt");
static BUILTIN: LazyLock<Registry> = LazyLock::new(|| Registry::read(TABLE));

/// All definitions of the built-in API.
#[derive(Debug)]
pub struct Registry {
    entries: HashMap<&'static str, Entry>,
    kinds: HashMap<(&'static str, &'static str, &'static str), &'static str>,
}

impl Registry {
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// The definition of that OpenAPI name, such as `io.k8s.api.core.v1.Pod`.
    pub fn definition(&'static self, name: &str) -> Option<&'static Definition> {
        self.entries.get(name).map(Entry::definition)
    }

    /// The definition of a kind; `group` is empty for the core group.
    pub fn for_kind(&'static self, group: &str, version: &str, kind: &str) -> Option<&'static Definition> {
        // The key's lifetime is that of the table, so the lookup compares by value.
        let key: (&str, &str, &str) = (group, version, kind);
        self.kinds.get(&key).and_then(|name| self.definition(name))
    }

    pub fn names(&'static self) -> impl Iterator<Item = &'static str> {
        self.entries.keys().copied()
    }

    fn read(text: &'static str) -> Self {
        let mut entries = HashMap::new();
        let mut kinds = HashMap::new();
        for block in text.split("\n=").skip(1) {
            let head = block.lines().next().unwrap_or_default();
            let name = head.split(' ').next().unwrap_or_default();
            let words = head.split(' ').find_map(|word| word.strip_prefix("kind="));
            let mut kind = words.unwrap_or_default().splitn(3, '/');
            if let (Some(group), Some(version), Some(kind)) = (kind.next(), kind.next(), kind.next()) {
                kinds.insert((group, version, kind), name);
            }
            entries.insert(name, Entry { name, text: block, parsed: OnceLock::new() });
        }
        Self { entries, kinds }
    }

    fn reference(&'static self, name: &str) -> Ref {
        let entry = self.entries.get(name).unwrap_or_else(|| panic!("the schema table has no {name}"));
        Ref::builtin(entry)
    }
}

/// A definition, parsed or not yet.
#[derive(Debug)]
pub(super) struct Entry {
    name: &'static str,
    text: &'static str,
    parsed: OnceLock<Definition>,
}

impl Entry {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn definition(&self) -> &Definition {
        self.parsed.get_or_init(|| parse(self.text))
    }
}

fn parse(text: &'static str) -> Definition {
    let mut lines = text.lines();
    let mut definition = Definition::default();
    for (at, word) in lines.next().unwrap_or_default().split(' ').enumerate() {
        match word.split_once('=') {
            None if at == 0 => definition.name = word.into(),
            Some(("kind", kind)) => {
                let mut parts = kind.splitn(3, '/').map(Text::from);
                let mut part = || parts.next().unwrap_or_default();
                definition.kind = Some(GroupVersionKind { group: part(), version: part(), kind: part() });
            }
            Some(("struct", word)) => definition.structure = structure(word),
            Some(("union", field)) => definition.union = Some(field.into()),
            Some(("embed", word)) => {
                let (number, name) = word.split_once(':').unwrap_or_default();
                let number = number.parse().unwrap_or(0);
                definition
                    .embedded
                    .push(Embedded { number, definition: Registry::builtin().reference(name) });
            }
            _ => unreachable!("{word:?} in the head of a generated definition"),
        }
    }
    definition.fields = lines.filter(|line| !line.is_empty()).map(field).collect();
    definition
}

fn field(line: &'static str) -> Field {
    let (line, default) =
        line.split_once(" default=").map_or((line, None), |(line, json)| (line, Some(json)));
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (json, number, ty_) = (next(), next(), next());
    let mut field = Field {
        json: json.into(),
        number: number.parse().unwrap_or(0),
        ty: ty(ty_),
        required: false,
        presence: Presence::Dropped,
        list: List::Unstated,
        map: Structure::Unstated,
        patch: None,
        default: default.and_then(|json| serde_json::from_str(json).ok()),
        values: Vec::new(),
        go: None,
    };
    for word in words {
        match word.split_once('=') {
            None if word == "required" => field.required = true,
            None => field.presence = presence(word),
            Some(("list", word)) => field.list = list(word),
            Some(("map", word)) => field.map = structure(word),
            Some(("patch", word)) => field.patch = word.split_once(':').map(patch),
            Some(("go", name)) => field.go = Some(name.into()),
            Some(("values", words)) => field.values = words.split('|').map(spaced).collect(),
            _ => unreachable!("{word:?} in a generated field"),
        }
    }
    field
}

fn ty(word: &'static str) -> Type {
    if let Some(item) = word.strip_prefix("[]") {
        return Type::List(Box::new(ty(item)));
    }
    if let Some(value) = word.strip_prefix("{}") {
        return Type::Map(Box::new(ty(value)));
    }
    if let Some(list) = word.strip_prefix('*') {
        return Type::Wrapped(Box::new(ty(list)));
    }
    const META: &str = "io.k8s.apimachinery.pkg.";
    const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
    let props = || Registry::builtin().reference(&format!("{SCHEMA}SchemaProps"));
    match (word, word.strip_prefix(META), word.strip_prefix(SCHEMA)) {
        ("bool", ..) => Type::Bool,
        ("int32", ..) => Type::Int32,
        ("int64", ..) => Type::Int64,
        ("float64", ..) => Type::Float64,
        ("string", ..) => Type::String,
        ("bytes", ..) => Type::Bytes,
        (_, Some("api.resource.Quantity"), _) => Type::Quantity,
        (_, Some("util.intstr.IntOrString"), _) => Type::IntOrString,
        (_, Some("apis.meta.v1.Time"), _) => Type::Time,
        (_, Some("apis.meta.v1.MicroTime"), _) => Type::MicroTime,
        (_, Some("runtime.RawExtension" | "apis.meta.v1.FieldsV1" | "apis.meta.v1.Patch"), _) => {
            Type::RawObject(word.into())
        }
        (_, _, Some("")) => Type::RawValue,
        (_, _, Some("SchemaPropsOrBool")) => Type::OrBool(props()),
        (_, _, Some("SchemaPropsOrArray")) => Type::OrList(props()),
        (_, _, Some("SchemaPropsOrStringArray")) => Type::OrStrings(props()),
        _ => Type::Object(Registry::builtin().reference(word)),
    }
}

fn presence(word: &str) -> Presence {
    match word {
        "kept" => Presence::Kept,
        "written" => Presence::Written,
        "nullable" => Presence::Nullable,
        _ => unreachable!("{word:?} as presence in a generated field"),
    }
}

fn list(word: &'static str) -> List {
    match word.split_once(':') {
        Some(("map", keys)) => List::Map(keys.split(',').map(Text::from).collect()),
        _ if word == "set" => List::Set,
        _ => List::Atomic,
    }
}

fn structure(word: &str) -> Structure {
    if word == "atomic" { Structure::Atomic } else { Structure::Granular }
}

fn patch((strategy, key): (&'static str, &'static str)) -> Patch {
    Patch { strategy: strategy.into(), key: (!key.is_empty()).then(|| key.into()) }
}

fn spaced(word: &'static str) -> Text {
    if word.contains('~') { word.replace('~', " ").into() } else { word.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_parses_and_every_reference_is_there() {
        for name in Registry::builtin().names() {
            let definition = Registry::builtin().definition(name).unwrap();
            assert_eq!(definition.name, name);
            assert!(definition.fields.is_sorted_by(|a, b| a.json < b.json), "{name} is not sorted");
        }
    }

    #[test]
    fn a_pod_has_what_upstream_says() {
        let pod = Registry::builtin().for_kind("", "v1", "Pod").unwrap();
        assert_eq!(pod.name, "io.k8s.api.core.v1.Pod");
        let Type::Object(spec) = &pod.field("spec").unwrap().ty else { panic!("spec is an object") };
        let containers = spec.field("containers").unwrap();
        assert_eq!((containers.number, containers.required), (2, true));
        assert_eq!(containers.list, List::Map(vec!["name".into()]));
        assert_eq!(containers.patch, Some(Patch { strategy: "merge".into(), key: Some("name".into()) }));
        let Type::List(container) = &containers.ty else { panic!("containers is a list") };
        let Type::Object(container) = &**container else { panic!("of objects") };
        let ports = container.field("ports").unwrap();
        assert_eq!(ports.list, List::Map(vec!["containerPort".into(), "protocol".into()]));
        assert_eq!(spec.field("hostUsers").unwrap().presence, Presence::Kept);
        assert_eq!(spec.field("hostNetwork").unwrap().presence, Presence::Dropped);
    }

    #[test]
    fn an_embedded_struct_is_flat_in_json_and_a_message_on_the_wire() {
        let volume = Registry::builtin().definition("io.k8s.api.core.v1.Volume").unwrap();
        assert_eq!(volume.field("emptyDir").unwrap().number, 0);
        assert_eq!(volume.embedded[0].number, 2);
        assert_eq!(volume.embedded[0].definition.field("emptyDir").unwrap().number, 2);
    }

    #[test]
    fn unknown_names_are_none() {
        assert!(Registry::builtin().definition("io.k8s.api.core.v1.Nothing").is_none());
        assert!(Registry::builtin().for_kind("apps", "v1", "Pod").is_none());
    }
}
