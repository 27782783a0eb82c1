//! RedisStreamsAdapter: over Redis streams, which keep what a server misses while its connection is away.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::config::RedisConfig;
use super::link::{Channel, Incoming, RedisLink, Subscription};
use super::node::{Node, Wire, long_id};
use super::redis_adapter::{CLOSE_PATIENCE, DEFAULT_REQUESTS_TIMEOUT};
use super::status::{LinkError, LinkStats, LinkStatus};
use super::stream_order::{InOrder, deliver_in_order};
use super::stream_reader::{StreamEntry, StreamReader};
use crate::proto::cluster::sharded::{self, Channels};
use crate::proto::cluster::streams::{Entry, Offset, Route, Session, stream_key};
use crate::proto::cluster::{Body, Form, Message, RequestId};
use crate::proto::socketio::{Map, Value};
use crate::server::{
    Adapter, AdapterFactory, KeptEvent, KeptSession, LocalNode, Position, RecoveryError, RestoredSession,
    Room, SocketId,
};
use crate::sync::Mutex;

/// Joins a server to others by Redis streams, as `@socket.io/redis-streams-adapter` 0.3 does: with Node's servers that
/// use it, too. Cheap to clone; keep a clone for [`RedisStreamsAdapter::status`].
///
/// What is broadcast while the connection to Redis is away is read afterwards, unless the stream has been trimmed
/// meanwhile. Requests and answers go by pub/sub.
///
/// With connection state recovery
/// ([`ServerBuilder::connection_state_recovery`](crate::ServerBuilder::connection_state_recovery)) sessions are kept in
/// Redis, and a client may come back to any server, Node's among them. What is emitted then reaches this server's own
/// clients when it has come back from the stream, so that all servers deliver in one order; if Redis does not take it within
/// half a second, or it does not come back within two, without an offset. (A client that got one without, and is lost before
/// it got a later one with, may get it again when it comes back.) Acknowledgements wait behind the events that were
/// emitted to the same socket before them, and a socket that is disconnected hears first what waits for it.
///
/// It must not share a Redis with classic adapters (Node's or [`RedisAdapter`](crate::RedisAdapter)) under the same name: a
/// question of the one makes Node's servers of the other end or go deaf. Where it does,
/// [`RedisStreamsAdapterBuilder::channel_prefix`] tells them apart.
///
/// # Example
/// ```no_run
/// use ferrio::{RedisConfig, RedisStreamsAdapter, Server};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let config = RedisConfig::from_url("redis://127.0.0.1:6379")?;
/// let io = Server::builder().adapter(RedisStreamsAdapter::new(config).connect().await?).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStreamsAdapter {
    link: RedisLink,
    options: Arc<Options>,
    nodes: Arc<Nodes>,
    /// Each stream is read once for all namespaces.
    _readers: Arc<Vec<StreamReader>>,
    runtime: Handle,
}

/// The namespaces of this server by name.
type Nodes = Mutex<HashMap<ByteString, Weak<Node<Streams>>>>;

#[derive(Clone, Debug)]
struct Options {
    stream_name: String,
    stream_count: u32,
    channel_prefix: String,
    sharded_pub_sub: bool,
    max_len: usize,
    only_plaintext: bool,
    requests_timeout: Duration,
    session_key_prefix: String,
}

impl Options {
    fn channel(&self, name: &str) -> Channel {
        let name = Bytes::copy_from_slice(name.as_bytes());
        if self.sharded_pub_sub { Channel::Sharded(name) } else { Channel::Plain(name) }
    }
}

/// The options of a [`RedisStreamsAdapter`], under Node's names; made by [`RedisStreamsAdapter::new`].
#[derive(Clone)]
#[must_use = "`connect` makes the adapter"]
pub struct RedisStreamsAdapterBuilder {
    config: RedisConfig,
    options: Options,
}

