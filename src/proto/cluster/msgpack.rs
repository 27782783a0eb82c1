//! MessagePack as Node's encoders write it, straight from JSON text and attachments.

use bytes::Bytes;
use memchr::memchr2;
use rmp::encode as forms;

use super::Form;
use super::writer::placeholder;
use crate::proto::socketio::string_text;

/// Appends the value that this text is. `json` is valid; objects in it that are placeholders of these attachments become
/// binary values.
///
/// MessagePack says how long arrays and objects are before it says what is in them: the text is gone over twice, and
/// never recursively, because what this process makes may be nested as deep as it likes.
pub(super) fn transcode(out: &mut Vec<u8>, json: &str, attachments: &[Bytes], form: Form) {
    let mut lengths = lengths(json, attachments).into_iter();
    let mut next_len = || lengths.next().unwrap_or_default();
    let mut tokens = Tokens { json, at: 0, attachments };
    while let Some(token) = tokens.next() {
        match token {
            Token::Array => array_len(out, next_len()),
            Token::Object => map_len(out, next_len()),
            Token::Binary(data) => forms::write_bin(out, data).expect(INFALLIBLE),
            Token::String(raw) => text(out, &string_text(raw)),
            Token::Scalar("true") => forms::write_bool(out, true).expect(INFALLIBLE),
            Token::Scalar("false") => forms::write_bool(out, false).expect(INFALLIBLE),
            Token::Scalar("null") => forms::write_nil(out).expect(INFALLIBLE),
            Token::Scalar(digits) => number(out, digits, form),
            Token::Comma | Token::End => {}
        }
    }
}

/// How many elements or members each array and object has, in the order in which they begin.
fn lengths(json: &str, attachments: &[Bytes]) -> Vec<usize> {
    let mut lengths: Vec<usize> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut tokens = Tokens { json, at: 0, attachments };
    while let Some(token) = tokens.next() {
        match token {
            Token::Comma => {
                if let Some(&innermost) = open.last() {
                    lengths[innermost] += 1;
                }
                continue;
            }
            Token::End => {
                open.pop();
                continue;
            }
            _ => {}
        }
        // Something is in there: one more than there are commas.
        if let Some(&innermost) = open.last() {
            lengths[innermost] = lengths[innermost].max(1);
        }
        if matches!(token, Token::Array | Token::Object) {
            open.push(lengths.len());
            lengths.push(0);
        }
    }
    lengths
}

/// What JSON text consists of, but for whitespace and colons.
#[derive(Clone, Copy)]
enum Token<'a> {
    Array,
    Binary(&'a Bytes),
    Comma,
    End,
    Object,
    /// A number or a literal.
    Scalar(&'a str),
    /// With its quotes.
    String(&'a str),
}

struct Tokens<'a> {
    json: &'a str,
    at: usize,
    attachments: &'a [Bytes],
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let json = self.json.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r' | b':') = json.get(self.at) {
            self.at += 1;
        }
        let start = self.at;
        self.at += 1;
        Some(match json.get(start)? {
            b'[' => Token::Array,
            b'{' => match placeholder(&self.json[start..], self.attachments) {
                Some((data, len)) => {
                    self.at = start + len;
                    Token::Binary(data)
                }
                None => Token::Object,
            },
            b']' | b'}' => Token::End,
            b',' => Token::Comma,
            b'"' => {
                self.at = end_of_string(json, self.at);
                Token::String(&self.json[start..self.at])
            }
            _ => {
                let rest = &json[start..];
                let len = rest.iter().take_while(|&&byte| is_of_scalar(byte)).count();
                self.at = start + len.max(1);
                Token::Scalar(&self.json[start..self.at])
            }
        })
    }
}

fn is_of_scalar(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.')
}

/// After the closing quote of the string whose first character is `at`.
fn end_of_string(json: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', &json[at..]) {
        at += found + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    json.len()
}

/// A whole number is an integer in the smallest form. What does not fit into one is a float: Node's notepack drops bits
/// there, and reads floats.
fn number(out: &mut Vec<u8>, digits: &str, form: Form) {
    let exact = form == Form::Notepack;
    if let Some(value) = digits.parse::<u64>().ok().filter(|&value| exact || value < TWO_TO_THE_53) {
        forms::write_uint(out, value).expect(INFALLIBLE);
        return;
    }
    if let Some(value) =
        digits.parse::<i64>().ok().filter(|value| exact || value.unsigned_abs() < TWO_TO_THE_53)
    {
        forms::write_sint(out, value).expect(INFALLIBLE);
        return;
    }
    match digits.parse::<f64>() {
        Ok(value) if value.fract() == 0.0 && value.abs() < TWO_TO_THE_53 as f64 => {
            forms::write_sint(out, value as i64).expect(INFALLIBLE);
        }
        Ok(value) if value.is_finite() => forms::write_f64(out, value).expect(INFALLIBLE),
        // "1e999" is Infinity in JavaScript, which in JSON is null.
        _ => forms::write_nil(out).expect(INFALLIBLE),
    }
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    forms::write_str(out, text).expect(INFALLIBLE);
}

pub(super) fn array_len(out: &mut Vec<u8>, len: usize) {
    forms::write_array_len(out, short(len)).expect(INFALLIBLE);
}

pub(super) fn map_len(out: &mut Vec<u8>, len: usize) {
    forms::write_map_len(out, short(len)).expect(INFALLIBLE);
}

const TWO_TO_THE_53: u64 = 1 << 53;

const INFALLIBLE: &str = "a Vec takes all that is written to it";

