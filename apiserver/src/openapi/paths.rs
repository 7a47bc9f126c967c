//! The paths of a kind and of its subresources, from its row.

use serde_json::{Map, Value, json};

use super::base;
use super::operations::{
    Operation, Parameter, answers, anything, body, camel, change, deletion, force, listing, meta, patch_body,
    pretty, streamed, tag, text, watching,
};
use super::schemas::{gvk, reference, upper_first};
use crate::kinds::{Kind, Subresource};
use crate::schema::Registry;
use crate::verbs::returns_object;

/// Adds all paths of a kind.
pub(super) fn add(kind: &Kind, paths: &mut Map<String, Value>) {
    let base = base(kind);
    let plural = &kind.plural;
    let watched = kind.verbs.contains(&"watch");
    if kind.namespaced {
        let scope = format!("{base}/namespaces/{{namespace}}");
        if kind.verbs.contains(&"list") {
            let place = Place {
                path: format!("{base}/{plural}"),
                infix: "",
                suffix: "ForAllNamespaces",
                scoped: false,
            };
            put(paths, kind, &place, vec![list(kind)]);
        }
        put(paths, kind, &Place::of(format!("{scope}/{plural}"), true), collection(kind));
        put(paths, kind, &Place::of(format!("{scope}/{plural}/{{name}}"), true), single(kind));
        add_subresources(kind, &format!("{scope}/{plural}/{{name}}"), paths);
        if watched {
            let scope = format!("{base}/watch/namespaces/{{namespace}}/{plural}");
            let all = Place {
                path: format!("{base}/watch/{plural}"),
                infix: "",
                suffix: "ListForAllNamespaces",
                scoped: false,
            };
            put(paths, kind, &all, vec![watch(kind, "watchlist")]);
            add_watches(kind, &scope, true, paths);
        }
    } else {
        put(paths, kind, &Place::of(format!("{base}/{plural}"), false), collection(kind));
        put(paths, kind, &Place::of(format!("{base}/{plural}/{{name}}"), false), single(kind));
        add_subresources(kind, &format!("{base}/{plural}/{{name}}"), paths);
        if watched {
            add_watches(kind, &format!("{base}/watch/{plural}"), false, paths);
        }
    }
}

/// A path, and how operation ids speak of it.
struct Place {
    path: String,
    infix: &'static str,
    suffix: &'static str,
    /// Whether it lies in a namespace.
    scoped: bool,
}

impl Place {
    fn of(path: String, scoped: bool) -> Self {
        Self { path, infix: if scoped { "Namespaced" } else { "" }, suffix: "", scoped }
    }
}

fn add_watches(kind: &Kind, path: &str, scoped: bool, paths: &mut Map<String, Value>) {
    let list = Place { suffix: "List", ..Place::of(path.to_owned(), scoped) };
    put(paths, kind, &list, vec![watch(kind, "watchlist")]);
    put(paths, kind, &Place::of(format!("{path}/{{name}}"), scoped), vec![watch(kind, "watch")]);
}

/// Writes a path item, unless it has no methods. What all methods take stands once, beside them.
fn put(paths: &mut Map<String, Value>, kind: &Kind, place: &Place, operations: Vec<Operation>) {
    let own = gvk(&kind.group, &kind.version, &kind.kind);
    write(paths, kind, place, "", &own, operations);
}

fn write(
    paths: &mut Map<String, Value>,
    kind: &Kind,
    place: &Place,
    name: &str,
    gvk: &Value,
    operations: Vec<Operation>,
) {
    if operations.is_empty() {
        return;
    }
    let connects = operations.iter().any(|operation| operation.action == "connect");
    let mut common = path_parameters(kind, place);
    if !connects {
        common.push(pretty());
    }
    let first = &operations[0].parameters;
    let everywhere = |parameter: &&Parameter| {
        operations.iter().all(|other| other.parameters.iter().any(|one| one.name == parameter.name))
    };
    common.extend(first.iter().filter(everywhere).cloned());
    common.sort_by_key(|parameter| parameter.name);
    let shared: Vec<Value> = common.iter().map(Parameter::json).collect();
    let tag = tag(&kind.group, &kind.version);
    let mut item = Map::new();
    for operation in &operations {
        let group = camel(&kind.group, &kind.version);
        let (verb, infix) = (split_id(&operation.verb), place.infix);
        let id = format!("{}{group}{}{infix}{}{name}{}", verb.0, verb.1, kind.kind, place.suffix);
        item.insert(operation.method.to_owned(), operation.json(&id, &tag, gvk.clone(), &shared));
    }
    item.insert("parameters".into(), shared.into());
    paths.insert(place.path.clone(), item.into());
}

