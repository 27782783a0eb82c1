//! Refusal: why a request is refused, and the one mapping of that to HTTP.

use std::fmt;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::ResponseBody;
use crate::proto::engineio::TransportKind;

/// Why a request was refused; the codes and messages are Node's (`Server.errors`).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Code 0: `transport` is unknown or not enabled.
    UnknownTransport {
        /// The query's value.
        transport: Option<String>,
    },
    /// Code 1: no session has this id.
    UnknownSession {
        /// The query's value.
        sid: String,
    },
    /// Code 2: a handshake must be a GET.
    BadHandshakeMethod {
        /// The request's method.
        method: String,
    },
    /// Code 3: the session runs over another transport.
    TransportMismatch {
        /// The query's transport.
        transport: TransportKind,
        /// The session's.
        previous: TransportKind,
    },
    /// Code 3: the session was opened with another protocol revision.
    ProtocolMismatch {
        /// The revision the query asks for.
        protocol: u8,
        /// The session's.
        previous: u8,
    },
    /// Code 3: `transport=websocket` without a WebSocket handshake.
    TransportHandshake,
    /// Code 3: a middleware failed.
    Middleware {
        /// What it said.
        error: String,
    },
    /// Code 3: `generate_id` failed, or gave an id that is empty or taken.
    IdGeneration {
        /// What was wrong.
        error: String,
    },
    /// Code 4: `allow_request` refused.
    Forbidden {
        /// What it said.
        message: Option<String>,
    },
    /// The engine is closed, or drains: 503, code 3.
    Closed,
    /// Code 5: the protocol revision is not supported.
    UnsupportedProtocol {
        /// The revision the query asks for.
        protocol: u8,
    },
}

impl Refusal {
    /// Node's error code.
    pub fn code(&self) -> u8 {
        match self {
            Refusal::UnknownTransport { .. } => 0,
            Refusal::UnknownSession { .. } => 1,
            Refusal::BadHandshakeMethod { .. } => 2,
            Refusal::TransportMismatch { .. }
            | Refusal::ProtocolMismatch { .. }
            | Refusal::TransportHandshake
            | Refusal::Closed
            | Refusal::Middleware { .. }
            | Refusal::IdGeneration { .. } => 3,
            Refusal::Forbidden { .. } => 4,
            Refusal::UnsupportedProtocol { .. } => 5,
        }
    }

    /// Node's message for the code.
    pub fn message(&self) -> &'static str {
        match self.code() {
            0 => "Transport unknown",
            1 => "Session ID unknown",
            2 => "Bad handshake method",
            4 => "Forbidden",
            5 => "Unsupported protocol version",
            _ => "Bad request",
        }
    }

    /// What Node's `connection_error` event carries as `context`.
    pub fn context(&self) -> Value {
        match self {
            Refusal::UnknownTransport { transport: Some(transport) } => json!({ "transport": transport }),
            Refusal::UnknownTransport { transport: None } => json!({}),
            Refusal::UnknownSession { sid } => json!({ "sid": sid }),
            Refusal::BadHandshakeMethod { method } => json!({ "method": method }),
            Refusal::TransportMismatch { transport, previous } => json!({
                "name": "TRANSPORT_MISMATCH",
                "transport": transport.as_str(),
                "previousTransport": previous.as_str(),
            }),
            Refusal::ProtocolMismatch { protocol, previous } => json!({
                "name": "PROTOCOL_MISMATCH",
                "protocol": protocol,
                "previousProtocol": previous,
            }),
            Refusal::TransportHandshake => json!({ "name": "TRANSPORT_HANDSHAKE_ERROR" }),
            Refusal::Closed => json!({ "name": "SERVER_CLOSED" }),
            Refusal::Middleware { .. } => json!({ "name": "MIDDLEWARE_FAILURE" }),
            // How a JavaScript `Error` looks as JSON.
            Refusal::IdGeneration { .. } => json!({ "name": "ID_GENERATION_ERROR", "error": {} }),
            Refusal::Forbidden { message } => json!({ "message": message }),
            Refusal::UnsupportedProtocol { protocol } => json!({ "protocol": protocol }),
        }
    }

    /// What the client is told.
    fn text(&self) -> &str {
        match self {
            Refusal::Closed => "Service Unavailable",
            Refusal::Forbidden { message: Some(message) } if !message.is_empty() => message,
            _ => self.message(),
        }
    }

    /// The answer to an ordinary request: 400 (403 for code 4) and a JSON body, its keys in Node's order.
    pub(crate) fn to_response(&self) -> Response<ResponseBody> {
        let body = format!(r#"{{"code":{},"message":{}}}"#, self.code(), Value::from(self.text()));
        let mut response = Response::new(ResponseBody::new(Bytes::from(body)));
        *response.status_mut() = match self {
            Refusal::Closed => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if *self == Refusal::Closed {
            // Behind a balancer of TCP connections, the client's next one may reach a node that is there.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The answer to a WebSocket handshake: 400 and the message, then the connection ends.
    pub(crate) fn to_upgrade_response(&self) -> Response<ResponseBody> {
        let mut response = abort_upgrade(self.text());
        if *self == Refusal::Closed {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    /// The answer as raw bytes, for a WebSocket that Node refuses only after the 101.
    pub(crate) fn to_raw(&self) -> String {
        let message = self.text();
        format!(
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: {}\r\n\r\n{message}",
            message.len()
        )
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id of a session may be valid elsewhere, or have been.
        let sid = matches!(self, Refusal::UnknownSession { .. });
        let context = if sid { Value::Null } else { self.context() };
        f.debug_struct("Refusal").field("code", &self.code()).field("context", &context).finish()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::IdGeneration { error } | Refusal::Middleware { error } => {
                write!(f, "{}: {error}", self.message())
            }
            Refusal::Forbidden { message: Some(message) } => write!(f, "{}: {message}", self.message()),
            _ => f.write_str(self.message()),
        }
    }
}

/// 400 with `message` as text/html, then the connection ends: how Node refuses a WebSocket handshake.
pub(crate) fn abort_upgrade(message: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(Bytes::copy_from_slice(message.as_bytes())));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}
