//! HandshakeRequest: a compact copy of the request that opened a session.

use std::net::IpAddr;
use std::time::SystemTime;

/// Header names (lower case) and values in order of arrival, in one allocation each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Box<[(Box<str>, Box<[u8]>)]>,
}

impl Headers {
    /// The first value of `name` (lower case), if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl From<&http::HeaderMap> for Headers {
    fn from(headers: &http::HeaderMap) -> Headers {
        Headers { entries: headers.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().into())).collect() }
    }
}

/// The request that opened a session, without hyper's buffers.
#[derive(Clone, Debug)]
pub struct HandshakeRequest {
    /// Path and query as the client sent them.
    pub url: Box<str>,
    /// The headers.
    pub headers: Headers,
    /// The peer, where the host knows it.
    pub peer_address: Option<IpAddr>,
    /// Whether it came over TLS.
    pub secure: bool,
    /// When it came.
    pub time: SystemTime,
    /// Whether the client wants binary packets as base64 text over WebSocket, too (`b64` in the query).
    pub base64: bool,
}
