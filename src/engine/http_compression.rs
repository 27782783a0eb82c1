//! HttpCompression: gzip and deflate for the answers to polls; the choice of an encoding, and its making.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, GzBuilder};
use http::HeaderValue;
use http::header::{ACCEPT_ENCODING, HeaderMap};

use super::ConfigError;

/// Which answers to polls are compressed, and how well. WebSocket messages and the answers to POSTs never are.
///
/// The client has to accept gzip or deflate, and at least one of the packets must not have been sent with
/// `compress` off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpCompression {
    /// Bytes from which on an answer is compressed. Default 1024: below, little is saved. For JSONP it is the script
    /// that counts.
    pub threshold: usize,
    /// zlib's level, from 0 (none) to 9 (slowest). Default 6. Lower where the processor is busier than the network.
    pub level: u32,
}

impl Default for HttpCompression {
    fn default() -> HttpCompression {
        HttpCompression { threshold: 1024, level: 6 }
    }
}

impl HttpCompression {
    /// Compresses every answer, whatever its length: what Node's `httpCompression: true` does.
    pub fn everything() -> HttpCompression {
        HttpCompression { threshold: 0, ..HttpCompression::default() }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// A level that zlib does not have.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.level > 9 {
            return Err(ConfigError {
                option: "http_compression.level",
                value: self.level.to_string(),
                accepted: "a level from 0 to 9",
            });
        }
        Ok(())
    }

    /// What to do with an answer of `length` bytes to a request with these headers; None: it is sent as it is.
    pub(crate) fn encoding(&self, request: &HeaderMap, length: usize) -> Option<Encoding> {
        if length < self.threshold { None } else { negotiate(request) }
    }
}

/// A content coding. Polls are answered with deflate and gzip, files with Brotli as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    /// zlib's format (RFC 1950), as HTTP has it.
    Deflate,
    Gzip,
}

impl Encoding {
    /// The value of `Content-Encoding`.
    pub(crate) fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Brotli => "br",
            Encoding::Deflate => "deflate",
            Encoding::Gzip => "gzip",
        }
    }
}

/// Compresses an answer. Needs zlib's few hundred KiB while it runs (Brotli some MiB), and the result.
pub(crate) fn compress(bytes: &[u8], encoding: Encoding, level: u32) -> Vec<u8> {
    let zlib_level = Compression::new(level);
    let compressed = match encoding {
        Encoding::Brotli => {
            let mut encoder =
                brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, BROTLI_WINDOW_BITS);
            encoder.write_all(bytes).map(|()| encoder.into_inner())
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), zlib_level);
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        Encoding::Gzip => {
            let mut encoder = GzBuilder::new().operating_system(GZIP_UNIX).write(Vec::new(), zlib_level);
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
    };
    compressed.expect("writing into a Vec does not fail")
}

/// What Node's zlib writes into the header.
const GZIP_UNIX: u8 = 3;
const BROTLI_BUFFER: usize = 4096;
/// 4 MiB, Node's default.
const BROTLI_WINDOW_BITS: u32 = 22;

/// Chooses for the answer to a poll.
fn negotiate(request: &HeaderMap) -> Option<Encoding> {
    choose(request, &[Encoding::Gzip, Encoding::Deflate])
}

/// Chooses among `offered` by `Accept-Encoding` as Node's `accepts` package does, malformed ones included: the higher
/// q-value, then a name before `*`, then the client's order, then ours. Without the header nothing is compressed.
pub(crate) fn choose(request: &HeaderMap, offered: &[Encoding]) -> Option<Encoding> {
    let accepted: Vec<Accepted<'_>> = request
        .get_all(ACCEPT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .enumerate()
        .filter_map(|(position, entry)| Accepted::parse(entry, position))
        .collect();
    let wanted = offered.iter().filter_map(|&encoding| Some((encoding, preference(&accepted, encoding)?)));
    let best = wanted.reduce(|best, next| if next.1.is_before(best.1) { next } else { best });
    best.map(|(encoding, _)| encoding)
}

/// An entry of `Accept-Encoding`.
#[derive(Clone, Copy)]
struct Accepted<'a> {
    name: &'a [u8],
    /// NaN where it is no number.
    quality: f64,
    position: usize,
}

