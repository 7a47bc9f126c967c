//! Renders a Helm chart's own templates where there is no Helm, so that tests install what users install.
//!
//! Promise: the part of Helm's language that the chart uses (`if`, `range`, `define`, paths, pipelines of `include`,
//! `toYaml`, `nindent`, `quote`, `default`) means here what it means there; anything else panics by its name instead of
//! being rendered otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A piece of a template.
#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Print(String),
    If(String, Vec<Node>),
    Range(String, Vec<Node>),
}

/// A chart of a release, ready to render.
#[derive(Debug)]
pub struct Chart {
    files: Vec<Vec<Node>>,
    definitions: BTreeMap<String, Vec<Node>>,
    context: Value,
}

impl Chart {
    /// Reads a chart for `helm install RELEASE FOLDER --namespace NAMESPACE`.
    ///
    /// # Panics
    /// When a file is missing or is not what Helm would take.
    pub fn read(folder: &Path, release: &str, namespace: &str) -> Self {
        let yaml = |name: &str| -> Value {
            let text = std::fs::read_to_string(folder.join(name)).expect(name);
            serde_yaml_ng::from_str(&text).expect(name)
        };
        let about = yaml("Chart.yaml");
        let context = json!({
            "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
            "Chart": {"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
            "Values": yaml("values.yaml"),
        });
        let mut chart = Self { files: Vec::new(), definitions: BTreeMap::new(), context };
        let mut paths: Vec<_> = std::fs::read_dir(folder.join("templates"))
            .expect("templates")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).expect("a template");
            let mut pieces = pieces(&text).into_iter();
            let nodes = chart.nodes(&mut pieces, false);
            chart.files.push(nodes);
        }
        chart
    }

    /// `--set PATH=VALUE`.
    ///
    /// # Panics
    /// When the chart has no such value.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let pointer = format!("/Values/{}", path.replace('.', "/"));
        *self.context.pointer_mut(&pointer).unwrap_or_else(|| panic!("values.yaml has no {path}")) =
            value.into();
        self
    }

    /// The objects, in the order of the files.
    ///
    /// # Panics
    /// When what comes out is no YAML.
    pub fn objects(&self) -> Vec<Value> {
        let texts = self.files.iter().map(|nodes| self.text(nodes, &self.context));
        let documents = texts.flat_map(|text| {
            let documents = text.split("\n---\n").map(str::to_owned).collect::<Vec<_>>();
            documents.into_iter().filter(|document| !document.trim().is_empty())
        });
        documents
            .map(|text| serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
            .collect()
    }

    /// Nodes up to the end of the file, or of the block that they are in.
    fn nodes(&mut self, pieces: &mut impl Iterator<Item = Node>, inside: bool) -> Vec<Node> {
        let mut nodes = Vec::new();
        while let Some(piece) = pieces.next() {
            let Node::Print(action) = &piece else {
                nodes.push(piece);
                continue;
            };
            let (word, rest) = action.split_once(' ').unwrap_or((action, ""));
            match word {
                "if" => nodes.push(Node::If(rest.to_owned(), self.nodes(pieces, true))),
                "range" => nodes.push(Node::Range(rest.to_owned(), self.nodes(pieces, true))),
                "define" => {
                    let body = self.nodes(pieces, true);
                    self.definitions.insert(unquoted(rest), body);
                }
                "end" => {
                    assert!(inside, "an end without a beginning");
                    return nodes;
                }
                _ => nodes.push(piece),
            }
        }
        assert!(!inside, "a block has no end");
        nodes
    }

    fn text(&self, nodes: &[Node], dot: &Value) -> String {
        let mut text = String::new();
        for node in nodes {
            match node {
                Node::Text(piece) => text.push_str(piece),
                Node::Print(pipeline) => text.push_str(&shown(&self.value(pipeline, dot))),
                Node::If(pipeline, body) if holds(&self.value(pipeline, dot)) => {
                    text.push_str(&self.text(body, dot));
                }
                Node::If(..) => {}
                Node::Range(pipeline, body) => {
                    let items = self.value(pipeline, dot);
                    let items = items.as_array().unwrap_or_else(|| panic!("range over {items}"));
                    items.iter().for_each(|item| text.push_str(&self.text(body, item)));
                }
            }
        }
        text
    }

    /// What a pipeline gives: each stage takes the last one's value as its last argument.
    fn value(&self, pipeline: &str, dot: &Value) -> Value {
        let mut stages = pipeline.split('|').map(str::trim);
        let mut value = self.stage(stages.next().unwrap_or_default(), None, dot);
        for stage in stages {
            value = self.stage(stage, Some(value), dot);
        }
        value
    }

    fn stage(&self, stage: &str, piped: Option<Value>, dot: &Value) -> Value {
        let (word, rest) = stage.split_once(' ').unwrap_or((stage, ""));
        let mut arguments: Vec<Value> = rest.split_whitespace().map(|word| argument(word, dot)).collect();
        arguments.extend(piped);
        match (word, arguments.as_slice()) {
            (word, []) => argument(word, dot),
            ("include", [Value::String(name), dot]) => {
                let body = self.definitions.get(name).unwrap_or_else(|| panic!("nothing defines {name}"));
                self.text(body, dot).into()
            }
            ("toYaml", [value]) => {
                serde_yaml_ng::to_string(value).expect("YAML").trim_end_matches('\n').to_owned().into()
            }
            ("nindent", [columns, text]) => {
                let columns = usize::try_from(columns.as_u64().expect("columns")).expect("few");
                let pad = " ".repeat(columns);
                format!("\n{pad}{}", shown(text).replace('\n', &format!("\n{pad}"))).into()
            }
            ("quote", [value]) => format!("{:?}", shown(value)).into(),
            ("default", [other, value]) => if holds(value) { value } else { other }.clone(),
            _ => panic!("the renderer of tests does not know {stage:?}"),
        }
    }
}

