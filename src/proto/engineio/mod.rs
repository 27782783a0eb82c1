//! Engine.IO on one page: messages between two ends, over HTTP long-polling or WebSocket.
//!
//! | packet | type | from | what it does |
//! |---|---|---|---|
//! | open | `0` | server | handshake: [`OpenPacket`] |
//! | close | `1` | both, polling only | ends the session |
//! | ping | `2` | server; client only as `2probe` | asks for a pong |
//! | pong | `3` | client; server only as `3probe` | shows that the peer lives |
//! | message | `4`, or binary | both | carries [`Message`] |
//! | upgrade | `5` | client | moves the session to the WebSocket it comes by |
//! | noop | `6` | server | ends a poll |
//!
//! ```text
//! GET  ──▶ 0{"sid":…}                      a poll's answer, a POST's body: packets joined by U+001E,
//! POST ◀── 4hello ␞ bAQID                  binary as b and base64
//! WS   ◀─▶ 4hello   <01 02 03>             a packet a message, binary as it is
//! ```
//!
//! That is revision 4. [`Revision::V3`] writes polling bodies in two other forms (`payload_v3.rs`), gives binary packets
//! a type too, and there the client pings.
//!
//! [`Packet`] and [`Payload`] read what a client sends; what a server sends is an
//! [`EncodedMessage`](crate::proto::EncodedMessage). [`Session`] is the conversation, drawn there.

mod open;
mod packet;
mod payload;
mod payload_v3;
mod query;
mod revision;
pub mod session;

pub use open::OpenPacket;
pub use packet::{Message, Packet, PacketError};
pub use payload::{Payload, PayloadError, polling_body_v4};
pub use payload_v3::polling_body_v3;
pub use query::EngineQuery;
pub use revision::Revision;
pub use session::{
    CloseReason, FlushMark, Lag, Loss, Overlap, PollMethod, ProbeId, SendError, Sent, Session, SessionConfig,
    SessionEvent, SlowConsumer, TransportKind, UpgradeRefused, Via,
};