impl Accepted<'_> {
    /// `name; parameter; …`; None where there is more than one word before the first semicolon, or none.
    fn parse(entry: &[u8], position: usize) -> Option<Accepted<'_>> {
        let mut parts = entry.split(|&byte| byte == b';');
        let name = trim(parts.next()?);
        if name.is_empty() || name.iter().copied().any(is_space) {
            return None;
        }
        let quality = parts.map(trim).find_map(quality).unwrap_or(1.0);
        Some(Accepted { name, quality, position })
    }

    fn is_any(&self) -> bool {
        self.name == b"*"
    }

    fn is_before(&self, other: &Accepted<'_>) -> bool {
        if self.quality != other.quality {
            return self.quality > other.quality;
        }
        match (self.is_any(), other.is_any()) {
            (false, true) => true,
            (true, false) => false,
            _ => self.position < other.position,
        }
    }
}

/// The entry that speaks of this encoding: its name before `*`, then the highest q-value, then the last one. None
/// where it refuses.
fn preference<'a>(accepted: &'a [Accepted<'a>], encoding: Encoding) -> Option<&'a Accepted<'a>> {
    let is_named = |entry: &&Accepted<'_>| entry.name.eq_ignore_ascii_case(encoding.name().as_bytes());
    // As Node compares: what is not a number gives way to what follows it, and replaces what it follows.
    let better = |best: &'a Accepted<'a>, next: &'a Accepted<'a>| {
        if best.quality > next.quality { best } else { next }
    };
    let named = accepted.iter().filter(is_named).reduce(better);
    let chosen = named.or_else(|| accepted.iter().filter(|entry| entry.is_any()).reduce(better))?;
    (chosen.quality > 0.0).then_some(chosen)
}

/// The value of a parameter that is named `q`, in lower case; None for another parameter.
fn quality(parameter: &[u8]) -> Option<f64> {
    let mut parts = parameter.split(|&byte| byte == b'=');
    if parts.next()? != b"q" {
        return None;
    }
    Some(parse_float(parts.next().unwrap_or_default()))
}

