//! SocketOperator: how the next event to one socket is sent.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ack::AckFuture;
use super::adapter::{BroadcastFlags, BroadcastOptions};
use super::broadcast::BroadcastOperator;
use super::namespace::keyed;
use super::rooms::IntoRooms;
use super::socket::{EmitError, Socket};

/// A socket and how to send to it; made by [`Socket::volatile`], [`Socket::compress`] and [`Socket::timeout`]. Each call
/// gives another operator and leaves this one as it is.
///
/// # Example: a position that may be lost, and a question that must be answered in time
/// ```
/// use std::time::Duration;
///
/// # async fn move_to(socket: ferrio::Socket) -> Result<(), ferrio::HandlerError> {
/// socket.volatile().compress(false).emit("position", &(1.5, 2.0))?;
/// let answer: bool = socket.timeout(Duration::from_secs(5)).emit_with_ack("again?", &()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit` or `emit_with_ack`"]
pub struct SocketOperator {
    socket: Socket,
    flags: EmitFlags,
}

/// How an event to one socket is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmitFlags {
    pub(crate) volatile: bool,
    pub(crate) compress: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Default for EmitFlags {
    fn default() -> EmitFlags {
        EmitFlags { volatile: false, compress: true, timeout: None }
    }
}

impl SocketOperator {
    pub(crate) fn new(socket: &Socket) -> SocketOperator {
        SocketOperator { socket: socket.clone(), flags: EmitFlags::default() }
    }

    /// Lets the event be dropped where it could not be sent at once, see [`Socket::volatile`].
    pub fn volatile(&self) -> SocketOperator {
        let flags = EmitFlags { volatile: true, ..self.flags };
        SocketOperator { socket: self.socket.clone(), flags }
    }

    /// Says whether the transport may compress the event, see [`Socket::compress`].
    pub fn compress(&self, compress: bool) -> SocketOperator {
        let flags = EmitFlags { compress, ..self.flags };
        SocketOperator { socket: self.socket.clone(), flags }
    }

    /// Limits how long [`SocketOperator::emit_with_ack`] waits.
    pub fn timeout(&self, timeout: Duration) -> SocketOperator {
        let flags = EmitFlags { timeout: Some(timeout), ..self.flags };
        SocketOperator { socket: self.socket.clone(), flags }
    }

    /// Emits an event, see [`Socket::emit`].
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.socket.emit_with(event, args, self.flags, None)
    }

    /// Emits the event `message`, see [`Socket::send`].
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn send<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Emits an event and waits for the client's acknowledgement, at most for the timeout; see [`Socket::emit_with_ack`].
    /// The answer to a volatile event that was dropped never comes.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        AckFuture::emit(&self.socket, event, args, self.flags)
    }

    /// Addresses all other sockets of the namespace, in this way; see [`Socket::broadcast`].
    pub fn broadcast(&self) -> BroadcastOperator {
        let EmitFlags { volatile, compress, timeout } = self.flags;
        let mut others = self.socket.broadcast();
        if volatile {
            others = others.volatile();
        }
        if !compress {
            others = others.compress(false);
        }
        match timeout {
            Some(timeout) => others.timeout(timeout),
            None => others,
        }
    }

    /// Addresses the sockets in these rooms, but not this one, in this way; see [`Socket::to`].
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Addresses the sockets in these rooms, but not this one, as [`SocketOperator::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// Addresses all sockets that are not in these rooms, and not this one, in this way; see [`Socket::except`].
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Addresses all other sockets that are connected to this process, in this way; see [`Socket::local`].
    pub fn local(&self) -> BroadcastOperator {
        self.broadcast().local()
    }
}

impl Socket {
    /// Emits as the flags say.
    pub(crate) fn emit_with<T: Serialize + ?Sized>(
        &self,
        event: &str,
        args: &T,
        flags: EmitFlags,
        key: Option<&Arc<str>>,
    ) -> Result<(), EmitError> {
        if self.home().recovery_options().is_some() && !flags.volatile {
            // "With recovery enabled socket.emit() goes through the adapter (room = own id)"
            let flags = BroadcastFlags { compress: Some(flags.compress), ..BroadcastFlags::default() };
            let to = BroadcastOptions { rooms: vec![self.id().into()], except: Vec::new(), flags };
            return self.home().emit_to(event, args, &to, key, None);
        }
        let packet = self.home().encode_event(None, event, args)?;
        self.notify_outgoing(&packet);
        self.peer().send_flagged(keyed(packet.message, key), flags);
        Ok(())
    }
}

impl super::peer::Peer {
    /// Sends as the flags say.
    pub(crate) fn send_flagged(&self, message: crate::proto::EncodedMessage, flags: EmitFlags) {
        let message = Arc::new(message.with_compress(flags.compress));
        if flags.volatile {
            // Whether it was dropped is nobody's business.
            self.connection().send_volatile(message);
        } else {
            self.send(message);
        }
    }
}
