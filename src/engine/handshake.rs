//! HandshakeRequest: a compact copy of the request that opened a session.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use super::hooks::RequestHead;
use super::jsonp::index;
use crate::proto::engineio::{EngineQuery, Revision, TransportKind};

/// Header names (lower case) and values in order of arrival.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Box<[Header]>,
}

#[derive(Clone, PartialEq, Eq)]
struct Header {
    name: Box<str>,
    value: Box<[u8]>,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their values may be credentials.
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Headers {
    /// The first value of `name` (lower case), if it is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|header| (&*header.name, &*header.value))
    }
}

impl fmt::Debug for HandshakeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Target and headers hold credentials.
        f.debug_struct("HandshakeRequest").field("peer_address", &self.peer_address).finish_non_exhaustive()
    }
}

impl From<&http::HeaderMap> for Headers {
    fn from(headers: &http::HeaderMap) -> Headers {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
            name: name.as_str().into(),
            value: value.as_bytes().into(),
        };
        Headers { entries: headers.iter().map(header).collect() }
    }
}

/// The request that opened a session, without hyper's buffers.
#[derive(Clone)]
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
    /// The protocol revision the client speaks.
    pub revision: Revision,
    /// The digits of `j` in the query, for a client that polls by JSONP.
    pub jsonp: Option<Box<str>>,
    extensions: http::Extensions,
}

impl HandshakeRequest {
    pub(crate) fn new(
        request: &RequestHead,
        query: &EngineQuery,
        transport: TransportKind,
        extensions: http::Extensions,
    ) -> HandshakeRequest {
        HandshakeRequest {
            url: request.uri().path_and_query().map_or("/", |target| target.as_str()).into(),
            headers: request.headers().into(),
            peer_address: request.peer().address,
            secure: request.peer().secure,
            time: SystemTime::now(),
            base64: query.b64,
            revision: query.revision(),
            jsonp: query
                .j
                .as_deref()
                .filter(|_| transport == TransportKind::Polling)
                .map(|j| index(j).into()),
            extensions,
        }
    }

    /// Gives what a middleware attached, by type: see [`Next::with_extension`](super::Next::with_extension).
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions.get()
    }
}
