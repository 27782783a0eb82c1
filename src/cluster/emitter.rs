//! RedisEmitter: for processes that serve no sockets and have something to say to those that do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

use super::config::RedisConfig;
use super::link::RedisLink;
use super::node::opts;
use super::status::{LinkError, LinkStats, LinkStatus};
use crate::proto::cluster::classic::{Broadcast, Channels, Request, RequestBody};
use crate::proto::cluster::streams::{Entry, stream_key};
use crate::proto::cluster::{Body, ClusterParser, Codec, EMITTER_UID, EventPacket, Message};
use crate::proto::socketio::{ParserError, Payload};
use crate::server::{BroadcastOptions, EmitError, Emitter, IntoRooms, Room, Sealed, check_server_side};

/// Tells the clients of all servers something, from a process that serves none itself: a job that runs at night, a worker
/// of a queue. The servers may be ferrio's or Node's.
///
/// | the servers' adapter | here | on Node |
/// |---|---|---|
/// | [`RedisAdapter`](crate::RedisAdapter), `@socket.io/redis-adapter` | [`RedisEmitter::new`] | `@socket.io/redis-emitter` |
/// | `@socket.io/redis-streams-adapter` | [`RedisEmitter::over_streams`] | `@socket.io/redis-streams-emitter` (built from its repository) |
///
/// (The sharded adapter has no emitter: its servers hear only each other.)
///
/// Whom it addresses is chosen as on a server: [`RedisEmitter::of`], [`RedisEmitter::to`] and so on give another emitter
/// each and leave this one as it is. They share the connection; it is cheap to clone.
///
/// Emitting never waits: what is emitted is queued, and leaves in order. So a process that ends has to wait once, in
/// [`RedisEmitter::close`]. Nobody can be asked: emitters have no acknowledgements.
///
/// # Example: a job that is done
/// ```no_run
/// use std::time::Duration;
///
/// use ferrio::{RedisConfig, RedisEmitter};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let emitter = RedisEmitter::new(RedisConfig::from_url("redis://127.0.0.1:6379")?).connect().await?;
/// emitter.of("/jobs").to("job-17").emit("done", &("job-17", 250))?;
/// emitter.in_("job-17").sockets_leave("job-17")?;
/// emitter.close(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
///
/// # Example: an event that is declared once
/// [`EventType::emit`](crate::EventType::emit) takes an emitter, too. It fails as it does on a server: only if the arguments
/// cannot be serialized. What cannot be sent is counted in [`RedisEmitter::stats`].
/// ```no_run
/// # fn run(emitter: ferrio::RedisEmitter) -> Result<(), ferrio::EmitError> {
/// use ferrio::EventType;
///
/// const DONE: EventType<(String, u32)> = EventType::new("done");
///
/// DONE.emit(&emitter.to("job-17"), &("job-17".to_owned(), 250))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing is sent before `emit`"]
pub struct RedisEmitter {
    link: RedisLink,
    medium: Arc<Medium>,
    namespace: ByteString,
    to: BroadcastOptions,
}

/// How the messages travel.
#[derive(Debug)]
enum Medium {
    /// Published for the classic adapter.
    Classic { key: String, codec: Codec },
    /// Appended to a stream.
    Streams(StreamsOptions),
}

#[derive(Clone, Debug)]
struct StreamsOptions {
    stream_name: String,
    stream_count: u32,
    max_len: usize,
    only_plaintext: bool,
}

/// The options of a [`RedisEmitter`] for servers with the classic adapter; made by [`RedisEmitter::new`].
#[derive(Clone)]
#[must_use = "`connect` makes the emitter"]
pub struct RedisEmitterBuilder {
    config: RedisConfig,
    key: String,
    codec: Codec,
}

/// The options of a [`RedisEmitter`] for servers with the streams adapter; made by [`RedisEmitter::over_streams`]. They must
/// be the servers' own.
#[derive(Clone)]
#[must_use = "`connect` makes the emitter"]
pub struct RedisStreamsEmitterBuilder {
    config: RedisConfig,
    options: StreamsOptions,
}

impl RedisEmitter {
    /// Begins an emitter for servers with the classic adapter, with Node's defaults.
    #[expect(clippy::new_ret_no_self, reason = "an emitter is there when it is connected")]
    pub fn new(config: RedisConfig) -> RedisEmitterBuilder {
        RedisEmitterBuilder { config, key: DEFAULT_NAME.to_owned(), codec: Codec::default() }
    }

