//! JSONP: polling through `<script>` elements and forms, for browsers without XMLHttpRequest level 2.
//!
//! An answer is a script that calls `___eio[index]` with the payload; a POST is a form whose field `d` is the
//! payload. Everything else is ordinary polling. `payload` here is text: a client without binary asks for base64.

use std::borrow::Cow;

/// The index of the callback that the handshake's `j` asks for: its digits, which cannot smuggle a script in.
pub(crate) fn index(j: &str) -> String {
    j.chars().filter(char::is_ascii_digit).collect()
}

/// The script that hands `payload` to the client's callback.
pub(crate) fn wrap(index: &str, payload: &str) -> String {
    let json = serde_json::to_string(payload).expect("text is always JSON");
    // Valid in JSON; in a script they ended the line, and with it the string, before ECMAScript 2019.
    let json = json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    format!("___eio[{index}]({json});")
}

/// The payload of a form: its field `d`, with the line feeds restored that the client had to escape, because
/// browsers change them in forms.
///
/// None when there is no `d`, or more than one: Node answers `ok` and does nothing.
pub(crate) fn payload_of_form(body: &str) -> Option<String> {
    let mut fields = body.split('&').take(MAX_FIELDS).filter_map(|field| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (decode(name) == "d").then_some(value)
    });
    let value = fields.next()?;
    match fields.next() {
        Some(_) => None,
        None => Some(restore_line_feeds(&decode(value))),
    }
}

/// Node's `querystring` reads no more, empty ones included.
const MAX_FIELDS: usize = 1000;

/// As Node's `querystring`: `+` is a space; escapes are UTF-8; what is no escape stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let text = text.replace('+', " ");
    if let Some(decoded) = decode_strictly(&text) {
        return Cow::Owned(decoded);
    }
    Cow::Owned(decode_leniently(&text))
}

