//! Values as JavaScript writes them: number formatting, and what `JSON.stringify` makes of what `JSON.parse` read.

use std::borrow::Cow;
use std::collections::HashMap;

pub(super) use crate::proto::javascript::{is_whitespace, number};

/// Returns a number as `String(number)` writes it.
pub(super) fn number_to_string(number: f64) -> String {
    ryu_js::Buffer::new().format(number).to_owned()
}

/// Returns what `JSON.stringify(JSON.parse(json))` gives; `json` is valid and nested less deep than the decoder's limit.
///
/// Numbers lose what JavaScript cannot hold (`1.0` → `1`, `12345678901234567890` → `12345678901234567000`, `1e400` →
/// `null`), whitespace goes, escapes are the shortest, a repeated key keeps its first place and its last
/// value, and keys that look like array indices come first, in ascending order.
pub fn normalize(json: &str) -> Cow<'_, str> {
    let normalized = rewrite(json, LoneSurrogates::Keep);
    if normalized == json { Cow::Borrowed(json) } else { Cow::Owned(normalized) }
}

/// What becomes of an escaped half of a surrogate pair, which Rust's strings cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoneSurrogates {
    /// It stays, as JavaScript would write it: `\ud800`.
    Keep,
    /// It becomes U+FFFD, so that it can be read.
    Replace,
}

/// [`normalize`], with a choice.
pub(super) fn rewrite(json: &str, lone_surrogates: LoneSurrogates) -> String {
    let mut rewriter = Rewriter {
        json: json.as_bytes(),
        at: 0,
        out: Vec::with_capacity(json.len()),
        members: Vec::new(),
        lone_surrogates,
    };
    rewriter.value();
    String::from_utf8(rewriter.out).expect("whole characters were copied: only ASCII separates them")
}

/// Writes while it reads; recursion is bounded because the depth of `json` is.
struct Rewriter<'a> {
    json: &'a [u8],
    at: usize,
    out: Vec<u8>,
    /// The members of all open objects, the innermost's last: places in `out`.
    members: Vec<Member>,
    lone_surrogates: LoneSurrogates,
}

