//! Engine.IO on one page.

mod open;
mod packet;
mod payload;
mod query;
pub mod session;

pub use open::OpenPacket;
pub use packet::{Message, Packet, PacketError};
pub use payload::{Payload, PayloadError};
pub use query::EngineQuery;
pub use session::{
    CloseReason, Loss, Overlap, PollMethod, ProbeId, SendError, Session, SessionConfig, SessionEvent, TransportKind, UpgradeRefused,
    Via,
};
