//! RemoteSocket: a socket as other servers know it.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::ack::AckFuture;
use super::adapter::Gathered;
use super::broadcast::BroadcastOperator;
use super::data::{DataError, read_value, to_value};
use super::namespace::Namespace;
use super::rooms::{IntoRooms, Room};
use super::socket::{EmitError, Socket, SocketId};
use crate::proto::socketio::{Map, Value};

/// A socket of this or of another server, found by
/// [`BroadcastOperator::fetch_sockets`](super::BroadcastOperator::fetch_sockets). Its rooms and its data are those of the
/// moment at which it was found; what is emitted goes to where it is. Cheap to clone, but for rooms and data.
///
/// Serialized, it is what Node's servers tell each other of a socket: `id`, `handshake`, `rooms`, `data`.
#[derive(Clone)]
pub struct RemoteSocket {
    id: SocketId,
    rooms: Vec<Room>,
    data: Map,
    home: Home,
}

/// Where a socket is.
#[derive(Clone)]
enum Home {
    Here(Socket),
    Elsewhere { namespace: Namespace, handshake: Box<Value> },
}

impl RemoteSocket {
    pub(crate) fn of(socket: Socket) -> RemoteSocket {
        RemoteSocket {
            id: socket.id().clone(),
            rooms: socket.rooms(),
            data: socket.data().values(),
            home: Home::Here(socket),
        }
    }

    /// One of another server, from what that one tells of it.
    pub(crate) fn elsewhere(
        namespace: Namespace,
        id: &str,
        handshake: Value,
        rooms: Vec<Room>,
        data: Map,
    ) -> RemoteSocket {
        let home = Home::Elsewhere { namespace, handshake: Box::new(handshake) };
        RemoteSocket { id: SocketId::new(id), rooms, data, home }
    }

    /// Gives the socket's public id.
    pub fn id(&self) -> &SocketId {
        &self.id
    }

    /// Gives what the socket came with, under the names of Node's `socket.handshake`.
    pub fn handshake(&self) -> Value {
        match &self.home {
            Home::Here(socket) => to_value(socket.handshake()).expect("a handshake has a JSON form"),
            Home::Elsewhere { handshake, .. } => (**handshake).clone(),
        }
    }

    /// Gives the rooms the socket was in.
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// Gives the named values the socket had: its [`Socket::data`].
    pub fn data(&self) -> &Map {
        &self.data
    }

    /// Reads one of the named values the socket had.
    ///
    /// # Errors
    /// [`DataError`] if there was none, or if it is something else than `T` says.
    pub fn get_data<T: DeserializeOwned>(&self, name: &str) -> Result<T, DataError> {
        read_value(name, self.data.get(name).cloned())
    }

    /// Emits an event to this socket; the arguments are those of [`Socket::emit`].
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: serde::Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.operator().emit(event, args)
    }

    /// Emits an event and waits for the client's acknowledgement, for 5 s or for what [`RemoteSocket::timeout`] says. Its
    /// first argument is read as `R`; others do not come from another server.
    ///
    /// A socket that has left before it was asked: [`AckError::Disconnected`](super::AckError::Disconnected). One that
    /// leaves afterwards is waited for until the timeout.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl serde::Serialize + ?Sized),
    ) -> AckFuture<R> {
        AckFuture::only(self.operator().ask_one(event, args))
    }

    /// Sets how long [`RemoteSocketWithTimeout::emit_with_ack`] waits.
    ///
    /// # Example: asking every socket of a room alone
    /// ```
    /// use std::time::Duration;
    ///
    /// # async fn ask(io: ferrio::Server) -> Result<(), Box<dyn std::error::Error>> {
    /// for socket in io.in_("workers").fetch_sockets().await? {
    ///     let load: u32 = socket.timeout(Duration::from_secs(1)).emit_with_ack("load", &()).await?;
    ///     println!("{}: {load}", socket.id());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(&self, timeout: Duration) -> RemoteSocketWithTimeout {
        RemoteSocketWithTimeout { operator: self.operator().timeout(timeout) }
    }

    /// Joins a room or several.
    pub fn join(&self, rooms: impl IntoRooms) {
        self.operator().sockets_join(rooms);
    }

    /// Leaves a room or several.
    pub fn leave(&self, rooms: impl IntoRooms) {
        self.operator().sockets_leave(rooms);
    }

    /// Takes the socket out of its namespace, as [`Socket::disconnect`].
    pub fn disconnect(&self) {
        self.operator().disconnect_sockets(false);
    }

    /// Closes the client's connection, as [`Socket::close_connection`].
    pub fn close_connection(&self) {
        self.operator().disconnect_sockets(true);
    }

    fn operator(&self) -> BroadcastOperator {
        let namespace = match &self.home {
            Home::Here(socket) => socket.home(),
            Home::Elsewhere { namespace, .. } => namespace,
        };
        BroadcastOperator::new(namespace.clone()).to(&self.id)
    }
}

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The handshake holds credentials.
        f.debug_struct("RemoteSocket")
            .field("id", &self.id.as_str())
            .field("rooms", &self.rooms)
            .finish_non_exhaustive()
    }
}

impl Serialize for RemoteSocket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("RemoteSocket", 4)?;
        fields.serialize_field("id", &self.id)?;
        match &self.home {
            Home::Here(socket) => fields.serialize_field("handshake", socket.handshake())?,
            Home::Elsewhere { handshake, .. } => fields.serialize_field("handshake", handshake)?,
        }
        fields.serialize_field("rooms", &self.rooms)?;
        fields.serialize_field("data", &self.data)?;
        fields.end()
    }
}

/// A [`RemoteSocket`] whose acknowledgements must come in time; made by [`RemoteSocket::timeout`].
#[derive(Clone, Debug)]
pub struct RemoteSocketWithTimeout {
    operator: BroadcastOperator,
}

impl RemoteSocketWithTimeout {
    /// Emits an event and waits for the client's acknowledgement, at most for the timeout; see
    /// [`RemoteSocket::emit_with_ack`].
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl serde::Serialize + ?Sized),
    ) -> AckFuture<R> {
        AckFuture::only(self.operator.ask_one(event, args))
    }
}

/// Says that not all servers have answered in time, or that they could not be asked, and gives what came.
#[derive(Debug)]
pub struct FetchError {
    /// The sockets of this server and of those that have answered.
    pub gathered: Gathered<RemoteSocket>,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.gathered {
            Gathered { expected: Err(error), .. } => error.fmt(f),
            Gathered { received, expected: Ok(expected), .. } => {
                write!(f, "timeout reached: only {received} responses received out of {expected}")
            }
        }
    }
}

impl std::error::Error for FetchError {}
