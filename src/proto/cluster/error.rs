//! What can be wrong with a message of another server.

use std::fmt;

use crate::proto::socketio::{MsgpackError, ParserError};

/// Says why a message of another server cannot be read. It is to be ignored, and counted.
#[derive(Debug)]
#[non_exhaustive]
pub enum WireError {
    /// It is no JSON or MessagePack, or a key has another value than it should have.
    Malformed {
        /// What was found and what was expected.
        reason: Reason,
    },
    /// A key without which the message means nothing is not there.
    Missing {
        /// The key.
        key: &'static str,
    },
    /// The packet is no event that clients understand.
    NotAnEvent,
    /// The message is, or becomes, too large.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There is no type of this number.
    UnknownType,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Malformed { .. } => f.write_str("the message is malformed"),
            WireError::Missing { key } => write!(f, "the message has no \"{key}\""),
            WireError::NotAnEvent => f.write_str("the packet is no event that clients understand"),
            WireError::TooLarge { limit } => write!(f, "the message becomes more than {limit} bytes"),
            WireError::UnknownType => f.write_str("the message is of an unknown type"),
        }
    }
}

impl std::error::Error for WireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WireError::Malformed { reason } => Some(reason),
            _ => None,
        }
    }
}

impl WireError {
    pub(super) fn missing(key: &'static str) -> WireError {
        WireError::Missing { key }
    }

    /// What a [`ClusterParser`](super::ClusterParser) cannot read.
    pub(super) fn parser(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WireError {
        WireError::Malformed { reason: Reason(Repr::Parser(ParserError::new(error))) }
    }

    pub(super) fn malformed(what: &'static str) -> WireError {
        WireError::Malformed { reason: Reason(Repr::Text(what)) }
    }
}

/// What is wrong with a malformed message.
#[derive(Debug)]
pub struct Reason(Repr);

#[derive(Debug)]
enum Repr {
    Json(serde_json::Error),
    Msgpack(MsgpackError),
    Parser(ParserError),
    Text(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Json(error) => error.fmt(f),
            Repr::Msgpack(error) => error.fmt(f),
            Repr::Parser(error) => error.fmt(f),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Reason {}

impl From<serde_json::Error> for WireError {
    fn from(error: serde_json::Error) -> WireError {
        WireError::Malformed { reason: Reason(Repr::Json(error)) }
    }
}

impl From<MsgpackError> for WireError {
    fn from(error: MsgpackError) -> WireError {
        match error {
            MsgpackError::TooManyBytes { limit } => WireError::TooLarge { limit },
            error => WireError::Malformed { reason: Reason(Repr::Msgpack(error)) },
        }
    }
}