/// One `"key":value` in the output.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Rewriter<'_> {
    fn value(&mut self) {
        match self.peek() {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.literal(),
        }
    }

    fn array(&mut self) {
        self.copy();
        while self.peek() != b']' {
            if self.peek() == b',' {
                self.copy();
            }
            self.value();
        }
        self.copy();
    }

    fn object(&mut self) {
        self.copy();
        let first = self.members.len();
        while self.peek() != b'}' {
            if self.peek() == b',' {
                self.copy();
            }
            self.peek();
            let start = self.out.len();
            self.string();
            let key_end = self.out.len();
            self.peek();
            self.copy();
            self.value();
            self.members.push(Member { start, key_end, end: self.out.len() });
        }
        if !self.in_order(first) {
            self.put_in_order(first);
        }
        self.members.truncate(first);
        self.copy();
    }

    /// Whether the keys from `first` on are all different and none looks like an array index.
    fn in_order(&self, first: usize) -> bool {
        let keys = || self.members[first..].iter().map(|member| self.key(member));
        if keys().any(|key| array_index(key).is_some()) {
            return false;
        }
        let few = self.members.len() - first <= 12; // comparing these pairwise is cheaper than hashing them
        if few {
            return keys().enumerate().all(|(i, key)| !keys().take(i).any(|other| other == key));
        }
        let mut seen = std::collections::HashSet::with_capacity(self.members.len() - first);
        keys().all(|key| seen.insert(key))
    }

    fn put_in_order(&mut self, first: usize) {
        let start = self.members[first].start;
        let mut ordered: Vec<Member> = Vec::new();
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        for member in &self.members[first..] {
            match places.get(self.key(member)) {
                Some(&place) => ordered[place] = *member,
                None => {
                    places.insert(self.key(member), ordered.len());
                    ordered.push(*member);
                }
            }
        }
        ordered.sort_by_key(|member| array_index(self.key(member)).unwrap_or(u32::MAX)); // stable

        let members: Vec<&[u8]> = ordered.iter().map(|member| &self.out[member.start..member.end]).collect();
        let members = members.join(&b',');
        self.out.truncate(start);
        self.out.extend_from_slice(&members);
    }

    fn key(&self, member: &Member) -> &[u8] {
        &self.out[member.start + 1..member.key_end - 1]
    }

    fn number(&mut self) {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.json.get(self.at) {
            self.at += 1;
        }
        let text = &self.json[start..self.at];
        let exact = text.len() <= 15 && text != b"-0" && text[1..].iter().all(u8::is_ascii_digit);
        if exact {
            return self.out.extend_from_slice(text);
        }
        let number: f64 =
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        if number.is_finite() {
            self.out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
        } else {
            self.out.extend_from_slice(b"null");
        }
    }

    fn literal(&mut self) {
        while let Some(b'a'..=b'z') = self.json.get(self.at) {
            self.copy();
        }
    }

    fn string(&mut self) {
        self.copy();
        loop {
            let rest = &self.json[self.at..];
            let plain = memchr::memchr2(b'"', b'\\', rest).expect("a string of valid JSON ends");
            self.out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            if self.json[self.at] == b'"' {
                return self.copy();
            }
            self.escape();
        }
    }

    fn escape(&mut self) {
        let letter = self.json[self.at + 1];
        if letter != b'u' {
            self.at += 2;
            match letter {
                b'/' => self.out.push(b'/'),
                _ => self.out.extend_from_slice(&[b'\\', letter]),
            }
            return;
        }
        let first = self.code_unit().expect("four hexadecimal digits follow: the JSON is valid");
        let code_point = match first {
            0xd800..=0xdbff => match self.code_unit_ahead() {
                Some(second @ 0xdc00..=0xdfff) => {
                    self.at += 6;
                    0x10000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(second) - 0xdc00)
                }
                _ => u32::from(first),
            },
            _ => u32::from(first),
        };
        match char::from_u32(code_point) {
            Some(c) => self.push_char(c),
            None if self.lone_surrogates == LoneSurrogates::Replace => self.push_char('\u{fffd}'),
            None => self.out.extend_from_slice(format!("\\u{first:04x}").as_bytes()),
        }
    }

    /// Reads `\uxxxx` and goes past it.
    fn code_unit(&mut self) -> Option<u16> {
        let unit = self.code_unit_ahead()?;
        self.at += 6;
        Some(unit)
    }

    fn code_unit_ahead(&self) -> Option<u16> {
        let digits = self.json.get(self.at..self.at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// Writes a character of a string as `JSON.stringify` does.
    fn push_char(&mut self, c: char) {
        let short = match c {
            '"' => b'"',
            '\\' => b'\\',
            '\u{8}' => b'b',
            '\t' => b't',
            '\n' => b'n',
            '\u{c}' => b'f',
            '\r' => b'r',
            '\0'..='\u{1f}' => {
                return self.out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            _ => return self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    /// Skips whitespace; the byte after it.
    fn peek(&mut self) -> u8 {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.json.get(self.at) {
            self.at += 1;
        }
        self.json.get(self.at).copied().expect("valid JSON is complete")
    }

    /// Copies one byte.
    fn copy(&mut self) {
        self.out.push(self.json[self.at]);
        self.at += 1;
    }
}

/// A key that JavaScript orders by its number: a canonical decimal below 2³² − 1.
fn array_index(key: &[u8]) -> Option<u32> {
    let canonical = matches!(key, [b'0'] | [b'1'..=b'9', ..]) && key.len() <= 10;
    if !canonical || !key.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(key).ok()?.parse().ok().filter(|&index| index != u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded from Node 20: `JSON.stringify(JSON.parse(input))`.
    const RECORDED: &[(&str, &str)] = &[
        (r#"1.0"#, r#"1"#),
        (r#"1e3"#, r#"1000"#),
        (r#"-0"#, r#"0"#),
        (r#"-0.0"#, r#"0"#),
        (r#"0e5"#, r#"0"#),
        (r#"12345678901234567890"#, r#"12345678901234567000"#),
        (r#"123456789012345678901234567890"#, r#"1.2345678901234568e+29"#),
        (r#"1e21"#, r#"1e+21"#),
        (r#"1e20"#, r#"100000000000000000000"#),
        (r#"1e-7"#, r#"1e-7"#),
        (r#"0.000001"#, r#"0.000001"#),
        (r#"5e-324"#, r#"5e-324"#),
        (r#"1e400"#, r#"null"#),
        (r#"-1e400"#, r#"null"#),
        (r#"999999999999999"#, r#"999999999999999"#),
        (r#"9999999999999999"#, r#"10000000000000000"#),
        (r#"0.1e1"#, r#"1"#),
        (r#"100.00"#, r#"100"#),
        (r#"[ 1 , 2 ]"#, r#"[1,2]"#),
        (r#"{ "a" : [ ] , "b" : { } }"#, r#"{"a":[],"b":{}}"#),
        (r#""\/""#, r#""/""#),
        (r#""\u0041""#, r#""A""#),
        (r#""\u00e9""#, r#""é""#),
        (r#""\u001F""#, r#""\u001f""#),
        (r#""\u0008\u0009\u000a\u000c\u000d""#, r#""\b\t\n\f\r""#),
        (r#""\u0022\u005c""#, r#""\"\\""#),
        (r#""\b\t\n\f\r\"\\""#, r#""\b\t\n\f\r\"\\""#),
        (r#""\ud83d\ude00""#, r#""😀""#),
        (r#""\uD83D\uDE00""#, r#""😀""#),
        (r#""\uD800""#, r#""\ud800""#),
        (r#""\udc00\uD800""#, r#""\udc00\ud800""#),
        (r#""\ud800\ud800\udc00""#, r#""\ud800𐀀""#),
        (r#""\ud800\u0041""#, r#""\ud800A""#),
        (r#""\u2028\u007f""#, r#"" ""#),
        (r#""é""#, r#""é""#),
        (r#"{"b":1,"a":2}"#, r#"{"b":1,"a":2}"#),
        (r#"{"b":1,"a":2,"b":3}"#, r#"{"b":3,"a":2}"#),
        (r#"{"b":1,"\u0062":2}"#, r#"{"b":2}"#),
        (r#"{"2":1,"1":2,"a":3,"0":4}"#, r#"{"0":4,"1":2,"2":1,"a":3}"#),
        (
            r#"{"a":1,"10":2,"9":3,"01":4,"-1":5,"4294967294":6,"4294967295":7,"1.0":8}"#,
            r#"{"9":3,"10":2,"4294967294":6,"a":1,"01":4,"-1":5,"4294967295":7,"1.0":8}"#,
        ),
        (r#"{"99999999999":1,"1":2}"#, r#"{"1":2,"99999999999":1}"#),
        (r#"{"__proto__":{"x":1},"1":2}"#, r#"{"1":2,"__proto__":{"x":1}}"#),
        (r#"{"__proto__":1,"a":2,"__proto__":3}"#, r#"{"__proto__":3,"a":2}"#),
        (r#"{"":1,"":2}"#, r#"{"":2}"#),
        (r#"{"a":{"z":1,"5":{"b":1,"b":[1.0]}},"1":true}"#, r#"{"1":true,"a":{"5":{"b":[1]},"z":1}}"#),
        (r#"{"1":1,"1":2,"0":{"3":1,"2":null}}"#, r#"{"0":{"2":null,"3":1},"1":2}"#),
        (
            r#"[{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"a":14}]"#,
            r#"[{"a":14,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13}]"#,
        ),
        (r#"[true,false,null]"#, r#"[true,false,null]"#),
    ];

    #[test]
    fn json_is_rewritten_as_node_does() {
        for (input, output) in RECORDED {
            assert_eq!(normalize(input), *output, "{input}");
        }
    }

    #[test]
    fn normal_json_is_borrowed() {
        for (_, output) in RECORDED {
            assert!(matches!(normalize(output), Cow::Borrowed(_)), "{output}");
        }
    }

    #[test]
    fn unpaired_surrogates_can_be_replaced() {
        let rewritten = rewrite(r#"["\ud800","\ud83d\ude00"]"#, LoneSurrogates::Replace);
        assert_eq!(rewritten, "[\"\u{fffd}\",\"😀\"]");
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            r#"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?"#,
            r#""([a-c0-9 é]|\\u[dD][89a-f][0-9a-f]{2}|\\u00[0-9a-f]{2}|\\n){0,6}""#,
            Just("null".to_owned()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let key = r#""([a-b]|[0-3]){0,2}""#;
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" ,"))),
                proptest::collection::vec((key, inner), 0..16).prop_map(|members| {
                    let members: Vec<_> = members.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn rewriting_twice_changes_nothing_more(json in json()) {
            let once = normalize(&json).into_owned();
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&once).is_ok(), "{}", once);
            prop_assert_eq!(normalize(&once), once.as_str());
        }

        #[test]
        fn rewriting_keeps_the_value(json in json()) {
            let rewritten = rewrite(&json, LoneSurrogates::Replace);
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&json) {
                let rewritten: serde_json::Value = serde_json::from_str(&rewritten).unwrap();
                prop_assert!(same(&value, &rewritten), "{} {}", value, rewritten);
            }
        }
    }

    fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
        use serde_json::Value::{Array, Number, Object};
        match (a, b) {
            (Number(a), Number(b)) => a.as_f64() == b.as_f64(),
            (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Object(a), Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            _ => a == b,
        }
    }
}
