//! The few facts of an object that lists, watches and checks need without decoding it.
//!
//! Promise: made once, when an object is written or loaded; two allocations an object, because a server keeps one for
//! every object and every event of the history.

/// Name, namespace, UID, labels and selectable fields of an object, and whether it is being deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// All texts, one after the other: name, namespace, UID, fields, then names and values of labels by turns.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
    /// How many of them are fields.
    fields: u16,
    deleting: bool,
}

/// What identifies an object within its kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.namespace`, empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
}

const NAME: usize = 0;
const NAMESPACE: usize = 1;
const UID: usize = 2;
const FIELDS: usize = 3;

impl Header {
    /// Gathers the facts. `fields` are the kind's selectable fields in the order of its row.
    pub fn new<'a>(
        identity: Identity<'a>,
        fields: impl IntoIterator<Item = impl AsRef<str>>,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        deleting: bool,
    ) -> Self {
        let (mut text, mut ends) = (String::with_capacity(TEXT_HINT), Vec::with_capacity(PARTS_HINT));
        let mut add = |part: &str| {
            text.push_str(part);
            ends.push(u32::try_from(text.len()).expect("bodies are limited to a few MiB"));
        };
        [identity.name, identity.namespace, identity.uid].into_iter().for_each(&mut add);
        let mut count = 0;
        for field in fields {
            add(field.as_ref());
            count += 1;
        }
        labels.into_iter().for_each(|(name, value)| {
            add(name);
            add(value);
        });
        Self { text: text.into(), ends: ends.into(), fields: count, deleting }
    }

    /// The same facts but for one field, by its place in the kind's row.
    #[must_use]
    pub fn with_field(&self, index: usize, value: &str) -> Self {
        let mut text = String::with_capacity(self.text.len() + value.len());
        let mut ends = Vec::with_capacity(self.ends.len());
        for at in 0..self.ends.len() {
            text.push_str(if at == FIELDS + index { value } else { self.part(at) });
            ends.push(u32::try_from(text.len()).expect("bodies are limited to a few MiB"));
        }
        Self { text: text.into(), ends: ends.into(), fields: self.fields, deleting: self.deleting }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.part(NAME)
    }

    /// `metadata.namespace`, empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        self.part(NAMESPACE)
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.part(UID)
    }

    /// A selectable field by its place in the kind's row; empty if there is none.
    pub fn field(&self, index: usize) -> &str {
        if index < usize::from(self.fields) { self.part(FIELDS + index) } else { "" }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let first = FIELDS + usize::from(self.fields);
        (first..self.ends.len()).step_by(2).find(|at| self.part(*at) == name).map(|at| self.part(at + 1))
    }

    /// Whether `metadata.deletionTimestamp` is set.
    pub fn deleting(&self) -> bool {
        self.deleting
    }

    fn part(&self, at: usize) -> &str {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.ends.get(at).map_or("", |end| &self.text[start..*end as usize])
    }
}

/// Bytes and parts reserved at first.
const TEXT_HINT: usize = 256;
const PARTS_HINT: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_again() {
        let identity = Identity { name: "web", namespace: "", uid: "u-1" };
        let header = Header::new(identity, ["", "node-1"], [("app", "x"), ("tier", "")], true);
        assert_eq!((header.name(), header.namespace(), header.uid()), ("web", "", "u-1"));
        assert_eq!((header.field(0), header.field(1), header.field(2)), ("", "node-1", ""));
        assert_eq!(
            (header.label("app"), header.label("tier"), header.label("x")),
            (Some("x"), Some(""), None)
        );
        assert!(header.deleting());
        let changed = header.with_field(1, "node-22");
        assert_eq!(changed, Header::new(identity, ["", "node-22"], [("app", "x"), ("tier", "")], true));
        let empty = Header::default();
        assert_eq!((empty.name(), empty.field(0), empty.label("a"), empty.deleting()), ("", "", None, false));
    }
}
