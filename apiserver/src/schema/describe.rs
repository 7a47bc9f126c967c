//! The descriptions of definitions and fields: compressed in the binary, inflated while somebody reads them.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

static COMPRESSED: &[u8] = include_bytes!("generated/descriptions.deflate");

/// All descriptions. Some 1.3 MB: to be dropped soon.
#[derive(Debug)]
pub(crate) struct Descriptions {
    text: String,
    /// Where each definition's lines begin, and the byte after them.
    places: HashMap<String, (usize, usize)>,
}

impl Descriptions {
    pub(crate) fn inflate() -> Self {
        let mut text = String::new();
        DeflateDecoder::new(COMPRESSED)
            .read_to_string(&mut text)
            .expect("the generated descriptions inflate");
        let mut places = HashMap::new();
        let starts: Vec<usize> = text.match_indices("\n=").map(|(at, _)| at + 1).collect();
        let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
        let ends = starts.iter().copied().skip(1).chain([text.len()]);
        for (start, end) in starts.iter().copied().zip(ends) {
            let name = text[start + 1..end].split([' ', '\n']).next().unwrap_or_default();
            places.insert(name.to_owned(), (start, end));
        }
        Self { text, places }
    }

    /// What a definition is for.
    pub(crate) fn of(&self, definition: &str) -> String {
        let line = self.lines(definition).next().unwrap_or_default();
        line.split_once(' ').map(|(_, text)| unescaped(text)).unwrap_or_default()
    }

    /// What a field is for.
    pub(crate) fn of_field(&self, definition: &str, field: &str) -> String {
        let mut lines = self.lines(definition).skip(1).filter_map(|line| line.split_once(' '));
        lines.find(|(name, _)| *name == field).map(|(_, text)| unescaped(text)).unwrap_or_default()
    }

    fn lines(&self, definition: &str) -> impl Iterator<Item = &str> {
        let (start, end) = self.places.get(definition).copied().unwrap_or_default();
        self.text[start..end].lines()
    }
}

/// `\n` for line ends, `\\` for backslashes.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.push(if characters.next() == Some('n') { '\n' } else { '\\' }),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_found_and_whole() {
        let descriptions = Descriptions::inflate();
        assert_eq!(descriptions.of("io.k8s.api.core.v1.PodSpec"), "PodSpec is a description of a pod.");
        let os = descriptions.of_field("io.k8s.api.core.v1.PodSpec", "os");
        assert!(
            os.contains("\n\nIf the OS field is set to linux, the following fields must be unset:"),
            "{os}"
        );
        assert_eq!(descriptions.of("io.k8s.api.core.v1.Nothing"), "");
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescaped(r"a\nb\\n"), "a\nb\\n");
    }
}