    /// Begins an emitter for servers with the streams adapter, with Node's defaults.
    ///
    /// # Example: another stream
    /// ```no_run
    /// use ferrio::{RedisConfig, RedisEmitter};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = RedisConfig::from_url("redis://127.0.0.1:6379")?;
    /// let emitter = RedisEmitter::over_streams(config).stream_name("app").max_len(50_000).connect().await?;
    /// emitter.emit("maintenance", "in five minutes")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn over_streams(config: RedisConfig) -> RedisStreamsEmitterBuilder {
        let options = StreamsOptions {
            stream_name: DEFAULT_NAME.to_owned(),
            stream_count: 1,
            max_len: 10_000,
            only_plaintext: false,
        };
        RedisStreamsEmitterBuilder { config, options }
    }

    /// Emits in another namespace; a `/` at its beginning may be left out. Rooms that were added stay.
    pub fn of(&self, namespace: &str) -> RedisEmitter {
        let mut other = self.clone();
        other.namespace =
            if namespace.starts_with('/') { namespace.into() } else { format!("/{namespace}").into() };
        other
    }

    /// Adds rooms: a socket is addressed if it is in one of all that were added, and hears once. No room at all (an empty
    /// list, too) means the whole namespace.
    pub fn to(&self, rooms: impl IntoRooms) -> RedisEmitter {
        let mut other = self.clone();
        add(&mut other.to.rooms, rooms);
        other
    }

    /// Adds rooms, as [`RedisEmitter::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> RedisEmitter {
        self.to(rooms)
    }

    /// Leaves out the sockets that are in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> RedisEmitter {
        let mut other = self.clone();
        add(&mut other.to.except, rooms);
        other
    }

    /// Lets what is emitted be lost for clients that are not ready for it, as
    /// [`BroadcastOperator::volatile`](crate::BroadcastOperator::volatile). It still reaches all servers.
    pub fn volatile(&self) -> RedisEmitter {
        let mut other = self.clone();
        other.to.flags.volatile = true;
        other
    }

    /// Sets whether what is emitted may be compressed on its way to clients, where servers are configured to. Default: true.
    /// `false` for what is compressed already.
    pub fn compress(&self, compress: bool) -> RedisEmitter {
        let mut other = self.clone();
        other.to.flags.compress = Some(compress);
        other
    }

    /// Emits an event to the clients that are addressed, of all servers; the arguments are those of
    /// [`Socket::emit`](crate::Socket::emit).
    ///
    /// # Errors
    /// If the event's name is reserved, if `args` cannot be serialized or the parser has no form for them, or if it cannot be
    /// queued for Redis.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), RedisEmitError> {
        let packet = EventPacket::new(Some(self.namespace.clone()), Payload::event(event, args)?);
        self.send(Body::Broadcast { packet, request_id: None, opts: opts(&self.to) })
    }

    /// Lets the sockets that are addressed join a room or several: Node's `socketsJoin`.
    ///
    /// # Errors
    /// If it cannot be queued for Redis.
    pub fn sockets_join(&self, rooms: impl IntoRooms) -> Result<(), RedisEmitError> {
        self.send(Body::SocketsJoin { opts: opts(&self.to), rooms: named(rooms) })
    }

    /// Lets the sockets that are addressed leave a room or several: Node's `socketsLeave`.
    ///
    /// # Errors
    /// As [`RedisEmitter::sockets_join`].
    pub fn sockets_leave(&self, rooms: impl IntoRooms) -> Result<(), RedisEmitError> {
        self.send(Body::SocketsLeave { opts: opts(&self.to), rooms: named(rooms) })
    }

    /// Takes the sockets that are addressed out of the namespace, as [`Socket::disconnect`](crate::Socket::disconnect); with
    /// `close` their connections are closed. Node's `disconnectSockets`.
    ///
    /// # Errors
    /// As [`RedisEmitter::sockets_join`].
    pub fn disconnect_sockets(&self, close: bool) -> Result<(), RedisEmitError> {
        self.send(Body::DisconnectSockets { opts: opts(&self.to), close })
    }

    /// Emits an event to the servers, in the namespace of this emitter: Node's `serverSideEmit`. They hear it in
    /// [`Namespace::on_server_side`](crate::Namespace::on_server_side). Rooms mean nothing here.
    ///
    /// Binary values reach servers with the classic adapter as Node's `{"type":"Buffer","data":[…]}`.
    ///
    /// # Errors
    /// If the event's name is reserved (`connect`, `connection`, `new_namespace`), if `args` cannot be serialized, or if it
    /// cannot be queued for Redis.
    pub fn server_side_emit<T: Serialize + ?Sized>(
        &self,
        event: &str,
        args: &T,
    ) -> Result<(), RedisEmitError> {
        let data = check_server_side(event, args)?;
        self.send(Body::ServerSideEmit { request_id: None, data })
    }

    /// Says how the connection to Redis is.
    pub fn status(&self) -> LinkStatus {
        self.link.status()
    }

    /// Gives what the connection to Redis has counted.
    pub fn stats(&self) -> LinkStats {
        self.link.stats()
    }

    /// Sends what waits, and closes the connection for this emitter and all that were made of it: within `patience`; what is
    /// left then is dropped, and counted in [`LinkStats::dropped`].
    ///
    /// # Cancel safety
    /// If it is dropped, nothing more can be emitted, and what waits may be sent or not.
    pub async fn close(&self, patience: Duration) {
        self.link.close(patience).await;
    }

    fn send(&self, body: Body) -> Result<(), RedisEmitError> {
        match &*self.medium {
            Medium::Classic { key, codec } => {
                let (channel, message) = self.published(key, codec, body).map_err(EmitError::Parser)?;
                self.link.publish(channel.as_bytes(), &message)?;
            }
            Medium::Streams(options) => {
                let namespace = self.namespace.clone();
                let message = Message { uid: Some(EMITTER_UID.into()), namespace: Some(namespace), body };
                let entry = Entry::new(&message, options.only_plaintext);
                let fields: Vec<(&str, Bytes)> = entry.fields().collect();
                let stream = stream_key(&options.stream_name, options.stream_count, &self.namespace);
                self.link.append(&stream, options.max_len, &fields)?;
            }
        }
        Ok(())
    }

    /// The channel and the message for the classic adapter.
    fn published(&self, key: &str, codec: &Codec, body: Body) -> Result<(String, Bytes), ParserError> {
        let channels = Channels::new(key, &self.namespace);
        // Node's emitter names itself in broadcasts and events for servers, and in nothing else.
        let emitter = Some(EMITTER_UID.into());
        let (uid, body) = match body {
            Body::Broadcast { packet, opts, .. } => {
                let broadcast = Broadcast { uid: emitter, packet, opts };
                return Ok((channels.broadcast(&broadcast.opts), broadcast.encode_with(codec)?));
            }
            Body::SocketsJoin { opts, rooms } => (None, RequestBody::Join { opts, rooms }),
            Body::SocketsLeave { opts, rooms } => (None, RequestBody::Leave { opts, rooms }),
            Body::DisconnectSockets { opts, close } => (None, RequestBody::Disconnect { opts, close }),
            Body::ServerSideEmit { data, .. } => {
                (emitter, RequestBody::ServerSideEmit { request_id: None, data })
            }
            _ => unreachable!("an emitter says nothing else"),
        };
        Ok((channels.request().to_owned(), Request { uid, body }.encode()))
    }
}

