//! Texts as JavaScript reads and measures them: whitespace, `Number(…)`, and lengths in UTF-16 units.

/// Whether JavaScript's `String.prototype.trim` removes it (`WhiteSpace` and `LineTerminator`).
pub(crate) fn is_whitespace(c: char) -> bool {
    matches!(
        c,
        '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}'
            | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}'
    )
}

/// `Number(text)`: NaN for what is no number.
pub(crate) fn number(text: &str) -> f64 {
    let text = text.trim_matches(is_whitespace);
    let radix = match text.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        _ => return decimal(text),
    };
    let digits = &text[2..];
    let digit = |sum: f64, c: char| c.to_digit(radix).map(|digit| sum * f64::from(radix) + f64::from(digit));
    match digits.chars().try_fold(0.0, digit) {
        Some(sum) if !digits.is_empty() => sum,
        _ => f64::NAN,
    }
}

/// Rust reads the same decimal forms, but also `inf` and `nan`, and not the empty string.
fn decimal(text: &str) -> f64 {
    match text {
        "" => 0.0,
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) => {
            text.parse().unwrap_or(f64::NAN)
        }
        _ => f64::NAN,
    }
}

/// `text.length`: how many UTF-16 units a text has. `utf8` is UTF-8.
pub(crate) fn utf16_len(utf8: &[u8]) -> usize {
    if utf8.is_ascii() {
        return utf8.len();
    }
    // A byte that continues no character begins one; those of four bytes are two units.
    utf8.iter().map(|&byte| usize::from(byte & 0xc0 != 0x80) + usize::from(byte >= 0xf0)).sum()
}

/// The first `units` UTF-16 units of a text; `None` if it has fewer, or if a character would be cut.
pub(crate) fn utf16_prefix(text: &str, units: usize) -> Option<&str> {
    // No character has fewer bytes than units.
    if text.as_bytes().get(..units)?.is_ascii() {
        return text.get(..units);
    }
    let mut missing = units;
    for (at, c) in text.char_indices() {
        if missing == 0 {
            return text.get(..at);
        }
        missing = missing.checked_sub(c.len_utf16())?;
    }
    (missing == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_by_the_function_number() {
        for (text, expected) in [
            ("", 0.0),
            (" \t\n\u{a0}\u{feff}", 0.0),
            (" 1 ", 1.0),
            ("01", 1.0),
            ("1e0", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+1", 1.0),
            ("-1", -1.0),
            ("0x1F", 31.0),
            ("0b101", 5.0),
            ("0o17", 15.0),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
        ] {
            assert_eq!(number(text), expected, "{text:?}");
        }
        for text in
            [".", "-", "1 2", "0x", "-0x1", "0xg", "inf", "nan", "infinity", "1_0", "1n", "é", "1e", "٣"]
        {
            assert!(number(text).is_nan(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn lengths_are_those_of_utf16(text in any::<String>(), units in 0usize..40) {
            let all: Vec<u16> = text.encode_utf16().collect();
            prop_assert_eq!(utf16_len(text.as_bytes()), all.len());
            let expected = all.get(..units).and_then(|units| String::from_utf16(units).ok());
            prop_assert_eq!(utf16_prefix(&text, units).map(str::to_owned), expected);
        }

        #[test]
        fn every_cut_of_a_text_is_found(text in "[a-cé€😀]{0,12}") {
            let mut units = 0;
            for (at, c) in text.char_indices() {
                prop_assert_eq!(utf16_prefix(&text, units), Some(&text[..at]));
                prop_assert!(c.len_utf16() == 1 || utf16_prefix(&text, units + 1).is_none());
                units += c.len_utf16();
            }
            prop_assert_eq!(utf16_prefix(&text, units), Some(&*text));
            prop_assert_eq!(utf16_prefix(&text, units + 1), None);
        }
    }
}
