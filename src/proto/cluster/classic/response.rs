//! `Response`: what the servers answer each other.

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::proto::cluster::document::{object, present};
use crate::proto::cluster::opts::{RoomName, names};
use crate::proto::cluster::writer::Writer;
use crate::proto::cluster::{Codec, Form, RequestId, Sockets, WireError};
use crate::proto::socketio::{ParserError, Payload, Value};

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// That of the request.
    pub request_id: RequestId,
    /// The answer.
    pub body: ResponseBody,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody {
    /// To 7: what one client acknowledged with. Its first argument; none is `undefined`.
    Ack(Payload),
    /// To 7, before all [`ResponseBody::Ack`], once: how many clients were asked.
    ClientCount(u64),
    /// To the requests of servers of version 7 for one socket.
    Done,
    /// To 1: rooms, those with the ids of sockets among them.
    Rooms(Vec<ByteString>),
    /// To 6: what a listener answered. Its first argument; none is `undefined`. Always to all servers.
    ServerSideEmit(Payload),
    /// To 0 with ids, to 5 with all that is known.
    Sockets(Sockets),
}

impl Response {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let (form, len) = match &self.body {
            ResponseBody::Ack(answer) => (Form::Notepack, answer.json().len()),
            ResponseBody::ServerSideEmit(answer) => (Form::Json, answer.json().len()),
            ResponseBody::Sockets(sockets) => (Form::Json, sockets.len()),
            _ => (Form::Json, 0),
        };
        let mut writer = Writer::new(form, len);
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes it, in the form of this codec if a client acknowledged with it.
    ///
    /// # Errors
    /// If that is a parser, and it has no form for the message.
    pub fn encode_with(&self, codec: &Codec) -> Result<Bytes, ParserError> {
        match &self.body {
            ResponseBody::Ack(answer) => codec.encode(answer, |writer| self.write(writer)),
            _ => Ok(self.encode()),
        }
    }

    fn write(&self, writer: &mut Writer) {
        let (number, key) = match &self.body {
            ResponseBody::Ack(answer) => (Some(9), (answer.arg_count() > 0).then_some("packet")),
            ResponseBody::ClientCount(_) => (Some(8), Some("clientCount")),
            ResponseBody::Done => (None, None),
            ResponseBody::Rooms(_) => (None, Some("rooms")),
            ResponseBody::ServerSideEmit(answer) => (Some(6), (answer.arg_count() > 0).then_some("data")),
            ResponseBody::Sockets(_) => (None, Some("sockets")),
        };
        writer.object(1 + usize::from(number.is_some()) + usize::from(key.is_some()));
        if let Some(number) = number {
            writer.key("type");
            writer.number(number);
        }
        writer.key("requestId");
        writer.json(self.request_id.json(), &[]);
        if let Some(key) = key {
            writer.key(key);
            match &self.body {
                ResponseBody::Ack(answer) | ResponseBody::ServerSideEmit(answer) => {
                    writer.first_argument(answer);
                }
                ResponseBody::ClientCount(count) => writer.number(*count),
                ResponseBody::Done => {}
                ResponseBody::Rooms(rooms) => writer.texts(rooms),
                ResponseBody::Sockets(sockets) => sockets.write(writer),
            }
        }
        writer.end_object();
    }

    /// Reads it, in JSON or MessagePack.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Response, WireError> {
        Response::decode_with(message, &Codec::Msgpack)
    }

    /// Reads it, in JSON or in the form of this codec.
    ///
    /// # Errors
    /// As [`Response::decode`].
    pub fn decode_with(message: &Bytes, codec: &Codec) -> Result<Response, WireError> {
        let document = codec.request_or_answer(message)?;
        let raw: RawResponse<'_> = object(&document.json)?;
        let request_id = raw.request_id.map(RequestId::read).ok_or(WireError::missing("requestId"))?;
        let body = match raw.kind.as_u64() {
            Some(6) => ResponseBody::ServerSideEmit(document.value(raw.data)?),
            Some(8) => {
                let count = raw.client_count.as_u64();
                ResponseBody::ClientCount(count.ok_or(WireError::missing("clientCount"))?)
            }
            Some(9) => ResponseBody::Ack(document.value(raw.packet)?),
            _ => match (raw.sockets, raw.rooms) {
                (Some(sockets), _) => ResponseBody::Sockets(Sockets::read(&document, sockets)?),
                (None, Some(rooms)) => ResponseBody::Rooms(names(rooms)),
                (None, None) => ResponseBody::Done,
            },
        };
        Ok(Response { request_id, body })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResponse<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    client_count: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    rooms: Option<Vec<RoomName>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_response_is_an_error() {
        for message in [
            &b""[..],
            b"\xc0",
            b"\xc1",
            b"[]",
            b"{}",
            br#"{"sockets":[]}"#,
            br#"{"requestId":"r","sockets":{}}"#,
            br#"{"requestId":"r","rooms":"r"}"#,
            br#"{"requestId":"r","type":8}"#,
            br#"{"requestId":"r","type":8,"clientCount":-1}"#,
        ] {
            assert!(Response::decode(&Bytes::copy_from_slice(message)).is_err(), "{message:x?}");
        }
    }

    #[test]
    fn an_answer_is_its_first_argument_or_undefined() {
        let encoded = |answer: Payload| {
            let body = ResponseBody::ServerSideEmit(answer);
            Response { request_id: RequestId::new("r"), body }.encode()
        };
        let several = (1.5, Bytes::from_static(b"\x01"));
        assert_eq!(encoded(Payload::ack(&()).unwrap()), r#"{"type":6,"requestId":"r"}"#);
        assert_eq!(encoded(Payload::ack(&several).unwrap()), r#"{"type":6,"requestId":"r","data":1.5}"#);
        assert_eq!(
            encoded(Payload::ack(&[several.1]).unwrap()),
            r#"{"type":6,"requestId":"r","data":{"type":"Buffer","data":[1]}}"#
        );
        assert_eq!(
            encoded(Payload::ack_from_json(" [ null ] ".into()).unwrap()),
            r#"{"type":6,"requestId":"r","data":null}"#
        );
    }
}
