//! EngineQuery: what the request target says (EIO, transport, sid, b64, j), read as Node reads it.

use std::fmt;

use super::Revision;

/// The parts of the query string that Engine.IO uses. Duplicate keys: the last wins; `+` is a space; percent
/// escapes are decoded (invalid UTF-8 replaced), as WHATWG URLSearchParams does. Values stay as given: verification
/// (order and error codes) is the engine's.
#[derive(Clone, Default, PartialEq, Eq)]
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

impl fmt::Debug for EngineQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The session id is a credential.
        f.debug_struct("EngineQuery")
            .field("eio", &self.eio)
            .field("transport", &self.transport)
            .field("sid", &self.sid.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
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
    pub fn revision(&self) -> Revision {
        if self.eio.as_deref() == Some("4") { Revision::V4 } else { Revision::V3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(query: &str) -> Option<String> {
        EngineQuery::parse(query).sid
    }

    #[test]
    fn the_parameters_of_engine_io_are_read() {
        let query = EngineQuery::parse("EIO=4&transport=polling&t=abc&sid=x&b64=1&j=0");
        let expected = EngineQuery {
            eio: Some("4".into()),
            transport: Some("polling".into()),
            sid: Some("x".into()),
            b64: true,
            j: Some("0".into()),
        };
        assert_eq!(query, expected);
        assert_eq!(EngineQuery::parse(""), EngineQuery::default());
    }

    #[test]
    fn the_last_of_duplicates_wins() {
        assert_eq!(sid("sid=a&sid=b"), Some("b".into()));
        assert_eq!(sid("sid=a&sid="), None);
        assert!(!EngineQuery::parse("b64=1&b64").b64);
    }

    #[test]
    fn escapes_are_read_as_urlsearchparams_does() {
        for (query, expected) in [
            ("sid=a+b%20c", "a b c"),
            ("s%69d=%31", "1"),
            ("sid=%zz%4", "%zz%4"),
            ("sid=%E0%A4", "\u{fffd}"),
            ("sid=%F0%9F%98%80", "😀"),
            ("&&sid=a=b&", "a=b"),
            ("sid=a;EIO=4", "a;EIO=4"),
        ] {
            assert_eq!(sid(query).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn only_an_exact_4_is_revision_4() {
        assert_eq!(EngineQuery::parse("EIO=4").revision(), Revision::V4);
        for query in ["EIO=04", "EIO=5", "EIO=", "", "eio=4"] {
            assert_eq!(EngineQuery::parse(query).revision(), Revision::V3, "{query}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_query_is_read_without_panic(query in ".*") {
            let _ = EngineQuery::parse(&query);
        }
    }
}
