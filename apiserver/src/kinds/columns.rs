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
