//! TestError: what a test client waited for in vain.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::proto::socketio::ArgsError;
use crate::server::{ConnectError, EmitError};

/// Says why a [`TestClient`](super::TestClient) did not get what it waited for.
#[derive(Debug)]
#[non_exhaustive]
pub enum TestError {
    /// The client is in the namespace already.
    AlreadyJoined,
    /// The arguments of an event are something else than was asked for.
    Args {
        /// The event, with its arguments.
        event: String,
        /// What is wrong with them.
        error: ArgsError,
    },
    /// The namespace is closed to the client: what a middleware said, or that there is no such namespace.
    Connect(ConnectError),
    /// Nothing comes any more.
    Disconnected {
        /// Who ended what.
        why: String,
        /// The events that nobody has asked for, with their arguments.
        arrived: Vec<String>,
    },
    /// A value cannot be serialized.
    Encode(EmitError),
    /// The server has refused the HTTP request that was to open the connection.
    Refused {
        /// The status of the answer; to a WebSocket it is always 400, as on Node.
        status: StatusCode,
        /// Its body: the reason, to a poll as JSON with `code` and `message`.
        body: String,
    },
    /// A header or the query cannot be sent.
    Request(http::Error),
    /// It did not come in time.
    Timeout {
        /// What.
        expected: String,
        /// The time.
        within: Duration,
        /// The events that nobody has asked for, with their arguments.
        arrived: Vec<String>,
    },
    /// Silence was expected.
    Unexpected {
        /// The events that came, with their arguments.
        arrived: Vec<String>,
    },
}

impl TestError {
    /// Gives what the client heard as `connect_error`, if it is that.
    pub fn connect_error(&self) -> Option<&ConnectError> {
        match self {
            TestError::Connect(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TestError::AlreadyJoined => f.write_str("the client is in this namespace already"),
            TestError::Args { event, .. } => {
                write!(f, "the arguments of {event} are something else than was asked for")
            }
            TestError::Connect(_) => f.write_str("the client is refused"),
            TestError::Disconnected { why, arrived } => {
                write!(f, "{why}; before, there came {}", Arrived(arrived))
            }
            TestError::Encode(_) => f.write_str("the packet could not be encoded"),
            TestError::Refused { status, body } => {
                write!(f, "the connection is refused with status {status}: {body}")
            }
            TestError::Request(_) => f.write_str("the client's request cannot be made"),
            TestError::Timeout { expected, within, arrived } => {
                write!(f, "{expected} did not come within {within:?}; there came {}", Arrived(arrived))
            }
            TestError::Unexpected { arrived } => {
                write!(f, "no event was expected; there came {}", Arrived(arrived))
            }
        }
    }
}

impl std::error::Error for TestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TestError::Args { error, .. } => Some(error),
            TestError::Connect(error) => Some(error),
            TestError::Encode(error) => Some(error),
            TestError::Request(error) => Some(error),
            _ => None,
        }
    }
}

/// What came, for a message.
struct Arrived<'a>(&'a [String]);

impl fmt::Display for Arrived<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { f.write_str(&self.0.join(", ")) }
    }
}
