//! What Node's servers put on Redis, byte for byte: channels, messages, stream entries, and who has to answer whom.
//!
//! | adapter on Node | go to | on the wire |
//! |---|---|---|
//! | `createAdapter` of `@socket.io/redis-adapter` | [`classic`] | broadcasts `["<uid>",{packet},{opts}]` in MessagePack or what a [`ClusterParser`] writes, requests and responses in JSON |
//! | `createShardedAdapter` of the same package | [`sharded`], [`Message`] | `{type,data,uid,nsp}` in JSON; in MessagePack if it holds binary values |
//! | `@socket.io/redis-streams-adapter` | [`streams`], [`Message`] | the same message as fields of a stream entry; questions and answers in MessagePack by pub/sub |
//! | `@socket.io/redis-emitter`, `-streams-emitter` | [`classic`], [`streams`] | frames with the uid [`EMITTER_UID`] |
//!
//! ```text
//! PUBLISH socket.io#/#                93 a6"WT-Fwa" 83{type:2,data:["hello"],nsp:"/"} 83{rooms:[],except:[],flags:{}}
//! PUBLISH socket.io-request#/#        {"uid":"WT-Fwa","requestId":"N_1-oW","type":5,"opts":{"rooms":[],"except":[]}}
//! PUBLISH socket.io-response#/#       {"requestId":"N_1-oW","sockets":[{"id":…,"handshake":…,"rooms":…,"data":…}]}
//! SPUBLISH socket.io#/#room1#         {"type":3,"data":{"packet":{"type":2,"data":["hello"]},"opts":{"rooms":["room1"],…}},…}
//! XADD socket.io MAXLEN ~ 10000 *     uid c68a… nsp / type 3 data {"packet":{"type":2,"data":["hello"]},"opts":{…}}
//! ```
//!
//! The data of a packet is a [`Payload`](crate::proto::socketio::Payload) on both sides. Writing, its JSON text is copied,
//! or transcoded to MessagePack without a tree ([`Form`], `msgpack.rs`). Reading, a message in MessagePack becomes JSON text
//! once, and the payload is a slice of that text, or of the message itself if it was JSON (`document.rs`). A single value
//! (what a client acknowledged with, what a listener answered) travels as the one argument of a payload; no argument is
//! JavaScript's `undefined`.
//!
//! A malformed message is a [`WireError`], and nothing here writes a frame that stops Node: what it needs is no `Option`.

pub mod classic;
pub mod sharded;
pub mod streams;

mod document;
mod error;
mod event;
mod message;
mod msgpack;
mod opts;
mod parser;
mod request_id;
mod requests;
mod sockets;
mod writer;

pub use self::error::{Reason, WireError};
pub use self::event::EventPacket;
pub use self::message::{Body, Message};
pub use self::opts::{Flags, Opts};
pub use self::parser::{ClusterParser, Codec, JsonClusterParser};
pub use self::request_id::RequestId;
pub use self::requests::{Answer, Asked, Outcome, PendingRequests, Progress};

pub use self::sockets::{SocketDetails, Sockets};
pub use self::writer::Form;

/// The uid of a process that emits and serves no sockets. Frames with it have the keys in the emitters' order.
pub const EMITTER_UID: &str = "emitter";