fn short(len: usize) -> u32 {
    u32::try_from(len).expect("a message of four thousand million values does not fit into memory")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::proto::socketio::{Args, Map, Payload, Value, json_of};

    fn encoded(json: &str, attachments: &[Bytes], form: Form) -> Vec<u8> {
        let mut out = Vec::new();
        transcode(&mut out, json, attachments, form);
        out
    }

    #[track_caller]
    fn check(json: &str, notepack: &[u8], msgpack: &[u8]) {
        assert_eq!(encoded(json, &[], Form::Notepack), notepack, "{json}");
        assert_eq!(encoded(json, &[], Form::Msgpack), msgpack, "{json}");
    }

    #[track_caller]
    fn check_both(json: &str, bytes: &[u8]) {
        check(json, bytes, bytes);
    }

    #[test]
    fn values_have_the_forms_that_node_chooses() {
        check_both("null", b"\xc0");
        check_both("[true,false]", b"\x92\xc3\xc2");
        check_both("[]", b"\x90");
        check_both("{}", b"\x80");
        check_both(
            " [ [ ] , { \"a\" : [ 1 , 2 ] , \"b\" : { } } ] ",
            b"\x92\x90\x82\xa1a\x92\x01\x02\xa1b\x80",
        );
        check_both("\"\\n\\ud83d\\ude00\\\"\"", b"\xa6\n\xf0\x9f\x98\x80\"");
        check_both("\"\\ud83d\"", b"\xa3\xef\xbf\xbd");
        check_both("[\"a,b]\",\"\\\\\"]", b"\x92\xa4a,b]\xa1\\");
        check_both("[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", b"\xdc\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn numbers_have_the_width_of_javascripts() {
        check_both("[0,127,128,256]", b"\x94\x00\x7f\xcc\x80\xcd\x01\0");
        check_both("[-1,-32,-33,-129]", b"\x94\xff\xe0\xd0\xdf\xd1\xff\x7f");
        check_both("[-0,1.0,1e3]", b"\x93\x00\x01\xcd\x03\xe8");
        check_both("[1.5,1e999]", b"\x92\xcb\x3f\xf8\0\0\0\0\0\0\xc0");
        check_both("9007199254740991", b"\xcf\0\x1f\xff\xff\xff\xff\xff\xff");
        check("9007199254740992", b"\xcf\0\x20\0\0\0\0\0\0", b"\xcb\x43\x40\0\0\0\0\0\0");
        check("-9007199254740992", b"\xd3\xff\xe0\0\0\0\0\0\0", b"\xcb\xc3\x40\0\0\0\0\0\0");
        check_both("1e+21", b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50");
    }

    #[test]
    fn placeholders_are_binary_where_there_are_attachments() {
        let json =
            r#"[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0},{"_placeholder":true,"num":2}]"#;
        let attachments = [Bytes::from_static(b"a"), Bytes::new()];
        let plain = b"\x82\xac_placeholder\xc3\xa3num\x02";
        assert_eq!(
            encoded(json, &attachments, Form::Notepack),
            [b"\x93\xc4\0\xc4\x01a", &plain[..]].concat()
        );
        assert!(encoded(json, &[], Form::Notepack).starts_with(b"\x93\x82\xac_placeholder"));
    }

    #[test]
    fn timestamps_are_dates() {
        for (bytes, text) in [
            (&b"\xd6\xff\0\0\0\x01"[..], "1970-01-01T00:00:01.000Z"),
            (b"\xd7\xff\xa1\xa5\xd6\0\x69\x57\x35\xa5", "2026-01-02T03:04:05.678Z"),
            (b"\xd7\xff\0\0\0\x01\0\0\0\0", "2106-02-07T06:28:16.000Z"),
            (b"\xc7\x0c\xff\x3b\x8b\x87\xc0\xff\xff\xff\xff\xff\xff\xff\xff", "1969-12-31T23:59:59.999Z"),
            (b"\xc7\x0c\xff\x1d\xcd\x65\0\xff\xff\xff\xff\xed\x30\x08\x80", "1960-01-01T00:00:00.500Z"),
            (b"\xd7\0\0\0\0\0\0\0\x03\xe8", "1970-01-01T00:00:01.000Z"),
        ] {
            let (json, _) = json_of(&Bytes::from_static(bytes), 100).unwrap();
            assert_eq!(json, format!("\"{text}\""));
        }
        let (json, _) =
            json_of(&Bytes::from_static(&[0xc7, 12, 0xff, 0, 0, 0, 0, 0x7f, 0xff, 0, 0, 0, 0, 0, 0]), 100)
                .unwrap();
        assert_eq!(json, "null");
    }

    #[test]
    fn depth_costs_no_stack() {
        let json = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let bytes = encoded(&json, &[], Form::Msgpack);
        assert_eq!(bytes.len(), 200_000);
        assert!(json_of(&bytes.into(), usize::MAX).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-300..300).prop_map(Value::from),
            any::<f64>().prop_filter("in JSON", |number| number.is_finite()).prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(|data| Value::from(Bytes::from(data))),
        ];
        leaf.prop_recursive(4, 60, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::vec((".{0,4}", inner), 0..20)
                    .prop_map(|members| Value::from(members.into_iter().collect::<Map>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_come_back(values in proptest::collection::vec(value(), 0..4)) {
            let payload = Payload::ack(&Args(values.clone())).unwrap();
            for form in [Form::Notepack, Form::Msgpack] {
                let bytes = encoded(payload.json(), payload.attachments(), form);
                let (json, attachments) = json_of(&bytes.into(), usize::MAX).unwrap();
                let read = Payload::ack_from_json(json).unwrap().attach(attachments);
                // As JavaScript's numbers, 2⁵³ and all.
                prop_assert_eq!(read.values().unwrap(), values.clone());
            }
        }
    }
}