impl RedisStreamsAdapter {
    /// Begins an adapter with Node's defaults.
    #[expect(clippy::new_ret_no_self, reason = "an adapter is there when it is connected")]
    pub fn new(config: RedisConfig) -> RedisStreamsAdapterBuilder {
        let options = Options {
            stream_name: "socket.io".to_owned(),
            stream_count: 1,
            channel_prefix: "socket.io".to_owned(),
            sharded_pub_sub: false,
            max_len: 10_000,
            only_plaintext: false,
            session_key_prefix: "sio:session:".to_owned(),
            requests_timeout: DEFAULT_REQUESTS_TIMEOUT,
        };
        RedisStreamsAdapterBuilder { config, options }
    }

    /// Says how the connections to Redis are.
    pub fn status(&self) -> LinkStatus {
        self.link.status()
    }

    /// Gives what the connections to Redis have counted.
    pub fn stats(&self) -> LinkStats {
        self.link.stats()
    }
}

impl fmt::Debug for RedisStreamsAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreamsAdapter")
            .field("link", &self.link)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisStreamsAdapterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreamsAdapterBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RedisStreamsAdapterBuilder {
    /// Sets the key of the stream; with several ([`RedisStreamsAdapterBuilder::stream_count`]) the beginning of their keys.
    /// Default: `socket.io`.
    pub fn stream_name(mut self, name: impl Into<String>) -> RedisStreamsAdapterBuilder {
        self.options.stream_name = name.into();
        self
    }

    /// Sets over how many streams the namespaces are spread, for a Redis Cluster. Default: 1. It has to be the same on all
    /// servers.
    pub fn stream_count(mut self, count: u32) -> RedisStreamsAdapterBuilder {
        self.options.stream_count = count.max(1);
        self
    }

    /// Sets the beginning of the channels on which servers ask and answer. Default: `socket.io`. Another one where classic
    /// adapters use the same Redis. It has to be the same on all servers.
    pub fn channel_prefix(mut self, prefix: impl Into<String>) -> RedisStreamsAdapterBuilder {
        self.options.channel_prefix = prefix.into();
        self
    }

    /// Sets whether servers ask and answer by sharded pub/sub (Redis 7). Default: false. It has to be the same on all
    /// servers.
    pub fn use_sharded_pub_sub(mut self, sharded: bool) -> RedisStreamsAdapterBuilder {
        self.options.sharded_pub_sub = sharded;
        self
    }

    /// Sets how many entries each stream keeps, about. Default: 10 000. More where servers may be away for long.
    pub fn max_len(mut self, entries: usize) -> RedisStreamsAdapterBuilder {
        self.options.max_len = entries;
        self
    }

    /// Sets the beginning of the keys under which sessions are kept. Default: `sio:session:`.
    pub fn session_key_prefix(mut self, prefix: impl Into<String>) -> RedisStreamsAdapterBuilder {
        self.options.session_key_prefix = prefix.into();
        self
    }

    /// Sets whether binary values go as JSON (`{"type":"Buffer",…}`), which the other side does not turn back. Default:
    /// false. True where no event has any, to save the search on Node's side.
    pub fn only_plaintext(mut self, only_plaintext: bool) -> RedisStreamsAdapterBuilder {
        self.options.only_plaintext = only_plaintext;
        self
    }

    /// Sets how long other servers may take to answer. Default: 5 s, which on Node cannot be changed.
    pub fn requests_timeout(mut self, timeout: Duration) -> RedisStreamsAdapterBuilder {
        self.options.requests_timeout = timeout;
        self
    }

    /// Connects: waits for `connect_timeout` and `response_timeout` together, 10 s, at the most.
    ///
    /// # Errors
    /// [`LinkError::NotReady`], if Redis refuses, also the channels that are needed, or does not answer. Once connected, the
    /// adapter comes back by itself; [`RedisStreamsAdapterBuilder::connect_lazy`] does not even wait for the first time.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self) -> Result<RedisStreamsAdapter, LinkError> {
        let adapter = self.connect_lazy();
        let channels = Channels::new(&adapter.options.channel_prefix, "/", "");
        adapter.link.ready_for([adapter.options.channel(channels.public())]).await?;
        Ok(adapter)
    }

    /// Gives the adapter at once, also while Redis is away: it connects as soon as it can, and says by
    /// [`RedisStreamsAdapter::status`] how far it is. Until then the server is alone.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_lazy(self) -> RedisStreamsAdapter {
        let link = RedisLink::open(self.config, &self.options.channel_prefix);
        let nodes: Arc<Nodes> = Arc::default();
        let readers = stream_keys(&self.options).map(|key| {
            let nodes = Arc::clone(&nodes);
            link.read_stream(&key, move |entry| read_entry(&nodes, &entry))
        });
        let readers = Arc::new(readers.collect());
        let options = Arc::new(self.options);
        RedisStreamsAdapter { link, options, nodes, _readers: readers, runtime: Handle::current() }
    }
}

