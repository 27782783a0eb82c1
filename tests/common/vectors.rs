//! Golden vectors of the codecs, recorded from Node: `protocol-tests/vectors/`, or the folder that the environment
//! variable `FERRIO_VECTORS` names.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // not every test uses all of it; helpers of tests

use std::path::PathBuf;

use serde_json::Value;

/// The rows of one codec in a file.
///
/// # Panics
/// If the file is missing, or has no such rows.
pub fn rows(file: &str, codec: &str) -> Vec<Row> {
    let folder = std::env::var_os("FERRIO_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-tests/vectors")),
        PathBuf::from,
    );
    let path = folder.join(file);
    let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let rows: Vec<Row> = rows.into_iter().map(Row).filter(|row| row.0["codec"] == codec).collect();
    assert!(!rows.is_empty(), "{} has no rows of {codec}", path.display());
    rows
}

/// Runs `check` over all rows of a codec, and prints how many Rust cannot hold (`check` gives `None` for them).
pub fn check_all(file: &str, codec: &str, mut check: impl FnMut(&Row) -> Option<()>) {
    let rows = rows(file, codec);
    let skipped: Vec<&str> = rows.iter().filter(|row| check(row).is_none()).map(Row::name).collect();
    assert!(skipped.len() < rows.len(), "{file}, {codec}: no row could be checked");
    println!("{file}, {codec}: {} rows, of which {} cannot be held: {skipped:?}", rows.len(), skipped.len());
}

/// One row of a file.
#[derive(Debug)]
pub struct Row(Value);

impl Row {
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Whether the row says what encoding gives.
    pub fn encodes(&self) -> bool {
        self.0.get("dir").is_none_or(|dir| dir == "encode")
    }

    /// Whether the row says what decoding gives.
    pub fn decodes(&self) -> bool {
        self.0.get("dir").is_none_or(|dir| dir == "decode") && self.0.get("decode_error").is_none()
    }

    /// What was encoded.
    pub fn packet(&self) -> &Value {
        &self.0["packet"]
    }

    /// What decoding yields.
    pub fn decoded(&self) -> &Value {
        self.0.get("decoded").unwrap_or(self.packet())
    }

    /// The messages on the wire; `None` if Rust cannot hold one of them.
    pub fn encoded(&self) -> Option<Vec<Data>> {
        self.0["encoded"].as_array().unwrap().iter().map(wire).collect()
    }

    /// The messages on the wire of a row that must fail.
    pub fn input(&self) -> Option<Vec<Data>> {
        self.0["input"].as_array().unwrap().iter().map(wire).collect()
    }
}

/// Text or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Text(String),
    Binary(Vec<u8>),
}

fn wire(message: &Value) -> Option<Data> {
    if let Some(text) = message.get("text") {
        return Some(Data::Text(text.as_str().unwrap().to_owned()));
    }
    if let Some(units) = message.get("utf16") {
        return utf16(units).map(Data::Text);
    }
    if let Some(hex) = message.get("hex") {
        return Some(Data::Binary(unhex(hex)));
    }
    let mut bytes =
        unhex(message.get("header").unwrap_or_else(|| panic!("an unknown kind of message: {message}")));
    let Some(Data::Binary(body)) = data(&message["body"]) else {
        panic!("a body that is no data: {message}")
    };
    bytes.extend(body);
    Some(Data::Binary(bytes))
}

/// A text, or one of the kinds of data that JSON does not have; `None` if Rust cannot hold it.
pub fn data(value: &Value) -> Option<Data> {
    if let Some(text) = value.as_str() {
        return Some(Data::Text(text.to_owned()));
    }
    let (kind, inner) = special(value).unwrap_or_else(|| panic!("no data: {value}"));
    match kind {
        "hex" => Some(Data::Binary(unhex(inner))),
        "repeat" => {
            Some(Data::Binary(unhex(&inner["hex"]).repeat(inner["count"].as_u64().unwrap() as usize)))
        }
        "utf16" => utf16(inner).map(Data::Text),
        other => panic!("data of an unknown kind: ${other}"),
    }
}

/// What stands for a value that JSON does not have: `{"$kind": …}`.
pub fn special(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let (key, inner) = object.iter().next()?;
    Some((key.strip_prefix('$')?, inner))
}

/// Bytes from hexadecimal digits.
pub fn unhex(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap();
    assert!(digits.len().is_multiple_of(2), "{digits}");
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// Text from UTF-16 units; `None` if a surrogate stands alone.
pub fn utf16(units: &Value) -> Option<String> {
    let units = units.as_str().unwrap().split_whitespace();
    let units: Vec<u16> = units.map(|unit| u16::from_str_radix(unit, 16).unwrap()).collect();
    String::from_utf16(&units).ok()
}