/// As on a server: what Redis does not take is counted.
impl Emitter for RedisEmitter {
    fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        match RedisEmitter::emit(self, event, args) {
            Err(RedisEmitError::Event(error)) => Err(error),
            Err(RedisEmitError::Link(error)) => {
                tracing::debug!(%error, event, "an event is not emitted");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Sealed for RedisEmitter {}

impl fmt::Debug for RedisEmitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEmitter")
            .field("link", &self.link)
            .field("medium", &self.medium)
            .field("namespace", &self.namespace)
            .field("to", &self.to)
            .finish()
    }
}

impl RedisEmitterBuilder {
    /// Sets the beginning of all channels: the servers' [`key`](crate::RedisAdapterBuilder::key). Default: `socket.io`.
    pub fn key(mut self, key: impl Into<String>) -> RedisEmitterBuilder {
        self.key = key.into();
        self
    }

    /// Sets in which form events are published: the servers' [`parser`](crate::RedisAdapterBuilder::parser). Default:
    /// MessagePack.
    pub fn parser(mut self, parser: impl ClusterParser) -> RedisEmitterBuilder {
        self.codec = Codec::new(parser);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// [`LinkError::NotReady`], if Redis refuses or does not answer. Once connected, the emitter comes back by itself.
    ///
    /// # Panics
    /// Outside of a tokio runtime. The runtime has to go on running; one may emit from any thread.
    pub async fn connect(self) -> Result<RedisEmitter, LinkError> {
        let link = RedisLink::open(self.config, &self.key);
        connected(link, Medium::Classic { key: self.key, codec: self.codec }).await
    }
}

impl fmt::Debug for RedisEmitterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEmitterBuilder")
            .field("key", &self.key)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl RedisStreamsEmitterBuilder {
    /// Sets the key of the stream, or what the keys begin with if there are several. Default: `socket.io`.
    pub fn stream_name(mut self, name: impl Into<String>) -> RedisStreamsEmitterBuilder {
        self.options.stream_name = name.into();
        self
    }

    /// Sets over how many streams the servers spread their namespaces. Default: 1. (Node's emitter has no such option: it is
    /// given the number as a part of the name.)
    ///
    /// As on Node, each namespace has its stream; that of some (of 4: `/notifications`) is one that Node's servers write
    /// to and do not read.
    pub fn stream_count(mut self, count: u32) -> RedisStreamsEmitterBuilder {
        self.options.stream_count = count;
        self
    }

    /// Sets about how many entries a stream keeps when this emitter appends one. Default: 10 000. More, if servers lose their
    /// connection for longer than it takes to emit so many: what is cut off then, their clients never hear.
    pub fn max_len(mut self, entries: usize) -> RedisStreamsEmitterBuilder {
        self.options.max_len = entries;
        self
    }

    /// Sets whether binary values go as `{"type":"Buffer","data":[…]}`, which clients get as such. Default: false. True only
    /// beside programs that read the stream and know nothing else.
    pub fn only_plaintext(mut self, only: bool) -> RedisStreamsEmitterBuilder {
        self.options.only_plaintext = only;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`RedisEmitterBuilder::connect`].
    ///
    /// # Panics
    /// As there.
    pub async fn connect(self) -> Result<RedisEmitter, LinkError> {
        let link = RedisLink::open(self.config, &self.options.stream_name);
        connected(link, Medium::Streams(self.options)).await
    }
}

impl fmt::Debug for RedisStreamsEmitterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreamsEmitterBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why nothing was emitted.
#[derive(Debug)]
#[non_exhaustive]
pub enum RedisEmitError {
    /// The event's name is reserved, or its arguments cannot be serialized.
    Event(EmitError),
    /// It cannot be queued for Redis.
    Link(LinkError),
}

impl fmt::Display for RedisEmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedisEmitError::Event(_) => f.write_str("the event cannot be emitted"),
            RedisEmitError::Link(_) => f.write_str("what is emitted cannot be queued for Redis"),
        }
    }
}

impl std::error::Error for RedisEmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RedisEmitError::Event(error) => Some(error),
            RedisEmitError::Link(error) => Some(error),
        }
    }
}

impl From<EmitError> for RedisEmitError {
    fn from(error: EmitError) -> RedisEmitError {
        RedisEmitError::Event(error)
    }
}

impl From<LinkError> for RedisEmitError {
    fn from(error: LinkError) -> RedisEmitError {
        RedisEmitError::Link(error)
    }
}

async fn connected(link: RedisLink, medium: Medium) -> Result<RedisEmitter, LinkError> {
    link.ready().await?;
    Ok(RedisEmitter {
        link,
        medium: Arc::new(medium),
        namespace: "/".into(),
        to: BroadcastOptions::default(),
    })
}

/// Each room once, in order: as Node's set of them.
fn add(to: &mut Vec<Room>, rooms: impl IntoRooms) {
    for room in rooms.into_rooms() {
        if !to.contains(&room) {
            to.push(room);
        }
    }
}

fn named(rooms: impl IntoRooms) -> Vec<ByteString> {
    rooms.into_rooms().map(|room| room.as_str().into()).collect()
}

/// Node's, of keys and streams.
const DEFAULT_NAME: &str = "socket.io";