/// The streams that somebody may write to: with several also those with a minus, to which Node's servers write for
/// namespaces whose hash is negative, and which they do not read themselves.
fn stream_keys(options: &Options) -> impl Iterator<Item = String> {
    let (name, count) = (options.stream_name.clone(), i64::from(options.stream_count));
    let numbers = if count > 1 { 1 - count..count } else { 0..1 };
    numbers.map(move |number| if count > 1 { format!("{name}-{number}") } else { name.clone() })
}

impl AdapterFactory for RedisStreamsAdapter {
    fn create(&self, local: LocalNode) -> Arc<dyn Adapter> {
        let namespace = local.namespace().clone();
        let uid = ByteString::from(long_id());
        let wire = Streams {
            channels: Channels::new(&self.options.channel_prefix, &namespace, &uid),
            stream: stream_key(&self.options.stream_name, self.options.stream_count, &namespace),
            uid,
            namespace: namespace.clone(),
            link: self.link.clone(),
            options: Arc::clone(&self.options),
            nodes: Arc::downgrade(&self.nodes),
            subscriptions: Mutex::default(),
            order: OnceLock::new(),
        };
        let node = Node::new(local, wire, self.options.requests_timeout, self.runtime.clone());
        self.nodes.lock().insert(namespace, Arc::downgrade(&node));
        let own = [node.wire().channels.public(), node.wire().channels.private()];
        let own = own.map(|channel| subscribe(&node, channel));
        node.wire().subscriptions.lock().extend(own);
        if node.local().recovery().is_some() {
            let (order, items) = InOrder::new();
            node.wire().order.get_or_init(|| order);
            self.runtime.spawn(deliver_in_order(Arc::downgrade(&node), items));
        }
        node.adapter()
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.close(CLOSE_PATIENCE))
    }
}

/// How the streams adapter's messages travel.
pub(super) struct Streams {
    uid: ByteString,
    namespace: ByteString,
    channels: Channels,
    stream: String,
    link: RedisLink,
    options: Arc<Options>,
    nodes: Weak<Nodes>,
    subscriptions: Mutex<Vec<Subscription>>,
    /// Where sessions are kept: everything goes through it.
    order: OnceLock<InOrder>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("uid", &self.uid).finish_non_exhaustive()
    }
}

fn subscribe(node: &Arc<Node<Streams>>, channel: &str) -> Subscription {
    let weak = Arc::downgrade(node);
    let wire = node.wire();
    wire.link.subscribe(wire.options.channel(channel), move |incoming| {
        if let Some(node) = weak.upgrade() {
            receive(&node, &incoming);
        }
    })
}

/// What came by pub/sub: MessagePack alone.
fn receive(node: &Arc<Node<Streams>>, incoming: &Incoming) {
    let wire = node.wire();
    if incoming.payload.starts_with(b"{") {
        return wire.link.ignore(&incoming.channel, &"JSON, from another adapter");
    }
    match Message::decode(&incoming.payload) {
        Ok(message) if wire.channels.read(&incoming.channel) == Some(sharded::Channel::Private) => {
            if message.body.is_response() {
                node.handle(message.uid.as_ref(), message.body);
            }
        }
        Ok(message) => receive_message(node, message),
        Err(error) => wire.link.ignore(&incoming.channel, &error),
    }
}

