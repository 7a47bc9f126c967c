//! Says where JSON is malformed in Go's words, which clients show to people.
//!
//! Runs only after the real parser failed, so it is written to be plain, not fast.

/// `invalid character 'x' looking for beginning of value`, `unexpected end of JSON input`.
pub(super) fn fault(body: &[u8]) -> String {
    let mut scanner = Scanner { body, at: 0 };
    match scanner.value(0).and_then(|()| scanner.end()) {
        Ok(()) => "invalid JSON".into(),
        Err(text) => text,
    }
}

/// Levels of nesting that the reader takes, and so this scanner, which must not exhaust the stack either.
/// Upstream's limit is 10,000; no object needs a hundred.
const MAX_DEPTH: usize = 127;

struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

type Scan = Result<(), String>;

impl Scanner<'_> {
    fn value(&mut self, depth: usize) -> Scan {
        if depth > MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        self.blank();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' => {
                self.at += 1;
                self.digits("in numeric literal")
            }
            b'0'..=b'9' => self.digits(""),
            _ => self.wrong("looking for beginning of value"),
        }
    }

    fn object(&mut self, depth: usize) -> Scan {
        self.at += 1;
        self.blank();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blank();
            if self.peek()? != b'"' {
                return self.wrong("looking for beginning of object key string");
            }
            self.string()?;
            self.blank();
            if self.peek()? != b':' {
                return self.wrong("after object key");
            }
            self.at += 1;
            self.value(depth + 1)?;
            self.blank();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return self.wrong("after object key:value pair"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Scan {
        self.at += 1;
        self.blank();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.blank();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return self.wrong("after array element"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Scan {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                        b'u' => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return self.wrong("in \\u hexadecimal character escape");
                                }
                            }
                        }
                        _ => return self.wrong("in string escape code"),
                    }
                }
                0..=0x1f => return self.wrong("in string literal"),
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Scan {
        for (at, wanted) in word.bytes().enumerate() {
            if self.peek()? != wanted {
                let place = format!("in literal {word} (expecting {:?})", char::from(word.as_bytes()[at]));
                return self.wrong(&place);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A number from its first digit; `place` is where a missing digit is.
    fn digits(&mut self, place: &str) -> Scan {
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.run(),
            _ => return self.wrong(place),
        }
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return self.wrong("after decimal point in numeric literal");
            }
            self.run();
        }
        if matches!(self.body.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return self.wrong("in exponent of numeric literal");
            }
            self.run();
        }
        Ok(())
    }

    fn run(&mut self) {
        while self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Scan {
        self.blank();
        if self.at == self.body.len() { Ok(()) } else { self.wrong("after top-level value") }
    }

    fn blank(&mut self) {
        while matches!(self.body.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, String> {
        self.body.get(self.at).copied().ok_or_else(|| "unexpected end of JSON input".into())
    }

    fn wrong(&self, place: &str) -> Scan {
        let shown = match self.body[self.at] {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            byte @ 0x20..=0x7e => format!("'{}'", char::from(byte)),
            b'\n' => "'\\n'".to_owned(),
            b'\t' => "'\\t'".to_owned(),
            b'\r' => "'\\r'".to_owned(),
            byte @ 0x80.. => format!("'{}'", char::from(byte)),
            byte => format!("'\\x{byte:02x}'"),
        };
        Err(format!("invalid character {shown} {place}"))
    }
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (body, text) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1", "invalid character '1' after object key"),
            ("{\"a\":1 2", "invalid character '2' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1 2", "invalid character '2' after array element"),
            ("{} {", "invalid character '{' after top-level value"),
            ("nul1", "invalid character '1' in literal null (expecting 'l')"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("-", "unexpected end of JSON input"),
            ("-a", "invalid character 'a' in numeric literal"),
            ("1.a", "invalid character 'a' after decimal point in numeric literal"),
        ] {
            assert_eq!(fault(body.as_bytes()), text, "{body:?}");
        }
    }
}
