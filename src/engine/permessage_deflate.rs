//! PerMessageDeflate: compression of WebSocket messages (RFC 7692): the options, and what is agreed upon with a client.

use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::config::ConfigError;
use super::upgrade::{Invalid, is_token};

/// The options of `permessage-deflate`, under the names of Node's `perMessageDeflate`.
///
/// Compression is off unless an [`EngineConfig`](super::EngineConfig) has these options, and is used only with clients
/// that offer it (browsers do, Node's client does). As on Node it costs more than it saves for most applications: turn it
/// on where messages are large texts and the network is the bottleneck.
///
/// While the server's context is taken over (the default, unless the client wishes otherwise), every message is compressed
/// for every recipient anew, whatever its size, and a connection keeps about 300 KiB. With
/// [`server_no_context_takeover`](PerMessageDeflate::server_no_context_takeover) a message is compressed once for all its
/// recipients, and a connection keeps nothing: choose that for broadcasts or for many connections.
///
/// Node's `memLevel` has no counterpart here: it is always zlib's default, 8.
///
/// # Example: one compression per broadcast
/// ```
/// use ferrio::engine::{EngineConfig, PerMessageDeflate};
///
/// let mut deflate = PerMessageDeflate::default();
/// deflate.server_no_context_takeover = Some(true);
/// let mut config = EngineConfig::default();
/// config.per_message_deflate = Some(deflate);
/// # config.validate().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerMessageDeflate {
    /// Packets with fewer bytes than this are sent as they are. Default 1024. As on Node it matters only on connections
    /// without the server's context takeover: with it, small packets profit as well and all are compressed.
    pub threshold: usize,
    /// From 0 (store) and 1 (fastest) to 9 (smallest). Default 6, zlib's own.
    pub level: u8,
    /// Whether each message to the client is compressed on its own, so that neither side remembers earlier ones.
    /// `None`, the default: if the client wishes; `Some(true)`: always; `Some(false)`: never, and a client that insists is
    /// refused with 400.
    pub server_no_context_takeover: Option<bool>,
    /// Whether clients must compress each message on its own. Default false: only if they wish. True saves about 50 KiB
    /// on each connection that sends compressed messages, and costs compression on what it sends.
    pub client_no_context_takeover: bool,
    /// The window of the server's compressor; a smaller one takes less memory on both sides and compresses less. A client
    /// that offers less than a given number is refused with 400. 8 is told to the client as it is; the compressor then
    /// keeps its distances within 256 bytes.
    pub server_max_window_bits: MaxWindowBits,
    /// The window of the clients' compressors. A client that does not let the server choose it, or offers less than a
    /// given number, is refused with 400: choose a number only if you know the clients.
    pub client_max_window_bits: MaxWindowBits,
}

/// A limit of the window in which a compressor looks back, as the base-2 logarithm of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxWindowBits {
    /// What the client offers; 15 (32 KiB) if it offers nothing. The default.
    #[default]
    AsOffered,
    /// This many, 8 to 15: imposed on every client.
    Bits(u8),
    /// Node's `false`: an offer to limit the server's window is not accepted (400 if the client offers nothing else), one
    /// to limit the client's window is passed over.
    Declined,
}

impl Default for PerMessageDeflate {
    fn default() -> PerMessageDeflate {
        PerMessageDeflate {
            threshold: 1024,
            level: 6,
            server_no_context_takeover: None,
            client_no_context_takeover: false,
            server_max_window_bits: MaxWindowBits::AsOffered,
            client_max_window_bits: MaxWindowBits::AsOffered,
        }
    }
}