/// An entry of a stream goes to the node of its namespace; of a namespace that is not here it is not read.
fn read_entry(nodes: &Nodes, entry: &StreamEntry) {
    let field = |name: &str| entry.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let Some(namespace) = field("nsp").and_then(|name| std::str::from_utf8(name).ok()) else { return };
    let Some(node) = nodes.lock().get(namespace).and_then(Weak::upgrade) else { return };
    let wire = node.wire();
    let is_own = field("uid").is_some_and(|uid| *uid == wire.uid.as_bytes());
    if is_own {
        // Only events come back.
        if let (Some(order), Some(b"3")) = (wire.order.get(), field("type").map(|kind| &**kind)) {
            order.read_own(&entry.id);
        }
        return;
    }
    match Entry::decode(entry.fields.iter().map(|(name, value)| (&name[..], value))) {
        Ok(message) => match wire.order.get() {
            Some(order) => order.read(&entry.id, message),
            None => receive_message(&node, message),
        },
        Err(error) => wire.link.ignore(wire.stream.as_bytes(), &error),
    }
}

pub(super) fn receive_message(node: &Arc<Node<Streams>>, message: Message) {
    let wire = node.wire();
    let Message { uid, namespace, body } = message;
    if uid.as_ref() != Some(&wire.uid) && namespace.as_ref() == Some(&wire.namespace) {
        node.handle(uid.as_ref(), body);
    }
}

impl Streams {
    /// Adds an event to the stream; gives its id.
    fn add(&self, body: Body) -> impl Future<Output = Result<String, LinkError>> + Send + use<> {
        let entry = Entry::new(&self.message(body), self.options.only_plaintext);
        let fields: Vec<(&str, Bytes)> = entry.fields().collect();
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (*name, &value[..])).collect();
        self.link.xadd(&self.stream, self.options.max_len, &fields, ADD_PATIENCE)
    }

    fn message(&self, body: Body) -> Message {
        Message { uid: Some(self.uid.clone()), namespace: Some(self.namespace.clone()), body }
    }

    fn publish_to(&self, channel: &str, body: Body) -> Result<(), LinkError> {
        let message = self.message(body).encode(Form::Msgpack);
        if self.options.sharded_pub_sub {
            self.link.publish_sharded(channel.as_bytes(), &message)
        } else {
            self.link.publish(channel.as_bytes(), &message)
        }
    }
}

impl Wire for Streams {
    fn publish(&self, body: Body) -> Result<(), LinkError> {
        match Route::of(&body) {
            Route::Stream => {
                let entry = Entry::new(&self.message(body), self.options.only_plaintext);
                let fields: Vec<(&str, Bytes)> = entry.fields().collect();
                self.link.append(&self.stream, self.options.max_len, &fields)
            }
            Route::Public | Route::Private => self.publish_to(self.channels.public(), body),
        }
    }

    fn respond(&self, to: Option<&str>, body: Body) -> Result<(), LinkError> {
        let Some(to) = to else { return Ok(()) };
        self.publish_to(&self.channels.private_of(to), body)
    }

