//! ConnectError: why a client may not join a namespace.

use std::fmt;

use serde::Serialize;

use super::handshake::AuthError;
use crate::proto::socketio::{Packet, PacketKind, Payload, Value};

/// The refusal of a middleware. The client hears it as `connect_error`, with `message` and `data`.
///
/// # Example: a middleware that wants a token in the client's `auth`
/// ```
/// use ferrio::{ConnectError, Server, Socket};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Auth {
///     token: String,
/// }
///
/// async fn check_token(socket: Socket) -> Result<(), ConnectError> {
///     let auth: Auth = socket.handshake().auth()?;
///     if auth.token != "secret" {
///         return Err(ConnectError::new("bad token").with_data(&4001));
///     }
///     Ok(())
/// }
///
/// Server::new().use_(check_token);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectError {
    message: String,
    data: Option<Value>,
}

impl ConnectError {
    /// Makes a refusal with a message.
    pub fn new(message: impl Into<String>) -> ConnectError {
        ConnectError { message: message.into(), data: None }
    }

    /// Adds data, which the client finds in `error.data`. A value that cannot be serialized is left out, with a
    /// warning in the log.
    #[must_use]
    pub fn with_data<T: Serialize + ?Sized>(mut self, data: &T) -> ConnectError {
        match Payload::value(data).map(|payload| payload.args()) {
            Ok(Ok(value)) => self.data = Some(value),
            Ok(Err(error)) => tracing::warn!(%error, "the data of a ConnectError is left out"),
            Err(error) => tracing::warn!(%error, "the data of a ConnectError is left out"),
        }
        self
    }

    /// Gives the message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Gives the data.
    pub fn data(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// The packet that tells the client.
    pub(crate) fn to_packet(&self, namespace: &str) -> Packet {
        #[derive(Serialize)]
        struct Body<'a> {
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a Value>,
        }
        let body = Body { message: &self.message, data: self.data.as_ref() };
        let payload = Payload::value(&body).expect("texts and values have a JSON form");
        Packet::new(PacketKind::ConnectError, namespace).with_data(payload)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

impl From<&str> for ConnectError {
    fn from(message: &str) -> ConnectError {
        ConnectError::new(message)
    }
}

impl From<String> for ConnectError {
    fn from(message: String) -> ConnectError {
        ConnectError::new(message)
    }
}

/// The client is told what is wrong with its `auth`, e.g. ``auth: missing field `token` ``. Where it should not learn the
/// names and types of fields: `auth().map_err(|_| "unauthorized")?`.
impl From<AuthError> for ConnectError {
    fn from(error: AuthError) -> ConnectError {
        ConnectError::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(error: &ConnectError) -> String {
        error.to_packet("/").data.unwrap().json().to_string()
    }

    #[test]
    fn a_refusal_without_data_has_only_a_message() {
        assert_eq!(json(&ConnectError::new("no")), r#"{"message":"no"}"#);
    }

    #[test]
    fn falsy_data_is_sent() {
        assert_eq!(json(&ConnectError::new("no").with_data(&0)), r#"{"message":"no","data":0}"#);
    }

    #[test]
    fn binary_data_becomes_json_as_on_node() {
        let error = ConnectError::new("no").with_data(serde_bytes::Bytes::new(&[1, 2]));
        assert_eq!(json(&error), r#"{"message":"no","data":{"type":"Buffer","data":[1,2]}}"#);
    }
}
