//! Reads `supplement.txt`: facts about fields that neither crate carries.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

/// Facts by definition and JSON field name.
#[derive(Debug, Default)]
pub(crate) struct Supplement {
    facts: BTreeMap<(String, String), Fact>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Fact {
    /// `kept`, `written`, `nullable` or `dropped`: see the file.
    pub presence: Option<String>,
    pub number: Option<u32>,
    /// `atomic`, `set`, `map:KEY,KEY`.
    pub list: Option<String>,
    /// `STRATEGY:KEY`.
    pub patch: Option<String>,
    pub required: Option<bool>,
    pub values: Vec<String>,
    /// The Go type, as error texts name it.
    pub go: Option<String>,
    /// Said of a definition: one of its fields is set.
    pub union: bool,
}

impl Supplement {
    pub(crate) fn of(&self, definition: &str, field: &str) -> Fact {
        self.facts.get(&(definition.to_owned(), field.to_owned())).cloned().unwrap_or_default()
    }

    /// What the file says of fields that do not exist: a typing error, or a fact that upstream overtook.
    pub(crate) fn unused(&self, known: &BTreeSet<(String, String)>) -> Vec<String> {
        let unknown =
            |(definition, field): &&(String, String)| !known.contains(&(definition.clone(), field.clone()));
        self.facts.keys().filter(unknown).map(|(definition, field)| format!("{definition} {field}")).collect()
    }
}

pub(crate) fn read(text: &str) -> Result<Supplement> {
    let mut supplement = Supplement::default();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let fact = words.next().context("a line begins with its fact")?;
        let definition = full_name(words.next().with_context(|| format!("no definition in {line:?}"))?);
        if fact == "union" {
            supplement.facts.entry((definition, String::new())).or_default().union = true;
            continue;
        }
        for word in words {
            let (field, value) = word.split_once('=').unwrap_or((word, ""));
            let entry = supplement.facts.entry((definition.clone(), field.to_owned())).or_default();
            match fact {
                "kept" | "written" | "nullable" | "dropped" => entry.presence = Some(fact.to_owned()),
                "number" => {
                    entry.number = Some(value.parse().with_context(|| format!("number in {line:?}"))?)
                }
                "go" => entry.go = Some(value.to_owned()),
                "list" => entry.list = Some(value.to_owned()),
                "patch" => entry.patch = Some(value.to_owned()),
                "optional" => entry.required = Some(false),
                "required" => entry.required = Some(true),
                "values" => entry.values = value.split('|').map(str::to_owned).collect(),
                other => bail!("unknown fact {other:?}"),
            }
        }
    }
    Ok(supplement)
}

/// `core.v1.Pod` is short for `io.k8s.api.core.v1.Pod`.
fn full_name(short: &str) -> String {
    let prefix = match short.split('.').next().unwrap_or_default() {
        "meta" => "io.k8s.apimachinery.pkg.apis.",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis.",
        _ => "io.k8s.api.",
    };
    format!("{prefix}{short}")
}
