//! Cuts a selector text into tokens, as apimachinery's `labels.Lexer` does.

/// A token and the text it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    End,
    Open,
    Close,
    Comma,
    Bang,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Identifier,
}

const SPECIAL: &str = "=!(),><";

/// All tokens of a text, the last one is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let token = if rest.starts_with(is_special) { special(rest) } else { word(rest) };
        rest = rest[token.text.len()..].trim_start();
        tokens.push(token);
    }
    tokens.push(Token { kind: Kind::End, text: "" });
    tokens
}

fn is_special(letter: char) -> bool {
    SPECIAL.contains(letter)
}

fn word(rest: &str) -> Token<'_> {
    let end = rest.find(|letter| is_special(letter) || letter.is_ascii_whitespace()).unwrap_or(rest.len());
    let text = &rest[..end];
    let kind = match text {
        "in" => Kind::In,
        "notin" => Kind::NotIn,
        _ => Kind::Identifier,
    };
    Token { kind, text }
}

/// The longest operator that the text begins with.
fn special(rest: &str) -> Token<'_> {
    let known = |text| match text {
        "(" => Kind::Open,
        ")" => Kind::Close,
        "," => Kind::Comma,
        "!" => Kind::Bang,
        "=" => Kind::Equals,
        "==" => Kind::DoubleEquals,
        "!=" => Kind::NotEquals,
        ">" => Kind::Greater,
        "<" => Kind::Less,
        _ => Kind::Error,
    };
    let pair = rest.get(..2).map(|text| Token { kind: known(text), text });
    pair.filter(|token| token.kind != Kind::Error)
        .unwrap_or_else(|| Token { kind: known(&rest[..1]), text: &rest[..1] })
}