impl PerMessageDeflate {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option whose value makes no sense, with what would.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.level > 9 {
            return Err(ConfigError {
                option: "per_message_deflate.level",
                value: self.level.to_string(),
                accepted: "0 to 9",
            });
        }
        for (option, bits) in [
            ("per_message_deflate.server_max_window_bits", self.server_max_window_bits),
            ("per_message_deflate.client_max_window_bits", self.client_max_window_bits),
        ] {
            match bits {
                MaxWindowBits::Bits(bits) if !(MIN_WINDOW_BITS..=MAX_WINDOW_BITS).contains(&bits) => {
                    return Err(ConfigError { option, value: bits.to_string(), accepted: "8 to 15" });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Answers what a client offers: the header of the answer and what holds from then on; `None` if it does not offer
    /// this extension.
    pub(crate) fn negotiate(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<(HeaderValue, Negotiated)>, Invalid> {
        let offers = offers(headers)?;
        if offers.is_empty() {
            return Ok(None);
        }
        // RFC 7692 lets a server go on without the extension; Node refuses the handshake.
        let offer = offers.iter().find(|offer| self.accepts(offer)).ok_or(Invalid::Extensions)?;
        let answer = self.answer(offer);
        Ok(Some((header(&answer), self.negotiated(&answer))))
    }

    fn accepts(&self, offer: &[Parameter]) -> bool {
        let client_bits = offer.iter().find_map(|parameter| match parameter {
            Parameter::ClientMaxWindowBits(bits) => Some(bits.unwrap_or(MAX_WINDOW_BITS)),
            _ => None,
        });
        if let MaxWindowBits::Bits(wanted) = self.client_max_window_bits
            && client_bits.is_none_or(|offered| wanted > offered)
        {
            return false;
        }
        offer.iter().all(|parameter| match (parameter, self.server_max_window_bits) {
            (Parameter::ServerNoContextTakeover, _) => self.server_no_context_takeover != Some(false),
            (Parameter::ServerMaxWindowBits(_), MaxWindowBits::Declined) => false,
            (Parameter::ServerMaxWindowBits(offered), MaxWindowBits::Bits(wanted)) => wanted <= *offered,
            _ => true,
        })
    }

    /// The parameters of the answer, in Node's order: the offer's, then those that only the server wishes.
    fn answer(&self, offer: &[Parameter]) -> Vec<Parameter> {
        let mut answer: Vec<Parameter> = offer
            .iter()
            .filter_map(|parameter| {
                match (parameter, self.server_max_window_bits, self.client_max_window_bits) {
                    (Parameter::ServerMaxWindowBits(_), MaxWindowBits::Bits(bits), _) => {
                        Some(Parameter::ServerMaxWindowBits(bits))
                    }
                    (Parameter::ClientMaxWindowBits(_), _, MaxWindowBits::Bits(bits)) => {
                        Some(Parameter::ClientMaxWindowBits(Some(bits)))
                    }
                    (Parameter::ClientMaxWindowBits(_), _, MaxWindowBits::Declined)
                    | (Parameter::ClientMaxWindowBits(None), _, _) => None,
                    (parameter, _, _) => Some(*parameter),
                }
            })
            .collect();
        if self.server_no_context_takeover == Some(true)
            && !answer.contains(&Parameter::ServerNoContextTakeover)
        {
            answer.push(Parameter::ServerNoContextTakeover);
        }
        if self.client_no_context_takeover && !answer.contains(&Parameter::ClientNoContextTakeover) {
            answer.push(Parameter::ClientNoContextTakeover);
        }
        if let MaxWindowBits::Bits(bits) = self.server_max_window_bits
            && !answer.contains(&Parameter::ServerMaxWindowBits(bits))
        {
            answer.push(Parameter::ServerMaxWindowBits(bits));
        }
        answer
    }

    fn negotiated(&self, answer: &[Parameter]) -> Negotiated {
        let mut negotiated = Negotiated {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_WINDOW_BITS,
            client_max_window_bits: MAX_WINDOW_BITS,
            threshold: self.threshold,
            level: self.level,
        };
        for parameter in answer {
            match *parameter {
                Parameter::ServerNoContextTakeover => negotiated.server_no_context_takeover = true,
                Parameter::ClientNoContextTakeover => negotiated.client_no_context_takeover = true,
                Parameter::ServerMaxWindowBits(bits) => negotiated.server_max_window_bits = bits,
                Parameter::ClientMaxWindowBits(bits) => {
                    negotiated.client_max_window_bits = bits.unwrap_or(MAX_WINDOW_BITS);
                }
            }
        }
        negotiated
    }
}

/// What holds on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub(crate) server_no_context_takeover: bool,
    pub(crate) client_no_context_takeover: bool,
    pub(crate) server_max_window_bits: u8,
    pub(crate) client_max_window_bits: u8,
    pub(crate) threshold: usize,
    pub(crate) level: u8,
}

/// The largest window of DEFLATE, and what holds where nothing is agreed upon.
pub(crate) const MAX_WINDOW_BITS: u8 = 15;
const MIN_WINDOW_BITS: u8 = 8;

const NAME: &str = "permessage-deflate";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameter {
    ServerNoContextTakeover,
    ClientNoContextTakeover,
    ServerMaxWindowBits(u8),
    /// In an offer without a value: the server may choose.
    ClientMaxWindowBits(Option<u8>),
}

impl Parameter {
    fn parse(parameter: &str) -> Result<Parameter, Invalid> {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name, Some(unquote(value)?)),
            None => (parameter, None),
        };
        match (name, value) {
            ("server_no_context_takeover", None) => Ok(Parameter::ServerNoContextTakeover),
            ("client_no_context_takeover", None) => Ok(Parameter::ClientNoContextTakeover),
            ("server_max_window_bits", Some(value)) => {
                window_bits(&value).map(Parameter::ServerMaxWindowBits)
            }
            ("client_max_window_bits", None) => Ok(Parameter::ClientMaxWindowBits(None)),
            ("client_max_window_bits", Some(value)) => {
                Ok(Parameter::ClientMaxWindowBits(Some(window_bits(&value)?)))
            }
            _ => Err(Invalid::Extensions),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Parameter::ServerNoContextTakeover => "server_no_context_takeover",
            Parameter::ClientNoContextTakeover => "client_no_context_takeover",
            Parameter::ServerMaxWindowBits(_) => "server_max_window_bits",
            Parameter::ClientMaxWindowBits(_) => "client_max_window_bits",
        }
    }
}

fn header(answer: &[Parameter]) -> HeaderValue {
    let mut text = NAME.to_owned();
    for parameter in answer {
        text.push_str("; ");
        text.push_str(parameter.name());
        if let Parameter::ServerMaxWindowBits(bits) | Parameter::ClientMaxWindowBits(Some(bits)) = parameter {
            text.push_str(&format!("={bits}"));
        }
    }
    HeaderValue::try_from(text).expect("tokens are a header value")
}

/// What a client offers of this extension, in its order of preference. As on Node, what is wrong anywhere in the header
/// (RFC 6455, section 9.1), or in any of these offers, makes the handshake invalid.
fn offers(headers: &HeaderMap) -> Result<Vec<Vec<Parameter>>, Invalid> {
    let mut offers = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        // No quoted string may hold a comma or semicolon: what is quoted is a token as well.
        for extension in value.to_str().map_err(|_| Invalid::Extensions)?.split(',') {
            let mut parts = extension.split(';').map(|part| part.trim_matches([' ', '\t']));
            let name = parts.next().filter(|name| is_token(name)).ok_or(Invalid::Extensions)?;
            let parameters: Vec<&str> = parts.collect();
            if !parameters.iter().all(|parameter| is_parameter(parameter)) {
                return Err(Invalid::Extensions);
            }
            if name == NAME {
                offers.push(offer(&parameters)?);
            }
        }
    }
    Ok(offers)
}