/// Texts and actions, with the white space gone that `{{-` and `-}}` ask for.
fn pieces(text: &str) -> Vec<Node> {
    let (mut pieces, mut rest, mut trim) = (Vec::new(), text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, next) = after.split_once("}}").expect("an action has an end");
        let before = if trim { before.trim_start() } else { before };
        let before = if action.starts_with("- ") { before.trim_end() } else { before };
        trim = action.ends_with(" -");
        pieces.push(Node::Text(before.to_owned()));
        let action = action.strip_prefix("- ").unwrap_or(action);
        pieces.push(Node::Print(action.strip_suffix(" -").unwrap_or(action).trim().to_owned()));
        rest = next;
    }
    pieces.push(Node::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    pieces
}

/// A path, a quoted text or a number.
fn argument(word: &str, dot: &Value) -> Value {
    if word == "." {
        return dot.clone();
    }
    if let Some(path) = word.strip_prefix('.') {
        let mut at = dot;
        for part in path.split('.') {
            at = at.get(part).unwrap_or_else(|| panic!("there is no {word}"));
        }
        return at.clone();
    }
    if word.starts_with('"') {
        return unquoted(word).into();
    }
    word.parse::<u64>().map_or_else(|_| panic!("the renderer of tests does not know {word:?}"), Value::from)
}

fn unquoted(word: &str) -> String {
    word.trim().trim_matches('"').to_owned()
}

/// What an `if` takes as true.
fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !Map::is_empty(fields),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, values: &Value) -> String {
        let mut chart = Chart {
            files: Vec::new(),
            definitions: BTreeMap::new(),
            context: json!({"Values": values, "Chart": {"AppVersion": "1.2"}}),
        };
        let mut pieces = pieces(template).into_iter();
        let nodes = chart.nodes(&mut pieces, false);
        chart.text(&nodes, &chart.context)
    }

    /// The right sides are what Helm 3 renders.
    #[test]
    fn templates_come_out_as_helm_writes_them() {
        for (template, values, want) in [
            ("a: {{ .Values.x }}\n", json!({"x": 3}), "a: 3\n"),
            ("a: {{ .Values.x | quote }}\n", json!({"x": "*"}), "a: \"*\"\n"),
            ("{{- if .Values.x }}\na\n{{- end }}\n", json!({"x": true}), "\na\n"),
            ("{{- if .Values.x }}\na\n{{- end }}\n", json!({"x": false}), "\n"),
            (
                "args:\n{{- range .Values.x }}\n- {{ . | quote }}\n{{- end }}\nb",
                json!({"x": ["1", "2"]}),
                "args:\n- \"1\"\n- \"2\"\nb",
            ),
            (
                "x: {{- toYaml .Values.x | nindent 2 }}\n",
                json!({"x": {"b": {"c": 1}, "a": "50m"}}),
                "x:\n  a: 50m\n  b:\n    c: 1\n",
            ),
            ("{{ .Values.x | default .Chart.AppVersion }}", json!({"x": ""}), "1.2"),
            (
                "{{- define \"n\" -}}\nv: {{ .Values.x }}\n{{- end }}\nl: {{- include \"n\" . | nindent 2 }}",
                json!({"x": 1}),
                "\nl:\n  v: 1",
            ),
        ] {
            assert_eq!(render(template, &values), want, "{template}");
        }
    }

    #[test]
    #[should_panic(expected = "does not know \"upper\"")]
    fn what_is_not_known_is_not_guessed() {
        render("{{ .Values.x | upper }}", &json!({"x": "a"}));
    }
}