/// `decodeURIComponent`: None where a `%` begins no escape, or the escapes are not UTF-8.
fn decode_strictly(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            bytes.push(escape(after)?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// `querystring.unescapeBuffer`: what is no escape stays, but of a UTF-16 unit only its lower byte. Text without any
/// escape never gets there.
fn decode_leniently(text: &str) -> String {
    let bytes = text.as_bytes();
    if !memchr::memchr_iter(b'%', bytes).any(|at| escape(&bytes[at + 1..]).is_some()) {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        match escape(after.as_bytes()) {
            Some(byte) if character == '%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| unit.to_le_bytes()[0]));
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The byte that two hexadecimal digits at the start of `digits` stand for.
fn escape(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// `\n` becomes a line feed, `\\n` becomes `\n`; of more backslashes one is lost.
fn restore_line_feeds(text: &str) -> String {
    let mut restored = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest.as_bytes(), b"\\n") {
        // The backslash found is the last one of its run.
        let before = &rest[..at];
        restored.push_str(before);
        restored.push(if before.ends_with('\\') { 'n' } else { '\n' });
        rest = &rest[at + 2..];
    }
    restored.push_str(rest);
    restored
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Expected values here and below are what engine.io 6.6.12 sent and emitted.
    #[test]
    fn the_index_is_the_digits_of_j() {
        for (j, expected) in [
            ("0", "0"),
            ("12", "12"),
            ("0003", "0003"),
            ("abc", ""),
            ("", ""),
            ("1a2b", "12"),
            ("-1", "1"),
            ("1.5", "15"),
            ("٣", ""),
            ("0];alert(1);[0", "010"),
        ] {
            assert_eq!(index(j), expected, "{j:?}");
        }
    }

    #[test]
    fn the_payload_is_a_string_of_a_script() {
        for (payload, expected) in [
            ("4a\u{2028}b\u{2029}c\u{1e}4two", r#"___eio[0]("4a\u2028b\u2029c\u001e4two");"#),
            (
                "4\"\\/\x08\x0c\n\r\t\0\x1f\x7f\u{1e}4two",
                "___eio[0](\"4\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\\u001e4two\");",
            ),
            ("4</script><!--", r#"___eio[0]("4</script><!--");"#),
            ("4:4😀é4:4two", r#"___eio[0]("4:4😀é4:4two");"#),
            ("bAQID\u{1e}4two", r#"___eio[0]("bAQID\u001e4two");"#),
            ("", r#"___eio[0]("");"#),
        ] {
            assert_eq!(wrap("0", payload), expected);
        }
        assert_eq!(wrap("", "6"), r#"___eio[]("6");"#);
    }

    #[test]
    fn the_payload_of_a_form_is_its_field_d() {
        for (body, expected) in [
            ("d=4hi", Some("4hi")),
            ("a=1&d=4z", Some("4z")),
            ("&&d=4k&&", Some("4k")),
            ("%64=4q", Some("4q")),
            ("d=4a=b", Some("4a=b")),
            ("d==4a", Some("=4a")),
            ("d=4a;d=4b", Some("4a;d=4b")),
            ("=4a&d=4b", Some("4b")),
            ("hasOwnProperty=1&__proto__=2&d=4h", Some("4h")),
            ("d=4k ", Some("4k ")),
            ("d", Some("")),
            ("d=", Some("")),
            ("", None),
            ("x=1", None),
            ("4hi", None),
            ("D=4a", None),
            (" d=4k", None),
            ("+d=4k", None),
            ("d[]=4h", None),
            ("d%5B%5D=4h", None),
            // Node's parser makes an array of these, which is no payload.
            ("d=4a&d=4b", None),
            ("d=4a&d=", None),
            ("d=&d=4b", None),
            ("d=4a&%64=4b", None),
        ] {
            assert_eq!(payload_of_form(body).as_deref(), expected, "{body:?}");
        }
    }

    #[test]
    fn escapes_are_read_as_node_reads_them() {
        for (value, expected) in [
            ("4a+b", "4a b"),
            ("4a%20b", "4a b"),
            ("4a%2Bb", "4a+b"),
            ("4é😀", "4é😀"),
            ("4%F0%9F%98%80", "4😀"),
            ("4x%1e4y", "4x\u{1e}4y"),
            ("4%e2%80%a8", "4\u{2028}"),
            ("4k%00", "4k\0"),
            // No escapes: kept.
            ("4%zz%4", "4%zz%4"),
            ("4a%2", "4a%2"),
            ("4a%", "4a%"),
            ("4a%u0041", "4a%u0041"),
            ("4é+%zz", "4é %zz"),
            // Escapes among what is none, or that are not UTF-8.
            ("4%zz%41", "4%zzA"),
            ("4%E9", "4\u{fffd}"),
            ("4%c3%28", "4\u{fffd}("),
            ("4%ED%A0%80", "4\u{fffd}\u{fffd}\u{fffd}"),
            ("4%C3é", "4\u{fffd}\u{fffd}"),
            ("4%C3😀Ť", "4\u{fffd}=\0d"),
        ] {
            assert_eq!(payload_of_form(&format!("d={value}")).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn line_feeds_are_restored() {
        for (value, expected) in [
            (r"4a\nb", "4a\nb"),
            (r"4a\\nb", r"4a\nb"),
            (r"4a\\\nb", r"4a\\nb"),
            (r"4a\\\\nb", r"4a\\\nb"),
            (r"4a%5Cnb", "4a\nb"),
            (r"4a%5C%5Cnb", r"4a\nb"),
            (r"4\%6e", "4\n"),
            (r"4a\tb", r"4a\tb"),
            (r"4\", r"4\"),
            (r"4\\", r"4\\"),
            (r"4\n\n", "4\n\n"),
            (r"4\\n\\n", r"4\n\n"),
            (r"4\n\\n", "4\n\\n"),
            ("4a\r\nb", "4a\r\nb"),
        ] {
            assert_eq!(payload_of_form(&format!("d={value}")).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn only_the_first_thousand_fields_are_read() {
        for filler in ["a=1&", "&", "a&"] {
            assert_eq!(payload_of_form(&(filler.repeat(999) + "d=4in")).as_deref(), Some("4in"));
            assert_eq!(payload_of_form(&(filler.repeat(1000) + "d=4late")), None);
        }
    }

    proptest! {
        #[test]
        fn a_script_holds_its_payload(payload in any::<String>(), j in any::<String>()) {
            let script = wrap(&index(&j), &payload);
            let json = script.split_once("](").and_then(|(_, rest)| rest.strip_suffix(");")).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(json).unwrap(), payload);
            let ends_line = json.contains(['\u{2028}', '\u{2029}', '\n', '\r']);
            prop_assert!(!ends_line);
        }

        /// Escaped the other way round: `\n` to `\\n`, line feeds to `\n`.
        #[test]
        fn a_form_holds_its_payload(payload in r"(\PC|[\n\\n&=%+é])*") {
            prop_assume!(!payload.contains("\\\n"));
            let escaped = payload.replace("\\n", "\\\\n").replace('\n', "\\n");
            let form = form_urlencoded::Serializer::new(String::new()).append_pair("d", &escaped).finish();
            prop_assert_eq!(payload_of_form(&form), Some(payload));
        }

        #[test]
        fn any_body_is_read(body in r"(d=|[\PC%&=+d\\n])*") {
            let _ = payload_of_form(&body);
        }
    }
}
