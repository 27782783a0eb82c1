//! Socket.IO on one page: packets of namespaces, with acknowledgements and attachments, over Engine.IO messages.
//!
//! ```text
//! <type>[<attachments>-][<namespace>,][<id>][<json>]
//!
//! 0{"token":"abc"}           CONNECT to the main namespace, with auth data
//! 0/admin,{"sid":"x"}        CONNECT, the answer for another namespace
//! 1/admin,                   DISCONNECT
//! 2["hello",1,"b"]           EVENT with the arguments 1 and "b"
//! 2/admin,12["hello"]        EVENT that wants to be acknowledged
//! 3/admin,12["ok"]           ACK
//! 4{"message":"no"}          CONNECT_ERROR
//! 51-["photo",{"_placeholder":true,"num":0}]    EVENT with one attachment, which follows as a binary message
//! ```
//!
//! | to | go to |
//! |---|---|
//! | make packets of messages | [`Decoder`] (`decode.rs`) |
//! | read arguments | [`Payload::args`] (`payload.rs`, `read.rs`; with attachments `tree.rs`), [`Value`] (`value.rs`) |
//! | pass arguments on unread | [`RawArgs`] (`raw.rs`, `javascript.rs`) |
//! | find the arguments in the text | `layout.rs` |
//! | write arguments | [`Payload::event`] (`arguments.rs`: what is an argument; `attachment.rs`: JSON and byte leaves) |
//! | make messages of packets | [`Packet::encode`], [`EncodedPacket`] (`encode.rs`) |
//! | write and read packets in another form | [`Parser`] (`parser.rs`), [`MsgpackParser`] (`msgpack/`) |
//!
//! JSON text is checked once when it arrives (`json.rs`) and stays text until somebody reads it.

mod arguments;
mod attachment;
mod decode;
mod encode;
mod error;
mod event_name;
mod javascript;
mod json;
mod layout;
mod map;
mod msgpack;
mod number;
mod packet;
mod parser;
mod payload;
mod raw;
mod read;
mod tree;
mod value;

#[cfg(feature = "redis")]
pub(in crate::proto) use self::attachment::PLACEHOLDER_START;
pub use self::decode::{DecodeError, Decoder, DecoderLimits};
pub use self::encode::EncodedPacket;
pub use self::error::{ArgsError, EncodeError, JsonError};
#[cfg(feature = "redis")]
pub(in crate::proto) use self::event_name::string_text;
pub use self::event_name::{EventName, RESERVED_EVENTS};
pub use self::javascript::normalize;
pub use self::map::Map;
pub use self::msgpack::MsgpackParser;
#[cfg(feature = "redis")]
pub(in crate::proto) use self::msgpack::{MsgpackError, json_of};
pub use self::number::Number;
pub use self::packet::{Packet, PacketKind};
pub(crate) use self::parser::{AnyDecoder, Codec};
pub use self::parser::{PacketDecoder, Parser, ParserError};
pub use self::payload::Payload;
pub use self::raw::RawArgs;
pub use self::value::{Args, Value};