/// JavaScript's `parseFloat`: the longest number at the start, NaN where there is none.
fn parse_float(text: &[u8]) -> f64 {
    let text = trim(text);
    let digits_at = |at: usize| text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    if text[sign..].starts_with(b"Infinity") {
        return if text[0] == b'-' { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let mut end = sign + digits_at(sign);
    if text.get(end) == Some(&b'.') {
        end += 1 + digits_at(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        if digits_at(exponent.min(text.len())) > 0 {
            end = exponent + digits_at(exponent);
        }
    }
    let number = str::from_utf8(&text[..end]).unwrap_or_default();
    number.parse().unwrap_or(f64::NAN)
}

/// What JavaScript counts as white space, of what a header's value may hold.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\xa0')
}

fn trim(text: &[u8]) -> &[u8] {
    let Some(start) = text.iter().position(|&byte| !is_space(byte)) else { return &[] };
    let end = text.iter().rposition(|&byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::{GzDecoder, ZlibDecoder};
    use proptest::prelude::*;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    /// The `Content-Encoding` of the answer, empty if it has none.
    fn choose(value: &[u8]) -> String {
        choose_of(&headers(&[value]), &[Encoding::Gzip, Encoding::Deflate])
    }

    fn choose_of(request: &HeaderMap, offered: &[Encoding]) -> String {
        let encoding = super::choose(request, offered);
        encoding.map_or_else(String::new, |encoding| encoding.header_value().to_str().unwrap().to_owned())
    }

    /// Each expected value is what engine.io 6.6.12 chose.
    #[test]
    fn the_clients_preference_counts() {
        for (value, expected) in [
            ("", ""),
            ("gzip", "gzip"),
            ("deflate", "deflate"),
            ("GZIP", "gzip"),
            ("gzip, deflate", "gzip"),
            ("deflate, gzip", "deflate"),
            ("br", ""),
            ("br, gzip", "gzip"),
            ("x-gzip", ""),
            ("identity", ""),
            ("identity;q=1, gzip;q=0.5", "gzip"),
            ("identity;q=0", ""),
            ("gzip;q=0", ""),
            ("gzip;q=0.000", ""),
            ("gzip;q=0, deflate", "deflate"),
            ("deflate;q=0, identity", ""),
            ("gzip;q=0.5, deflate;q=0.8", "deflate"),
            ("gzip;q=0.8, deflate;q=0.5", "gzip"),
            ("deflate;q=0.5, gzip;q=0.5", "deflate"),
            ("gzip ; q=0.5 , deflate", "deflate"),
            ("gzip;level=1;q=0", ""),
        ] {
            assert_eq!(choose(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn a_star_speaks_for_what_is_not_named() {
        for (value, expected) in [
            ("*", "gzip"),
            ("*;q=0", ""),
            ("*;q=0, gzip", "gzip"),
            ("*, gzip;q=0", "deflate"),
            ("gzip;q=0, *", "deflate"),
            ("gzip;q=0, deflate;q=0, *", ""),
            ("deflate;q=0, *", "gzip"),
            ("gzip;q=0.5, *;q=1", "deflate"),
            ("*;q=0.5, deflate;q=0.6", "deflate"),
            ("deflate, *", "deflate"),
            ("*, deflate", "deflate"),
            ("*;q=0.5, gzip;q=0.5", "gzip"),
            ("*;q=0.5, *;q=0", "gzip"),
            ("*;q=0,*", "gzip"),
        ] {
            assert_eq!(choose(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn of_duplicates_the_best_counts_and_then_the_last() {
        for (value, expected) in [
            ("gzip, gzip;q=0", "gzip"),
            ("gzip;q=0, gzip", "gzip"),
            ("gzip;q=0.1, gzip;q=0.9, deflate;q=0.5", "gzip"),
            ("gzip;q=0.9, gzip;q=0.1, deflate;q=0.5", "gzip"),
            ("gzip, deflate, gzip", "deflate"),
            ("deflate, gzip, deflate", "gzip"),
            ("gzip,deflate,gzip;q=0.5", "gzip"),
            ("gzip;q=NaN, gzip;q=0.5", "gzip"),
            ("gzip;q=0.5, gzip;q=NaN", ""),
        ] {
            assert_eq!(choose(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(negotiate(&headers(&[b"deflate", b"gzip"])), Some(Encoding::Deflate));
        assert_eq!(negotiate(&HeaderMap::new()), None);
    }

    #[test]
    fn malformed_entries_are_read_as_node_reads_them() {
        for (value, expected) in [
            (",,gzip,,", "gzip"),
            (";q=1, gzip", "gzip"),
            ("gzip deflate", ""),
            ("gzip/x", ""),
            ("gzip;", "gzip"),
            ("gzip;=q=0", "gzip"),
            ("gzip;q", ""),
            ("gzip;q=", ""),
            ("gzip;q==1", ""),
            ("gzip;q=1=0", "gzip"),
            ("gzip;q =0", "gzip"),
            ("gzip;Q=0", "gzip"),
            ("gzip;\tq=0", ""),
            ("gzip;q= 0", ""),
            ("gzip;q=abc", ""),
            ("gzip;q=\"1\"", ""),
            ("gzip;q=-1", ""),
            ("gzip;q=1.5, deflate", "gzip"),
            ("gzip;q=0.0001", "gzip"),
            ("gzip;q=0.5x, deflate;q=0.4", "gzip"),
            ("gzip;q=0.5 deflate", "gzip"),
            ("gzip;q=0.5.9, deflate;q=0.55", "deflate"),
            ("gzip;q=1e-1, deflate;q=0.2", "deflate"),
            ("gzip;q=0.2e1, deflate", "gzip"),
            ("gzip;q=1e", "gzip"),
            ("gzip;q=1e+", "gzip"),
            ("gzip;q=5., deflate;q=1", "gzip"),
            ("gzip;q=., deflate", "deflate"),
            ("gzip;q=+0.5", "gzip"),
            ("gzip;q=0x1", ""),
            ("gzip;q=+Infinity, deflate;q=5", "gzip"),
            ("gzip;q=-Infinity", ""),
            ("gzip;q=infinity", ""),
            ("gzip;q=0.5;q=0, deflate;q=0.2", "gzip"),
            ("gzip;q=0;q=1, deflate;q=0.2", "deflate"),
            ("gzip;q;q=0.1, deflate;q=0.2", "deflate"),
        ] {
            assert_eq!(choose(value.as_bytes()), expected, "{value:?}");
        }
        for (value, expected) in [
            (&b"\xe9, gzip"[..], "gzip"),
            (b"\xa0gzip\xa0", "gzip"),
            (b"gzip;\xa0q=\xa00", ""),
            (b"\x85gzip", ""),
            (b"gzip;\x85q=0", "gzip"),
        ] {
            assert_eq!(choose(value), expected, "{value:?}");
        }
    }

    /// Each expected value is what socket.io 4.8.4 chose for its client's files.
    #[test]
    fn files_may_be_brotli() {
        for (value, expected) in [
            ("br", "br"),
            ("BR", "br"),
            ("gzip, deflate, br", "gzip"),
            ("br, gzip", "br"),
            ("deflate, br", "deflate"),
            ("gzip;q=0.5, br;q=0.4", "gzip"),
            ("*", "br"),
            ("*, br;q=0", "gzip"),
            ("*,br;q=0,gzip;q=0", "deflate"),
            ("*;q=0.5, gzip;q=0.5", "gzip"),
            ("gzip;q=0.4, *;q=0.5", "br"),
            ("gzip, deflate;q=1, br;q=0.9", "gzip"),
            ("identity;q=1, gzip;q=0.5", "gzip"),
            ("zstd, br", "br"),
            ("br;q=0, gzip;q=0", ""),
            ("*;q=0", ""),
            ("identity", ""),
        ] {
            let headers = headers(&[value.as_bytes()]);
            let chosen = choose_of(&headers, &[Encoding::Brotli, Encoding::Gzip, Encoding::Deflate]);
            assert_eq!(chosen, expected, "{value:?}");
        }
    }

    #[test]
    fn the_threshold_is_inclusive() {
        let request = headers(&[b"gzip"]);
        let compression = HttpCompression::default();
        assert_eq!(compression.encoding(&request, 1023), None);
        assert_eq!(compression.encoding(&request, 1024), Some(Encoding::Gzip));
        assert_eq!(HttpCompression::everything().encoding(&request, 0), Some(Encoding::Gzip));
        assert_eq!(compression.encoding(&HeaderMap::new(), 1024), None);
    }

    #[test]
    fn a_level_that_zlib_does_not_have_is_refused() {
        let error = HttpCompression { level: 10, ..HttpCompression::default() }.validate().unwrap_err();
        assert_eq!(error.option, "http_compression.level");
        for level in 0..=9 {
            assert_eq!(HttpCompression { level, threshold: 0 }.validate(), Ok(()));
        }
    }

    /// The first bytes of Node's answers.
    #[test]
    fn the_headers_are_those_of_node() {
        for (encoding, level, expected) in [
            (Encoding::Gzip, 0, &b"\x1f\x8b\x08\0\0\0\0\0\x04\x03"[..]),
            (Encoding::Gzip, 1, b"\x1f\x8b\x08\0\0\0\0\0\x04\x03"),
            (Encoding::Gzip, 6, b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
            (Encoding::Gzip, 9, b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"),
            (Encoding::Deflate, 0, b"\x78\x01"),
            (Encoding::Deflate, 3, b"\x78\x5e"),
            (Encoding::Deflate, 6, b"\x78\x9c"),
            (Encoding::Deflate, 9, b"\x78\xda"),
        ] {
            let compressed = compress(b"4hello", encoding, level);
            assert_eq!(&compressed[..expected.len()], expected, "{encoding:?} {level}");
        }
    }

    fn inflate(compressed: &[u8], encoding: Encoding) -> Vec<u8> {
        let mut bytes = Vec::new();
        match encoding {
            Encoding::Brotli => brotli::Decompressor::new(compressed, 4096).read_to_end(&mut bytes).unwrap(),
            Encoding::Deflate => ZlibDecoder::new(compressed).read_to_end(&mut bytes).unwrap(),
            Encoding::Gzip => GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap(),
        };
        bytes
    }

    #[test]
    fn a_long_answer_becomes_short() {
        let bytes = vec![b'a'; 1_000_000];
        for encoding in [Encoding::Brotli, Encoding::Deflate, Encoding::Gzip] {
            let compressed = compress(&bytes, encoding, 6);
            assert!(compressed.len() < 2_000, "{}", compressed.len());
            assert_eq!(inflate(&compressed, encoding), bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_inflates_again(
            bytes in proptest::collection::vec(any::<u8>(), 0..5_000),
            level in 0_u32..10,
        ) {
            for encoding in [Encoding::Deflate, Encoding::Gzip] {
                let compressed = compress(&bytes, encoding, level);
                prop_assert_eq!(inflate(&compressed, encoding), bytes.clone());
                // Incompressible input costs at most nine bits a byte, at the fastest level.
                prop_assert!(compressed.len() <= bytes.len() * 9 / 8 + 100);
            }
        }

        #[test]
        fn any_header_is_read(value in proptest::collection::vec(0x20_u8..0x7f, 0..60)) {
            let _ = choose(&value);
        }
    }
}
