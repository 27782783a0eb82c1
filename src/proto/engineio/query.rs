//! EngineQuery: what the request target says (EIO, transport, sid, b64, j), read as Node reads it.

/// The parts of the query string that Engine.IO uses. Duplicate keys: the last wins; `+` is a space; percent
/// escapes are decoded (invalid UTF-8 replaced), as WHATWG URLSearchParams does. Values stay as given: verification
/// (order and error codes) is the engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineQuery {
    /// `EIO`; Node: exactly `4` is revision 4, anything else (missing too) is 3.
    pub eio: Option<String>,
    /// `transport`.
    pub transport: Option<String>,
    /// `sid`; an empty one is read as none.
    pub sid: Option<String>,
    /// `b64` is present and not empty.
    pub b64: bool,
    /// `j`, the JSONP index.
    pub j: Option<String>,
}

impl EngineQuery {
    /// Reads a query string (without the `?`).
    pub fn parse(query: &str) -> EngineQuery {
        let mut parsed = EngineQuery::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "EIO" => parsed.eio = Some(value.into_owned()),
                "transport" => parsed.transport = Some(value.into_owned()),
                "sid" => parsed.sid = Some(value.into_owned()).filter(|sid| !sid.is_empty()),
                "b64" => parsed.b64 = !value.is_empty(),
                "j" => parsed.j = Some(value.into_owned()),
                _ => {}
            }
        }
        parsed
    }

    /// The protocol revision asked for: exactly `4` is 4, anything else (missing, too) is 3.
    pub fn protocol(&self) -> u8 {
        if self.eio.as_deref() == Some("4") { 4 } else { 3 }
    }
}
