//! The grammar of selector texts, as apimachinery's `labels.Parser`, with its error texts.

use std::collections::BTreeSet;

use super::lexer::{Kind, Token, tokens};
use super::{Operator, Requirement, SelectorError, check_key};

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Parses a whole selector.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        let token = parser.peek();
        match token.kind {
            Kind::End => return Ok(requirements),
            Kind::Identifier | Kind::Bang => {}
            _ => return fail(format!("found '{}', expected: !, identifier, or 'end of string'", token.text)),
        }
        let requirement = parser.requirement();
        requirements
            .push(requirement.map_err(|why| SelectorError(format!("unable to parse requirement: {why}")))?);
        let token = parser.take();
        match token.kind {
            Kind::End => return Ok(requirements),
            Kind::Comma if matches!(parser.peek().kind, Kind::Identifier | Kind::Bang) => {}
            Kind::Comma => {
                return fail(format!("found '{}', expected: identifier after ','", parser.peek().text));
            }
            _ => return fail(format!("found '{}', expected: ',' or 'end of string'", token.text)),
        }
    }
}

fn fail<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token where a value may stand: `in` and `notin` are words there.
    fn peek(&self) -> Token<'a> {
        let token = self.tokens[self.at.min(self.tokens.len() - 1)];
        match token.kind {
            Kind::In | Kind::NotIn => Token { kind: Kind::Identifier, ..token },
            _ => token,
        }
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn take_operator(&mut self) -> Token<'a> {
        let token = self.tokens[self.at.min(self.tokens.len() - 1)];
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.take();
        let absent = token.kind == Kind::Bang;
        if absent {
            token = self.take();
        }
        if token.kind != Kind::Identifier {
            return fail(format!("found '{}', expected: identifier", token.text));
        }
        let key = token.text;
        check_key("<nil>", key)?;
        if absent {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek().kind, Kind::End | Kind::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let token = self.take_operator();
        Ok(match token.kind {
            Kind::In => Operator::In,
            Kind::NotIn => Operator::NotIn,
            Kind::Equals => Operator::Equals,
            Kind::DoubleEquals => Operator::DoubleEquals,
            Kind::NotEquals => Operator::NotEquals,
            Kind::Greater => Operator::GreaterThan,
            Kind::Less => Operator::LessThan,
            _ => return fail(format!("found '{}', expected: {BINARY_OPERATORS}", token.text)),
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let open = self.take();
        if open.kind != Kind::Open {
            return fail(format!("found '{}' expected: '('", open.text));
        }
        match self.peek().kind {
            Kind::Close => {
                self.take();
                Ok(BTreeSet::new())
            }
            Kind::Identifier | Kind::Comma => {
                let first = self.peek();
                let values = self.list()?;
                if self.take().kind != Kind::Close {
                    return fail(format!("found '{}', expected: ')'", first.text));
                }
                Ok(values)
            }
            _ => fail(format!("found '{}', expected: ',', ')' or identifier", self.peek().text)),
        }
    }

    /// `a,b`, where a missing word stands for the empty value.
    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut values = BTreeSet::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::Identifier => {
                    values.insert(token.text.to_owned());
                    match self.peek().kind {
                        Kind::Comma => {}
                        Kind::Close => return Ok(values),
                        _ => return fail(format!("found '{}', expected: ',' or ')'", self.peek().text)),
                    }
                }
                Kind::Comma => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek().kind {
                        Kind::Close => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Kind::Comma => {
                            self.take();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                _ => return fail(format!("found '{}', expected: ',', or identifier", token.text)),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        match self.peek().kind {
            Kind::End | Kind::Comma => Ok(String::new()),
            Kind::Identifier => Ok(self.take().text.to_owned()),
            _ => fail(format!("found '{}', expected: identifier", self.peek().text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_are_upstreams() {
        let table = [
            ("=", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a in x", "unable to parse requirement: found 'x' expected: '('"),
            ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
            ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a=(", "unable to parse requirement: found '(', expected: identifier"),
            (
                "a>x",
                "unable to parse requirement: values: Invalid value: []string{\"x\"}: \
                 for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ];
        for (text, error) in table {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
        }
        let error = parse("-a=b").unwrap_err().to_string();
        let start = "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of";
        assert!(error.starts_with(start), "{error}");
    }
}
