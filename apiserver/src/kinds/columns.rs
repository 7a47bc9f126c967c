//! The columns of `kubectl get` and what many kinds' cells share: ages, lists, selectors.
//!
//! Promise: cells print as upstream's table printers print them. Source: kubernetes
//! `pkg/printers/internalversion`, apimachinery `pkg/util/duration`.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::read::Read;

/// A column of a kind's table.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `boolean`, `date` ...
    pub kind: Cow<'static, str>,
    /// `name` for the column that names the object, else mostly empty.
    pub format: Cow<'static, str>,
    pub description: Description,
    /// 0 is always shown, higher ones only with `-o wide`.
    pub priority: i32,
}

/// Where a column's description comes from.
#[derive(Clone, Debug)]
pub enum Description {
    Text(Cow<'static, str>),
    /// The description of a field of a schema definition: (`io.k8s.api.core.v1.PodSpec`, `nodeName`).
    Field(&'static str, &'static str),
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The column every kind begins with.
pub(super) fn name() -> Column {
    let mut column = Column::field("Name", OBJECT_META, "name");
    column.format = "name".into();
    column
}

/// The column most kinds end with.
pub(super) fn age() -> Column {
    Column::field("Age", OBJECT_META, "creationTimestamp")
}

impl Column {
    /// A column of text described in words.
    pub(super) fn text(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Description::Text(description.into()))
    }

    /// A column of text described by the schema's field.
    pub(super) fn field(name: &'static str, definition: &'static str, field: &'static str) -> Self {
        Self::new(name, Description::Field(definition, field))
    }

    /// The same column holding another type of cell.
    pub(super) fn of(mut self, kind: &'static str) -> Self {
        self.kind = kind.into();
        self
    }

    /// The same column, shown with `-o wide` only.
    pub(super) fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    fn new(name: &'static str, description: Description) -> Self {
        Self { name: name.into(), kind: "string".into(), format: "".into(), description, priority: 0 }
    }
}

/// The age of an object: `5m`, or `<unknown>` before it has a creation time.
pub(super) fn age_of(object: &Value, now: Timestamp) -> Value {
    since(object["metadata"].text("creationTimestamp"), now).into()
}

/// How long ago a time was, or `<unknown>`.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human_duration(now.as_second() - time.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A duration as upstream's `HumanDuration` shortens it: two units at most, fewer the longer it is.
pub(super) fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit}{small}{small_unit}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// Text, or `<none>` where there is none.
pub(super) fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// `a=b,c=d` in the order of the keys, or `<none>`.
pub(super) fn labels(labels: &Value) -> String {
    let pairs: Vec<_> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A `LabelSelector` as a selector string: `a=b,c in (x,y),!d`, or `<none>`.
pub(super) fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = selector
        .entries("matchLabels")
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        let mut values: Vec<_> = expression.list("values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    if parts.is_empty() {
        return "<none>".to_owned();
    }
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// Two columns for the containers of a pod template: names and images.
pub(super) fn containers() -> [Column; 2] {
    [
        Column::text("Containers", "Names of each container in the template.").wide(),
        Column::text("Images", "Images referenced by each container in the template.").wide(),
    ]
}

/// The cells of `containers` for a pod spec.
pub(super) fn container_cells(spec: &Value) -> [Value; 2] {
    ["name", "image"]
        .map(|field| joined(spec.list("containers").iter().map(|one| one.text(field)), ",").into())
}

/// The one column beside the name that kinds have whose table nobody designed.
pub(super) fn created_at() -> Vec<Column> {
    vec![name(), Column::field("Created At", OBJECT_META, "creationTimestamp").of("date")]
}

/// The cells of `created_at`.
pub(super) fn created_at_cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    vec![object["metadata"]["name"].clone(), object["metadata"]["creationTimestamp"].clone()]
}

/// Texts with something between.
pub(super) fn joined<'a>(texts: impl Iterator<Item = &'a str>, between: &str) -> String {
    texts.collect::<Vec<_>>().join(between)
}

/// A number that is 0 where absent.
pub(super) fn number(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

/// Counts the entries of a map or list.
pub(super) fn count(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.len().into(),
        Value::Array(list) => list.len().into(),
        _ => 0.into(),
    }
}

/// The first `max` of the texts, and how many more there are: `a,b,c + 2 more...`.
pub(super) fn at_most(texts: &[String], max: usize, between: &str) -> String {
    let shown = texts.iter().take(max).map(String::as_str);
    let text = joined(shown, between);
    if texts.len() > max { format!("{text} + {} more...", texts.len() - max) } else { text }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn durations_shorten_like_upstream() {
        let table = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86400, "8d"),
            (729 * 86400, "729d"),
            (730 * 86400, "2y"),
            (731 * 86400, "2y1d"),
            (8 * 365 * 86400, "8y"),
        ];
        for (seconds, text) in table {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
