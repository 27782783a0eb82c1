//! What clients of Socket.IO 1.x and 2.x (Engine.IO 3) do differently: they are in `/` from the start, send their
//! `auth` in the namespace's query, know ids that are derived from the session's, and expect bare errors.

use super::connect_error::ConnectError;
use super::socket::SocketId;
use crate::engine::{Connection, Revision};
use crate::proto::socketio::{Map, Packet, PacketKind, Payload, Value};

/// Whether the client is one of them.
pub(crate) fn is_legacy(connection: &Connection) -> bool {
    connection.request().revision == Revision::V3
}

/// Reads `/admin?token=abc` as the namespace `/admin`, and the query as what today's clients send as `auth`.
pub(crate) fn normalize(mut packet: Packet) -> Packet {
    let end = packet.namespace.find(['?', '#']).unwrap_or(packet.namespace.len());
    let (name, rest) = packet.namespace.split_at(end);
    if packet.kind == PacketKind::Connect {
        let query = rest.strip_prefix('?').unwrap_or("").split('#').next().unwrap_or("");
        let mut auth = Map::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            auth.insert(key.into_owned(), Value::from(&*value));
        }
        packet.data = Some(Payload::value(&Value::Object(auth)).expect("texts have a JSON form"));
    }
    packet.namespace = name;
    packet
}

/// In `/` the session's own id, elsewhere `/name#id`: the client derives the same.
pub(crate) fn socket_id(connection: &Connection, namespace: &str) -> SocketId {
    let session = connection.id().expose();
    if namespace == "/" {
        return SocketId::new(session);
    }
    SocketId::new(&format!("{namespace}#{session}"))
}

/// The refusal of a middleware as these clients read it: the data alone, or else the message.
pub(crate) fn connect_error(error: &ConnectError, namespace: &str) -> Packet {
    let message = Value::from(error.message());
    let body = error.data().filter(|data| is_truthy(data)).unwrap_or(&message);
    let payload = Payload::value(body).expect("texts and values have a JSON form");
    Packet::new(PacketKind::ConnectError, namespace).with_data(payload)
}

/// What JavaScript's `||` goes by.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != 0.0,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(kind: PacketKind, namespace: &str) -> (String, Option<String>) {
        let packet = normalize(Packet::new(kind, namespace));
        (packet.namespace.to_string(), packet.data.map(|data| data.json().to_string()))
    }

    #[test]
    fn the_query_of_the_namespace_is_the_auth() {
        for (namespace, name, auth) in [
            ("/admin", "/admin", "{}"),
            ("/admin?token=abc", "/admin", r#"{"token":"abc"}"#),
            ("/admin?a=1&a=2&b=%zz&c=+x", "/admin", r#"{"a":"2","b":"%zz","c":" x"}"#),
            ("/admin#f?x", "/admin", "{}"),
            ("/admin?x=1#f", "/admin", r#"{"x":"1"}"#),
        ] {
            assert_eq!(normalized(PacketKind::Connect, namespace), (name.to_owned(), Some(auth.to_owned())));
        }
        assert_eq!(normalized(PacketKind::Disconnect, "/admin?x=1"), ("/admin".to_owned(), None));
    }

    #[test]
    fn a_refusal_is_the_data_or_else_the_message() {
        let text =
            |error: ConnectError| connect_error(&error, "/deny").data.map(|data| data.json().to_string());
        let denied = || ConnectError::new("denied");
        assert_eq!(text(denied()).as_deref(), Some(r#""denied""#));
        assert_eq!(text(denied().with_data(&0)).as_deref(), Some(r#""denied""#));
        assert_eq!(text(denied().with_data("")).as_deref(), Some(r#""denied""#));
        assert_eq!(text(denied().with_data("str")).as_deref(), Some(r#""str""#));
        assert_eq!(text(denied().with_data(&[1])).as_deref(), Some("[1]"));
    }
}
