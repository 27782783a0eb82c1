//! Finding one's way in JSON text without building anything: is it valid, where do its elements begin and end.

/// How deep arrays and objects may be nested. Node's parser has no limit; serde_json, which reads the values, has this
/// one, so that nobody's stack overflows.
pub(super) const MAX_DEPTH: u32 = 127;

/// What a JSON value is, as its first character says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonKind {
    Array,
    Bool,
    Null,
    Number,
    Object,
    String,
}

/// Goes over JSON text, one whole value after the other, without recursion or allocation.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
    /// Whether something was passed that serde_json does not read: an unpaired surrogate, a number beyond `f64`.
    unreadable: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(json: &'a str) -> Scanner<'a> {
        Scanner { json: json.as_bytes(), at: 0, unreadable: false }
    }

    pub(super) fn starting_at(json: &'a str, at: usize) -> Scanner<'a> {
        Scanner { json: json.as_bytes(), at, unreadable: false }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn unreadable(&self) -> bool {
        self.unreadable
    }

    /// Skips whitespace; the byte after it, if there is one.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.json.get(self.at) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    /// Takes this byte, whitespace before it included, if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Goes past one value which is nested at most `max_depth` deep; `None` if there is none.
    pub(super) fn value(&mut self, max_depth: u32) -> Option<JsonKind> {
        let kind = self.kind()?;
        let mut open = Nesting::new(max_depth);
        loop {
            let complete = match self.kind()? {
                JsonKind::Object => {
                    self.at += 1;
                    open.push(true)?;
                    let empty = self.take(b'}');
                    if empty {
                        open.pop();
                    } else {
                        self.key()?;
                    }
                    empty
                }
                JsonKind::Array => {
                    self.at += 1;
                    open.push(false)?;
                    let empty = self.take(b']');
                    if empty {
                        open.pop();
                    }
                    empty
                }
                JsonKind::String => self.string().map(|()| true)?,
                JsonKind::Number => self.number().map(|()| true)?,
                JsonKind::Bool | JsonKind::Null => self.literal().map(|()| true)?,
            };
            if complete && self.close(&mut open)? {
                return Some(kind);
            }
        }
    }

    /// After a value: goes past closing brackets to where the next value begins. True if nothing is open any more.
    fn close(&mut self, open: &mut Nesting) -> Option<bool> {
        while let Some(is_object) = open.innermost() {
            match (is_object, self.peek()?) {
                (true, b'}') | (false, b']') => {
                    self.at += 1;
                    open.pop();
                }
                (true, b',') => {
                    self.at += 1;
                    self.key()?;
                    return Some(false);
                }
                (false, b',') => {
                    self.at += 1;
                    return Some(false);
                }
                _ => return None,
            }
        }
        Some(true)
    }

    fn kind(&mut self) -> Option<JsonKind> {
        Some(match self.peek()? {
            b'{' => JsonKind::Object,
            b'[' => JsonKind::Array,
            b'"' => JsonKind::String,
            b'-' | b'0'..=b'9' => JsonKind::Number,
            b't' | b'f' => JsonKind::Bool,
            b'n' => JsonKind::Null,
            _ => return None,
        })
    }

    fn key(&mut self) -> Option<()> {
        (self.peek()? == b'"').then_some(())?;
        self.string()?;
        self.take(b':').then_some(())
    }

    fn literal(&mut self) -> Option<()> {
        let rest = &self.json[self.at..];
        let literal = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += literal.len();
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.at += usize::from(self.json[self.at] == b'-');
        match self.json.get(self.at)? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.json.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut may_overflow = self.at - start > 300;
        if let Some(b'e' | b'E') = self.json.get(self.at) {
            may_overflow = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.json.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        if may_overflow {
            let number: f64 = std::str::from_utf8(&self.json[start..self.at]).ok()?.parse().ok()?;
            self.unreadable |= number.is_infinite();
        }
        Some(())
    }

    /// One digit at least.
    fn digits(&mut self) -> Option<()> {
        let digits = self.json[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += digits;
        (digits > 0).then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = &self.json[self.at..];
            let plain = memchr::memchr2(b'"', b'\\', rest)?;
            // Looks at all of them, so that the compiler can take many at a time.
            let has_control = rest[..plain].iter().fold(false, |found, &b| found | (b < 0x20));
            if has_control {
                return None;
            }
            self.at += plain + 1;
            if rest[plain] == b'"' {
                return Some(());
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Option<()> {
        let letter = *self.json.get(self.at)?;
        self.at += 1;
        match letter {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            b'u' => {
                let unit = self.hex()?;
                let paired =
                    (0xd800..0xdc00).contains(&unit) && self.json[self.at..].starts_with(b"\\u") && {
                        self.at += 2;
                        let second = self.hex()?;
                        let low = (0xdc00..0xe000).contains(&second);
                        if !low {
                            self.at -= 6;
                        }
                        low
                    };
                self.unreadable |= (0xd800..0xe000).contains(&unit) && !paired;
            }
            _ => return None,
        }
        Some(())
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = self.json.get(self.at..self.at + 4)?;
        let unit = digits.iter().try_fold(0, |unit, &digit| {
            let digit = char::from(digit).to_digit(16)?;
            Some(unit << 4 | digit as u16)
        });
        self.at += 4;
        unit
    }
}

/// The open arrays (0) and objects (1), the innermost in the lowest bit.
struct Nesting {
    bits: u128,
    depth: u32,
    max_depth: u32,
}

impl Nesting {
    fn new(max_depth: u32) -> Nesting {
        debug_assert!(max_depth <= u128::BITS);
        Nesting { bits: 0, depth: 0, max_depth }
    }

    fn push(&mut self, is_object: bool) -> Option<()> {
        (self.depth < self.max_depth).then_some(())?;
        self.bits = self.bits << 1 | u128::from(is_object);
        self.depth += 1;
        Some(())
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
    }

    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn is_valid(json: &str) -> bool {
        let mut scanner = Scanner::new(json);
        scanner.value(MAX_DEPTH).is_some() && scanner.peek().is_none()
    }

    fn is_unreadable(json: &str) -> bool {
        let mut scanner = Scanner::new(json);
        scanner.value(MAX_DEPTH).unwrap();
        scanner.unreadable()
    }

    fn check(json: &str) {
        assert_eq!(is_valid(json), serde_json::from_str::<IgnoredAny>(json).is_ok(), "{json}");
    }

    #[test]
    fn what_is_valid_is_what_serde_json_says() {
        for json in [
            "",
            " ",
            "1",
            "-",
            "-0",
            "01",
            "1.",
            ".5",
            "1.5e",
            "1e+",
            "1E-2",
            "+1",
            "truee",
            "tru",
            "null ",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\t\"",
            "[",
            "[]",
            "[1,]",
            "[,]",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \n}",
            "[[]]]",
            "[{]}",
            "[1 2]",
            "\u{feff}1",
            "[\u{a0}]",
            "{\"a\":[{}]}",
            "\"\\u00g0\"",
            "\"\\ud800\\u\"",
            "\"\\ud800\\u0041\"",
            "[1]x",
            "\"\\u+123\"",
        ] {
            check(json);
        }
    }

    #[test]
    fn what_serde_json_cannot_read_is_noticed() {
        for json in [
            r#""\ud800""#,
            r#""\ud800\ud800\udc00""#,
            r#""\udc00\ud800""#,
            "[1e400]",
            "-1e999",
            r#""\ud800\u0041""#,
        ] {
            assert!(is_unreadable(json), "{json}");
        }
        assert!(is_unreadable(&"9".repeat(310)));
        for json in [r#""\ud83d\ude00""#, r#""\ufffd""#, "1e-400", "1e308", r#""\\ud800""#] {
            assert!(!is_unreadable(json), "{json}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_valid(&nested(127)));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(127)).is_ok());
        assert!(!is_valid(&nested(128)));
        assert!(!is_valid(&"[".repeat(1_000_000)));
    }

    proptest! {
        #[test]
        fn any_text_of_json_characters_is_judged_as_by_serde_json(
            json in r#"([\[\]{},:" 01.eE+\-\\unt]|true|null|"a"|"a":|\\u[dD]8[0-9]0|\\u00e9){0,24}"#,
        ) {
            check(&json);
        }
    }
}