/// `delete Collection`: what stands before and after the group in an id.
fn split_id(verb: &str) -> (&str, &str) {
    verb.split_once(' ').unwrap_or((verb, ""))
}

fn path_parameters(kind: &Kind, place: &Place) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    if place.scoped {
        let about = "object name and auth scope, such as for teams and projects".to_owned();
        parameters.push(Parameter::path("namespace", about));
    }
    if place.path.contains("{name}") {
        parameters.push(Parameter::path("name", format!("name of the {}", kind.kind)));
    }
    if place.path.ends_with("{path}") {
        parameters.push(Parameter::path("path", "path to the resource".to_owned()));
    }
    parameters
}

fn collection(kind: &Kind) -> Vec<Operation> {
    let mut operations = Vec::new();
    let has = |verb: &str| kind.verbs.contains(&verb);
    if has("list") {
        operations.push(list(kind));
    }
    if has("create") {
        operations.push(create(&kind.kind, &kind.definition));
    }
    if has("deletecollection") {
        operations.push(Operation {
            method: "delete",
            action: "deletecollection",
            verb: "delete Collection".into(),
            description: format!("delete collection of {}", kind.kind),
            parameters: listing().into_iter().chain(deletion()).collect(),
            body: Some(body(&meta("DeleteOptions"), false)),
            answers: answers(&[200], &meta("Status")),
        });
    }
    operations
}

fn single(kind: &Kind) -> Vec<Operation> {
    let own = reference(&kind.definition);
    let mut operations = Vec::new();
    let has = |verb: &str| kind.verbs.contains(&verb);
    if has("get") {
        operations.push(read(&kind.kind, "", &own));
    }
    if has("update") {
        operations.push(replace(&kind.kind, "", &own));
    }
    if has("patch") {
        operations.push(patch(&kind.kind, "", &own));
    }
    if has("delete") {
        let answer = if returns_object(kind) { own } else { meta("Status") };
        operations.push(Operation {
            method: "delete",
            action: "delete",
            verb: "delete".into(),
            description: format!("delete a {}", kind.kind),
            parameters: deletion(),
            body: Some(body(&meta("DeleteOptions"), false)),
            answers: answers(&[200, 202], &answer),
        });
    }
    operations
}

fn list(kind: &Kind) -> Operation {
    Operation {
        method: "get",
        action: "list",
        verb: "list".into(),
        description: format!("list or watch objects of kind {}", kind.kind),
        parameters: watching(),
        body: None,
        answers: streamed(&reference(&format!("{}List", kind.definition))),
    }
}

fn watch(kind: &Kind, action: &'static str) -> Operation {
    let what = if action == "watch" { "an object" } else { "a list" };
    let about = format!(
        "watch changes to {what} of kind {}. deprecated: use the 'watch' parameter with a list operation instead.",
        kind.kind
    );
    Operation {
        method: "get",
        action,
        verb: "watch".into(),
        description: about,
        parameters: watching(),
        body: None,
        answers: streamed(&meta("WatchEvent")),
    }
}

fn create(kind: &str, definition: &str) -> Operation {
    let schema = reference(definition);
    Operation {
        method: "post",
        action: "post",
        verb: "create".into(),
        description: format!("create a {kind}"),
        parameters: change(),
        body: Some(body(&schema, true)),
        answers: answers(&[200, 201, 202], &schema),
    }
}

fn read(kind: &str, of: &str, schema: &Value) -> Operation {
    Operation {
        method: "get",
        action: "get",
        verb: "read".into(),
        description: format!("read {of}the specified {kind}"),
        parameters: Vec::new(),
        body: None,
        answers: answers(&[200], schema),
    }
}

fn replace(kind: &str, of: &str, schema: &Value) -> Operation {
    Operation {
        method: "put",
        action: "put",
        verb: "replace".into(),
        description: format!("replace {of}the specified {kind}"),
        parameters: change(),
        body: Some(body(schema, true)),
        answers: answers(&[200, 201], schema),
    }
}

