//! What can be wrong with values on their way out and in.

use std::fmt;

use super::parser::ParserError;

/// Says why a value cannot be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum EncodeError {
    /// The parser (the server's, or the emitter's) has no form for it.
    Parser(ParserError),
    /// The event has a name that Socket.IO keeps for itself.
    ReservedEvent {
        /// The name.
        name: String,
    },
    /// The value refused to be serialized, or JSON has no form for it (a map with keys that are no strings).
    Value(JsonError),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Parser(_) => f.write_str("the parser cannot encode the packet"),
            EncodeError::ReservedEvent { name } => {
                write!(f, "\"{name}\" is a reserved event name, choose another one")
            }
            EncodeError::Value(_) => f.write_str("the arguments cannot be serialized"),
        }
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EncodeError::Parser(error) => Some(error),
            EncodeError::ReservedEvent { .. } => None,
            EncodeError::Value(error) => Some(error),
        }
    }
}

impl From<serde_json::Error> for EncodeError {
    fn from(error: serde_json::Error) -> EncodeError {
        EncodeError::Value(JsonError(error))
    }
}

/// Says why arguments cannot be read as what was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArgsError {
    /// An argument is something else than was asked for.
    Invalid {
        /// Which argument, from 0.
        index: usize,
        /// What was found and what was expected.
        reason: JsonError,
    },
    /// There are fewer arguments than were asked for.
    Missing {
        /// Which argument, from 0.
        index: usize,
    },
    /// The arguments together are not what was asked for.
    Unexpected {
        /// What was found and what was expected.
        reason: JsonError,
    },
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgsError::Invalid { index, reason } => write!(f, "argument {index}: {reason}"),
            ArgsError::Missing { index } => write!(f, "argument {index} is missing"),
            ArgsError::Unexpected { reason } => write!(f, "arguments: {reason}"),
        }
    }
}

impl std::error::Error for ArgsError {}

impl serde::de::Error for ArgsError {
    fn custom<T: fmt::Display>(message: T) -> ArgsError {
        ArgsError::Unexpected { reason: JsonError(serde::de::Error::custom(message)) }
    }
}

/// What serde said about a value.
pub struct JsonError(pub(super) serde_json::Error);

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The place within the text of one argument helps nobody.
        let message = self.0.to_string();
        let place = format!(" at line {} column {}", self.0.line(), self.0.column());
        f.write_str(message.strip_suffix(&place).unwrap_or(&message))
    }
}

impl fmt::Debug for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for JsonError {}