fn offer(parameters: &[&str]) -> Result<Vec<Parameter>, Invalid> {
    let mut offer: Vec<Parameter> = Vec::new();
    for parameter in parameters {
        let parameter = Parameter::parse(parameter)?;
        if offer.iter().any(|other| other.name() == parameter.name()) {
            return Err(Invalid::Extensions);
        }
        offer.push(parameter);
    }
    Ok(offer)
}

fn is_parameter(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some((name, value)) => is_token(name) && unquote(value).is_ok(),
        None => is_token(parameter),
    }
}

/// The value of a parameter: a token, or one in quotation marks.
fn unquote(value: &str) -> Result<String, Invalid> {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let value = match quoted {
        Some(quoted) => {
            // A backslash quotes the next character, which has to be one of a token here.
            let mut unquoted = String::with_capacity(quoted.len());
            let mut characters = quoted.chars();
            while let Some(character) = characters.next() {
                let character = if character == '\\' { characters.next() } else { Some(character) };
                unquoted.push(character.ok_or(Invalid::Extensions)?);
            }
            unquoted
        }
        None => value.to_owned(),
    };
    if is_token(&value) { Ok(value) } else { Err(Invalid::Extensions) }
}

fn window_bits(value: &str) -> Result<u8, Invalid> {
    // Node takes any spelling of a number: `010`, `1e1`, `9.0`.
    let range = f64::from(MIN_WINDOW_BITS)..=f64::from(MAX_WINDOW_BITS);
    match value.parse::<f64>() {
        Ok(bits) if range.contains(&bits) && bits.fract() == 0.0 => Ok(bits as u8),
        _ => Err(Invalid::Extensions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: PerMessageDeflate = PerMessageDeflate {
        threshold: 1024,
        level: 6,
        server_no_context_takeover: None,
        client_no_context_takeover: false,
        server_max_window_bits: MaxWindowBits::AsOffered,
        client_max_window_bits: MaxWindowBits::AsOffered,
    };

    /// The answer: the header, `-` for none, `400`.
    fn answer(options: &PerMessageDeflate, headers: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for header in headers {
            // Leading and trailing space is no part of a header's value.
            map.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::try_from(header.trim()).unwrap());
        }
        match options.negotiate(&map) {
            Ok(Some((header, _))) => header.to_str().unwrap().to_owned(),
            Ok(None) => "-".to_owned(),
            Err(Invalid::Extensions) => "400".to_owned(),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Checks rows of offer and answer, `P` being short for the extension's name.
    fn check(options: &PerMessageDeflate, rows: &[(&str, &str)]) {
        for (offer, expected) in rows {
            let (offer, expected) = (offer.replace('P', NAME), expected.replace('P', NAME));
            assert_eq!(answer(options, &[&offer]), expected, "{offer}");
        }
    }

    // All tables: what Node's engine.io 6.6.12 answers.

    #[test]
    fn offers_are_answered_as_by_node() {
        assert_eq!(NOTHING, PerMessageDeflate::default());
        assert_eq!(answer(&NOTHING, &[]), "-");
        let rows = [
            ("P", "P"),
            ("P; client_max_window_bits", "P"),
            ("P; client_max_window_bits=15", "P; client_max_window_bits=15"),
            ("P; client_max_window_bits=8", "P; client_max_window_bits=8"),
            ("P; client_max_window_bits=\"10\"", "P; client_max_window_bits=10"),
            ("P; client_max_window_bits=010", "P; client_max_window_bits=10"),
            ("P; client_max_window_bits=1e1", "P; client_max_window_bits=10"),
            ("P; client_max_window_bits=+9", "P; client_max_window_bits=9"),
            ("P; client_max_window_bits=9.0", "P; client_max_window_bits=9"),
            ("P; client_max_window_bits=7", "400"),
            ("P; client_max_window_bits=16", "400"),
            ("P; client_max_window_bits=", "400"),
            ("P; client_max_window_bits=abc", "400"),
            ("P; client_max_window_bits =10", "400"),
            ("P; client_max_window_bits= 10", "400"),
            ("P; server_max_window_bits", "400"),
            ("P; server_max_window_bits=15", "P; server_max_window_bits=15"),
            ("P; server_max_window_bits=8", "P; server_max_window_bits=8"),
            ("P; server_max_window_bits=\"12\"", "P; server_max_window_bits=12"),
            ("P; server_max_window_bits=7", "400"),
            ("P; server_max_window_bits=16", "400"),
            ("P; server_no_context_takeover", "P; server_no_context_takeover"),
            ("P; client_no_context_takeover", "P; client_no_context_takeover"),
            ("P; server_no_context_takeover=1", "400"),
            ("P; client_no_context_takeover=true", "400"),
            ("P; server_no_context_takeover=\"\"", "400"),
            (
                "P; server_max_window_bits=10; client_max_window_bits=11; client_no_context_takeover; \
                 server_no_context_takeover",
                "P; server_max_window_bits=10; client_max_window_bits=11; client_no_context_takeover; \
                 server_no_context_takeover",
            ),
            ("P\t;\tclient_max_window_bits\t", "P"),
            (
                "P; client_max_window_bits=10 ; server_no_context_takeover",
                "P; client_max_window_bits=10; server_no_context_takeover",
            ),
            ("P; foo", "400"),
            ("P; foo=1", "400"),
            ("P; Server_no_context_takeover", "400"),
            ("P; server_no_context_takeover; server_no_context_takeover", "400"),
            ("P; client_max_window_bits; client_max_window_bits=10", "400"),
            ("P; server_max_window_bits=10, P", "P; server_max_window_bits=10"),
            ("P, P; server_max_window_bits=10", "P"),
            ("P; server_max_window_bits=7, P", "400"),
            ("P; foo, P", "400"),
        ];
        check(&NOTHING, &rows);
    }

    #[test]
    fn other_extensions_are_ignored_if_they_are_well_formed() {
        let rows = [
            ("Permessage-Deflate", "-"),
            ("P2", "-"),
            ("foo", "-"),
            ("foo; bar=1", "-"),
            ("foo; a=\"\\b\"", "-"),
            ("foo, P", "P"),
            ("foo\t,\tP", "P"),
            ("foo; bar=\"a,b;c\", P", "400"),
            ("foo; bar=\"a\\\"b\", P", "400"),
            ("foo; bar=\"a b\", P", "400"),
            ("foo; bar=\"unterminated, P", "400"),
            ("foo; bar=\"a\\\", P", "400"),
            ("foo; a, P; b", "400"),
            ("foo, , P", "400"),
            ("", "400"),
            ("P;", "400"),
            ("P; ", "400"),
            ("P,", "400"),
            (",P", "400"),
            ("foo;;bar", "400"),
            ("foo bar", "400"),
            ("foo;bar baz", "400"),
            ("foo;a=b c", "400"),
            ("foo=1", "400"),
            ("@", "400"),
            ("foo;=1", "400"),
            ("foo; a=\"\"", "400"),
            ("foo; a=\"b\"c", "400"),
            ("foo; a=\"@\"", "400"),
            ("f\u{e9}", "400"),
        ];
        check(&NOTHING, &rows);
        assert_eq!(answer(&NOTHING, &["foo", NAME]), NAME);
        assert_eq!(answer(&NOTHING, &[NAME, "foo"]), NAME);
        assert_eq!(answer(&NOTHING, &[NAME, "permessage-deflate; foo"]), "400");
    }

    #[test]
    fn the_server_may_impose_or_decline_no_context_takeover() {
        let forced = PerMessageDeflate { server_no_context_takeover: Some(true), ..NOTHING };
        let rows = [
            ("P", "P; server_no_context_takeover"),
            ("P; client_max_window_bits", "P; server_no_context_takeover"),
            ("P; client_max_window_bits=8", "P; client_max_window_bits=8; server_no_context_takeover"),
            ("P; client_no_context_takeover", "P; client_no_context_takeover; server_no_context_takeover"),
        ];
        check(&forced, &rows);
        let declined = PerMessageDeflate { server_no_context_takeover: Some(false), ..NOTHING };
        check(&declined, &[("P", "P"), ("P; server_no_context_takeover", "400")]);
        check(&declined, &[("P; server_no_context_takeover, P", "P")]);
        let client = PerMessageDeflate { client_no_context_takeover: true, ..NOTHING };
        let rows = [
            ("P", "P; client_no_context_takeover"),
            ("P; server_no_context_takeover", "P; server_no_context_takeover; client_no_context_takeover"),
            (
                "P; client_no_context_takeover; server_no_context_takeover",
                "P; client_no_context_takeover; server_no_context_takeover",
            ),
        ];
        check(&client, &rows);
    }

    #[test]
    fn the_server_may_impose_or_decline_windows() {
        let server = PerMessageDeflate { server_max_window_bits: MaxWindowBits::Bits(10), ..NOTHING };
        let rows = [
            ("P", "P; server_max_window_bits=10"),
            ("P; server_max_window_bits=15", "P; server_max_window_bits=10"),
            ("P; server_max_window_bits=10", "P; server_max_window_bits=10"),
            ("P; server_max_window_bits=9", "400"),
            ("P; client_max_window_bits=8", "P; client_max_window_bits=8; server_max_window_bits=10"),
            ("P; server_no_context_takeover", "P; server_no_context_takeover; server_max_window_bits=10"),
        ];
        check(&server, &rows);
        let declined = PerMessageDeflate { server_max_window_bits: MaxWindowBits::Declined, ..NOTHING };
        let rows =
            [("P", "P"), ("P; server_max_window_bits=15", "400"), ("P; server_max_window_bits=10, P", "P")];
        check(&declined, &rows);

        let client = PerMessageDeflate { client_max_window_bits: MaxWindowBits::Bits(10), ..NOTHING };
        let rows = [
            ("P", "400"),
            ("P; client_max_window_bits", "P; client_max_window_bits=10"),
            ("P; client_max_window_bits=15", "P; client_max_window_bits=10"),
            ("P; client_max_window_bits=10", "P; client_max_window_bits=10"),
            ("P; client_max_window_bits=9", "400"),
            ("P; server_max_window_bits=10, P", "400"),
        ];
        check(&client, &rows);
        let declined = PerMessageDeflate { client_max_window_bits: MaxWindowBits::Declined, ..NOTHING };
        let rows = [
            ("P; client_max_window_bits", "P"),
            ("P; client_max_window_bits=8", "P"),
            ("P; client_max_window_bits=7", "400"),
        ];
        check(&declined, &rows);

        let all = PerMessageDeflate {
            server_no_context_takeover: Some(true),
            client_no_context_takeover: true,
            server_max_window_bits: MaxWindowBits::Bits(11),
            client_max_window_bits: MaxWindowBits::Bits(12),
            ..NOTHING
        };
        let answer = "P; client_max_window_bits=12; server_no_context_takeover; client_no_context_takeover; \
                      server_max_window_bits=11";
        check(&all, &[("P; client_max_window_bits", answer), ("P", "400")]);
    }

    #[test]
    fn what_is_agreed_upon_is_what_was_answered() {
        let mut headers = HeaderMap::new();
        let offer = "permessage-deflate; client_max_window_bits; client_no_context_takeover";
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(offer));
        let options = PerMessageDeflate {
            threshold: 5,
            level: 1,
            server_max_window_bits: MaxWindowBits::Bits(8),
            client_max_window_bits: MaxWindowBits::Bits(9),
            ..NOTHING
        };
        let expected = Negotiated {
            server_no_context_takeover: false,
            client_no_context_takeover: true,
            server_max_window_bits: 8,
            client_max_window_bits: 9,
            threshold: 5,
            level: 1,
        };
        assert_eq!(options.negotiate(&headers).unwrap().unwrap().1, expected);
        // Unless it is told otherwise, the client may use the largest window.
        let free = NOTHING.negotiate(&headers).unwrap().unwrap().1;
        assert_eq!((free.client_max_window_bits, free.server_max_window_bits), (15, 15));
    }

    #[test]
    fn an_option_that_makes_no_sense_is_named() {
        let bits = PerMessageDeflate { server_max_window_bits: MaxWindowBits::Bits(3), ..NOTHING };
        assert_eq!(
            bits.validate().unwrap_err().to_string(),
            "option per_message_deflate.server_max_window_bits is 3, accepted is 8 to 15"
        );
        let bits = PerMessageDeflate { client_max_window_bits: MaxWindowBits::Bits(16), ..NOTHING };
        assert_eq!(bits.validate().unwrap_err().option, "per_message_deflate.client_max_window_bits");
        let level = PerMessageDeflate { level: 10, ..NOTHING };
        assert_eq!(level.validate().unwrap_err().option, "per_message_deflate.level");
        NOTHING.validate().unwrap();
    }
}