fn patch(kind: &str, of: &str, schema: &Value) -> Operation {
    Operation {
        method: "patch",
        action: "patch",
        verb: "patch".into(),
        description: format!("partially update {of}the specified {kind}"),
        parameters: change().into_iter().chain([force()]).collect(),
        body: Some(patch_body()),
        answers: answers(&[200, 201], schema),
    }
}

fn add_subresources(kind: &Kind, path: &str, paths: &mut Map<String, Value>) {
    for subresource in &kind.subresources {
        let name = upper_first(subresource.name());
        let place = Place::of(format!("{path}/{}", subresource.name()), kind.namespaced);
        let (group, version, body_kind) = subresource.body_kind(kind);
        let own = if version.is_empty() { (&*kind.group, &*kind.version) } else { (group, version) };
        let gvk = gvk(own.0, own.1, &body_kind);
        if let Some(options) = connection(subresource) {
            let methods = connect_methods(subresource);
            let operations = |with_path: bool| -> Vec<Operation> {
                methods.iter().map(|method| connect(kind, &name, method, options, with_path)).collect()
            };
            write(paths, kind, &place, &name, &gvk, operations(false));
            if *subresource == Subresource::Proxy {
                let place = Place::of(format!("{path}/proxy/{{path}}"), kind.namespaced);
                write(paths, kind, &place, "ProxyWithPath", &gvk, operations(true));
            }
            continue;
        }
        let definition = Registry::builtin().for_kind(own.0, own.1, &body_kind);
        let schema = definition.map_or_else(|| reference(&kind.definition), |found| reference(&found.name));
        let of = format!("{} of ", subresource.name());
        let operations = subresource.verbs().iter().map(|verb| match *verb {
            "create" => create(
                &format!("{} of a {}", subresource.name(), kind.kind),
                definition.map_or("", |d| &d.name),
            ),
            "update" => replace(&kind.kind, &of, &schema),
            "patch" => patch(&kind.kind, &of, &schema),
            _ if *subresource == Subresource::Log => log(kind, &of),
            _ => read(&kind.kind, &of, &schema),
        });
        write(paths, kind, &place, &name, &gvk, operations.collect());
    }
}

type Options = &'static [(&'static str, &'static str)];

/// The query parameters of subresources that are connections.
fn connection(subresource: &Subresource) -> Option<Options> {
    const STREAMS: Options = &[
        ("container", "string"),
        ("stderr", "boolean"),
        ("stdin", "boolean"),
        ("stdout", "boolean"),
        ("tty", "boolean"),
    ];
    const EXEC: Options = &[
        ("command", "string"),
        ("container", "string"),
        ("stderr", "boolean"),
        ("stdin", "boolean"),
        ("stdout", "boolean"),
        ("tty", "boolean"),
    ];
    match subresource {
        Subresource::Attach => Some(STREAMS),
        Subresource::Exec => Some(EXEC),
        Subresource::PortForward => Some(&[("ports", "integer")]),
        Subresource::Proxy => Some(&[("path", "string")]),
        _ => None,
    }
}

fn connect_methods(subresource: &Subresource) -> &'static [&'static str] {
    match subresource {
        Subresource::Proxy => &["get", "put", "post", "delete", "options", "head", "patch"],
        _ => &["get", "post"],
    }
}

fn connect(kind: &Kind, name: &str, method: &'static str, options: Options, with_path: bool) -> Operation {
    let to = name.to_lowercase();
    let tail = if with_path { " with a path" } else { "" };
    Operation {
        method,
        action: "connect",
        verb: format!("connect {}", upper_first(method)),
        description: format!("connect {} requests to {to} of {}{tail}", method.to_uppercase(), kind.kind),
        parameters: options.iter().map(|(name, ty)| Parameter::query(name, ty, "")).collect(),
        body: None,
        answers: anything(),
    }
}

fn log(kind: &Kind, of: &str) -> Operation {
    const OPTIONS: Options = &[
        ("container", "string"),
        ("follow", "boolean"),
        ("insecureSkipTLSVerifyBackend", "boolean"),
        ("limitBytes", "integer"),
        ("previous", "boolean"),
        ("sinceSeconds", "integer"),
        ("stream", "string"),
        ("tailLines", "integer"),
        ("timestamps", "boolean"),
    ];
    let parameters = OPTIONS.iter().map(|(name, ty)| Parameter::query(name, ty, "")).collect();
    Operation { parameters, answers: text(), ..read(&kind.kind, of, &json!({})) }
}