    fn server_count(&self) -> BoxFuture<'static, Result<usize, LinkError>> {
        let channel = self.channels.public().as_bytes();
        let to_usize = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        if self.options.sharded_pub_sub {
            let count = self.link.sharded_subscribers(channel);
            Box::pin(async move { Ok(to_usize(count.await?)) })
        } else {
            let count = self.link.subscribers(channel);
            Box::pin(async move { Ok(to_usize(count.await?)) })
        }
    }

    fn counted(&self) -> (&RedisLink, Channel) {
        (&self.link, self.options.channel(self.channels.public()))
    }

    fn publish_kept(&self, body: Body, kept: KeptEvent) {
        if let Some(order) = self.order.get() {
            order.emit(kept, || self.add(body));
        }
    }

    fn keep_session(&self, session: KeptSession, expires_after: Duration) {
        let KeptSession { sid, pid, rooms, data } = session;
        let key = format!("{}{pid}", self.options.session_key_prefix);
        let session = Session {
            sid: sid.as_str().into(),
            pid: pid.into(),
            rooms: rooms.iter().map(|room| room.as_str().into()).collect(),
            data: Value::Object(data),
        };
        match session.encode() {
            // It is sent, whether or not somebody waits.
            Ok(value) => drop(self.link.set(&key, value.as_bytes(), expires_after)),
            Err(error) => tracing::warn!(%error, "a session is not kept"),
        }
    }

    fn restore_session(
        &self,
        pid: &str,
        offset: &str,
    ) -> BoxFuture<'static, Result<RestoredSession, RecoveryError>> {
        // Nothing is consumed for what cannot be an offset.
        let Some(from) = Offset::parse(offset) else {
            return Box::pin(std::future::ready(Err(RecoveryError::Unknown)));
        };
        let session = self.link.take(&format!("{}{pid}", self.options.session_key_prefix));
        let (link, stream, namespace) = (self.link.clone(), self.stream.clone(), self.namespace.clone());
        let offset = offset.to_owned();
        Box::pin(async move {
            let session = session.await.ok().flatten().ok_or(RecoveryError::Unknown)?;
            let session = Session::decode(&session).map_err(|_| RecoveryError::Unknown)?;
            // In one command: what was heard last is there, so all that follows it is. What is added from now on, this
            // server delivers itself.
            let entries = link.xrange(&stream, &offset, "+").await.map_err(|_| RecoveryError::Unknown)?;
            let mut entries = entries.iter().filter_map(|entry| Some((Offset::parse(&entry.id)?, entry)));
            if entries.next().is_none_or(|(first, _)| first != from) {
                return Err(RecoveryError::Trimmed);
            }
            let is_in = |room: &str| session.rooms.iter().any(|own| *own == *room);
            let (mut missed, mut last) = (Vec::new(), from);
            for (id, entry) in entries {
                last = id;
                let fields = entry.fields.iter().map(|(name, value)| (&name[..], value));
                let Ok(Message { namespace: Some(name), body, .. }) = Entry::decode(fields) else { continue };
                let Body::Broadcast { packet, request_id: None, opts } = body else { continue };
                let is_kept = packet.id.is_none() && !opts.flags.volatile;
                if name == namespace && is_kept && opts.includes(is_in) {
                    missed.extend(packet.data.with_text_argument(&entry.id).ok());
                }
            }
            let data = match session.data {
                Value::Object(data) => data,
                _ => Map::new(),
            };
            Ok(RestoredSession {
                session: KeptSession {
                    sid: SocketId::new(&session.sid),
                    pid: session.pid.to_string(),
                    rooms: session.rooms.iter().map(|room| Room::from(&**room)).collect(),
                    data,
                },
                missed,
                last: position(last),
            })
        })
    }

    fn request_id(&self) -> RequestId {
        RequestId::new(&long_id())
    }

    fn close(&self) {
        if let Some(nodes) = self.nodes.upgrade() {
            let mut nodes = nodes.lock();
            // Another one of this name may be there already.
            let is_this =
                |node: &Weak<Node<Streams>>| node.upgrade().is_none_or(|node| node.wire().uid == self.uid);
            if nodes.get(&self.namespace).is_some_and(is_this) {
                nodes.remove(&self.namespace);
            }
        }
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock());
        drop(subscriptions);
    }
}

pub(super) fn position(offset: Offset) -> Position {
    offset.parts()
}

/// How long an event of this server waits for Redis to take it, before its own clients hear it without an offset.
const ADD_PATIENCE: Duration = Duration::from_millis(500);
