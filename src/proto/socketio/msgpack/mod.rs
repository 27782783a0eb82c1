//! MessagePack as npm's `socket.io-msgpack-parser` 3 writes and reads it: each packet is one binary message, a map.
//!
//! ```text
//! {type: 2, data: ["hello", 1, <01 02>], id: 7, nsp: "/"}
//! 84 a4"type" 02 a4"data" 93 a5"hello" 01 c4 02 01 02 a2"id" 07 a3"nsp" a1"/"
//! ```
//!
//! | to | go to |
//! |---|---|
//! | make a message of a packet: which of MessagePack's forms Node chooses | `encode.rs` |
//! | make a packet of a message: values become JSON text, binary ones attachments | `decode.rs` |
//! | dates as text | `date.rs` |

mod date;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

#[cfg(feature = "redis")]
pub(in crate::proto) use self::decode::{MsgpackError, json_of};
use super::parser::{PacketDecoder, Parser, ParserError};
use super::{DecoderLimits, Packet};
use crate::proto::engineio::Message;

/// Speaks MessagePack with clients that were made with `parser: require("socket.io-msgpack-parser")`; any other client is
/// closed. Set it by [`ServerBuilder::parser`](crate::ServerBuilder::parser).
///
/// Worth it where packets are mostly numbers or small binary values; JSON is usually as small, and faster on both sides.
///
/// Handlers read and `emit` takes the same values as with the default parser. So a value of MessagePack that JSON does not
/// have is read as JSON would have it: `undefined` as null (as no key in an object), `NaN` and the infinities as null, a
/// date as its ISO text, an `ArrayBuffer` as bytes, another extension as its type and its bytes.
///
/// What is Node's way with this parser:
/// - Text is refused, and so are packets of other types than 0 to 4, without a namespace, or with other data than packets
///   of their type have. Unlike Node it refuses an event whose id is no whole number from 0 to 2⁶⁴, values nested deeper
///   than 127, keys that are arrays, maps or extensions, and binary values beside an object with `_placeholder: true`,
///   which is how they are written in JSON.
/// - A client may send events with reserved names; they go to handlers of these names, and to no others.
/// - Whole numbers from 2⁶⁴ on lose what does not fit into 64 bits (`1e300` arrives as 0), because the encoder of the
///   clients does it, too; other numbers arrive as they were.
/// - Binary values are a part of the message, so `max_attachments` does not count them. What a message becomes in memory
///   is bounded by eleven times `max_http_buffer_size`, or by one more than `max_attachments` times, if that is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsgpackParser;

impl Parser for MsgpackParser {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, ParserError> {
        let message = encode::packet(packet).map_err(ParserError::new)?;
        Ok(vec![Message::Binary(message.into())])
    }

    fn decoder(&self, limits: &DecoderLimits) -> Box<dyn PacketDecoder> {
        Box::new(MsgpackDecoder { max_bytes: limits.max_pending_bytes })
    }
}

/// Every message is a packet: nothing is kept from one to the next.
#[derive(Debug)]
struct MsgpackDecoder {
    max_bytes: usize,
}

impl PacketDecoder for MsgpackDecoder {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, ParserError> {
        match message {
            Message::Binary(data) => {
                decode::packet(&data, self.max_bytes).map(Some).map_err(ParserError::new)
            }
            Message::Text(_) => Err(ParserError::new("got text where packets are binary")),
        }
    }
}
