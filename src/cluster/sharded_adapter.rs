//! ShardedRedisAdapter: over Redis' sharded pub/sub.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
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
use crate::proto::cluster::sharded::{self, Channels};
use crate::proto::cluster::{Body, Message, RequestId};
use crate::server::{Adapter, AdapterFactory, LocalNode, Room, RoomEvent};
use crate::sync::Mutex;

pub use crate::proto::cluster::sharded::SubscriptionMode;

/// Joins a server to others by Redis' sharded pub/sub (Redis 7), as `createShardedAdapter` of `@socket.io/redis-adapter`
/// does: with Node's servers that use it, too. Cheap to clone; keep a clone for [`ShardedRedisAdapter::status`].
///
/// In a Redis Cluster each room's messages are handled by one shard; and a server hears only of rooms it has.
///
/// # Example
/// ```no_run
/// use ferrio::{RedisConfig, Server, ShardedRedisAdapter};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let config = RedisConfig::from_url("redis://10.0.0.1:6379,10.0.0.2:6379,10.0.0.3:6379")?;
/// let io = Server::builder().adapter(ShardedRedisAdapter::new(config).connect().await?).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ShardedRedisAdapter {
    link: RedisLink,
    options: Arc<Options>,
    runtime: Handle,
}

#[derive(Clone, Debug)]
struct Options {
    channel_prefix: String,
    subscription_mode: SubscriptionMode,
    requests_timeout: Duration,
}

/// The options of a [`ShardedRedisAdapter`], under Node's names; made by [`ShardedRedisAdapter::new`].
#[derive(Clone)]
#[must_use = "`connect` makes the adapter"]
pub struct ShardedRedisAdapterBuilder {
    config: RedisConfig,
    options: Options,
}

impl ShardedRedisAdapter {
    /// Begins an adapter with Node's defaults.
    #[expect(clippy::new_ret_no_self, reason = "an adapter is there when it is connected")]
    pub fn new(config: RedisConfig) -> ShardedRedisAdapterBuilder {
        let options = Options {
            channel_prefix: "socket.io".to_owned(),
            subscription_mode: SubscriptionMode::default(),
            requests_timeout: DEFAULT_REQUESTS_TIMEOUT,
        };
        ShardedRedisAdapterBuilder { config, options }
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

impl fmt::Debug for ShardedRedisAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedRedisAdapter")
            .field("link", &self.link)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ShardedRedisAdapterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedRedisAdapterBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ShardedRedisAdapterBuilder {
    /// Sets the beginning of all channels. Default: `socket.io`.
    pub fn channel_prefix(mut self, prefix: impl Into<String>) -> ShardedRedisAdapterBuilder {
        self.options.channel_prefix = prefix.into();
        self
    }

    /// Sets which rooms have channels of their own. Default: [`SubscriptionMode::Dynamic`]. It has to be the same on all
    /// servers: what one publishes to a room's channel, a [`SubscriptionMode::Static`] one does not hear.
    pub fn subscription_mode(mut self, mode: SubscriptionMode) -> ShardedRedisAdapterBuilder {
        self.options.subscription_mode = mode;
        self
    }

    /// Sets how long other servers may take to answer. Default: 5 s, which on Node cannot be changed.
    pub fn requests_timeout(mut self, timeout: Duration) -> ShardedRedisAdapterBuilder {
        self.options.requests_timeout = timeout;
        self
    }

    /// Connects: waits for `connect_timeout` and `response_timeout` together, 10 s, at the most.
    ///
    /// # Errors
    /// [`LinkError::NotReady`], if Redis refuses, also the channels that are needed, or does not answer, or is too old for
    /// sharded pub/sub. Once connected, the adapter comes back by itself;
    /// [`ShardedRedisAdapterBuilder::connect_lazy`] does not even wait for the first time.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self) -> Result<ShardedRedisAdapter, LinkError> {
        let adapter = self.connect_lazy();
        let channels = Channels::new(&adapter.options.channel_prefix, "/", "");
        adapter.link.ready_for([sharded_channel(channels.public())]).await?;
        Ok(adapter)
    }

    /// Gives the adapter at once, also while Redis is away: it connects as soon as it can, and says by
    /// [`ShardedRedisAdapter::status`] how far it is. Until then the server is alone.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_lazy(self) -> ShardedRedisAdapter {
        let link = RedisLink::open(self.config, &self.options.channel_prefix);
        ShardedRedisAdapter { link, options: Arc::new(self.options), runtime: Handle::current() }
    }
}

impl AdapterFactory for ShardedRedisAdapter {
    fn create(&self, local: LocalNode) -> Arc<dyn Adapter> {
        let namespace = local.namespace().clone();
        let uid = ByteString::from(long_id());
        let wire = Sharded {
            channels: Channels::new(&self.options.channel_prefix, &namespace, &uid),
            uid,
            namespace,
            link: self.link.clone(),
            mode: self.options.subscription_mode,
            subscriptions: Mutex::default(),
            rooms: Mutex::new(Some(HashMap::new())),
        };
        let node = Node::new(local, wire, self.options.requests_timeout, self.runtime.clone());
        let own = [node.wire().channels.public(), node.wire().channels.private()];
        let own = own.map(|channel| subscribe(&node, channel));
        node.wire().subscriptions.lock().extend(own);
        follow_rooms(&node);
        node.adapter()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.close(CLOSE_PATIENCE))
    }
}

/// How the sharded adapter's messages travel.
struct Sharded {
    uid: ByteString,
    namespace: ByteString,
    channels: Channels,
    link: RedisLink,
    mode: SubscriptionMode,
    subscriptions: Mutex<Vec<Subscription>>,
    /// Those of rooms that somebody here is in; `None` from the end on.
    rooms: Mutex<Option<HashMap<Room, Subscription>>>,
}

impl fmt::Debug for Sharded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded").field("uid", &self.uid).finish_non_exhaustive()
    }
}

fn subscribe(node: &Arc<Node<Sharded>>, channel: &str) -> Subscription {
    let weak: Weak<Node<Sharded>> = Arc::downgrade(node);
    node.wire().link.subscribe(sharded_channel(channel), move |incoming| {
        if let Some(node) = weak.upgrade() {
            receive(&node, &incoming);
        }
    })
}

fn sharded_channel(name: &str) -> Channel {
    Channel::Sharded(Bytes::copy_from_slice(name.as_bytes()))
}

/// "on the first local member; SUNSUBSCRIBE when the last leaves"
fn follow_rooms(node: &Arc<Node<Sharded>>) {
    if node.wire().mode == SubscriptionMode::Static {
        return;
    }
    let weak = Arc::downgrade(node);
    node.local().on_room_event(move |event| {
        let Some(node) = weak.upgrade() else { return };
        let wire = node.wire();
        match event {
            RoomEvent::Created { room } => {
                if let Some(channel) = wire.channels.room(wire.mode, room.as_str()) {
                    // Under the lock, so that nothing is subscribed after the end.
                    let mut rooms = wire.rooms.lock();
                    let follow =
                        |rooms: &mut HashMap<_, _>| rooms.insert(room.clone(), subscribe(&node, &channel));
                    let before = rooms.as_mut().and_then(follow);
                    drop(rooms);
                    drop(before);
                }
            }
            RoomEvent::Deleted { room } => {
                let ended = wire.rooms.lock().as_mut().and_then(|rooms| rooms.remove(room.as_str()));
                drop(ended);
            }
            RoomEvent::Joined { .. } | RoomEvent::Left { .. } => {}
        }
    });
}

fn receive(node: &Arc<Node<Sharded>>, incoming: &Incoming) {
    let wire = node.wire();
    let Some(channel) = wire.channels.read(&incoming.channel) else { return };
    if let sharded::Channel::Room(room) = channel
        && !node.local().has_room(room)
    {
        return;
    }
    match Message::decode(&incoming.payload) {
        Ok(message) => receive_message(node, message, channel == sharded::Channel::Private),
        Err(error) => wire.link.ignore(&incoming.channel, &error),
    }
}

/// A message on the server's own channel answers; of what is on the others, one's own and that of other namespaces is
/// not for it.
fn receive_message(node: &Arc<Node<Sharded>>, message: Message, is_answer: bool) {
    let wire = node.wire();
    let Message { uid, namespace, body } = message;
    if is_answer {
        if body.is_response() {
            node.handle(uid.as_ref(), body);
        }
        return;
    }
    // Servers of version 8.2 do not say the namespace.
    let is_elsewhere = namespace.is_some_and(|namespace| namespace != wire.namespace);
    if uid.as_ref() != Some(&wire.uid) && !is_elsewhere {
        node.handle(uid.as_ref(), body);
    }
}

impl Sharded {
    fn send(&self, channel: &str, body: Body) -> Result<(), LinkError> {
        let (uid, namespace) = (Some(self.uid.clone()), Some(self.namespace.clone()));
        let message = Message { uid, namespace, body };
        self.link.publish_sharded(channel.as_bytes(), &sharded::encode(&message))
    }
}

impl Wire for Sharded {
    fn publish(&self, body: Body) -> Result<(), LinkError> {
        self.send(&self.channels.request(self.mode, &body), body)
    }

    fn respond(&self, to: Option<&str>, body: Body) -> Result<(), LinkError> {
        let Some(to) = to else { return Ok(()) };
        self.send(&self.channels.private_of(to), body)
    }

    fn server_count(&self) -> BoxFuture<'static, Result<usize, LinkError>> {
        let count = self.link.sharded_subscribers(self.channels.public().as_bytes());
        Box::pin(async move { Ok(usize::try_from(count.await?).unwrap_or(usize::MAX)) })
    }

    fn counted(&self) -> (&RedisLink, Channel) {
        (&self.link, sharded_channel(self.channels.public()))
    }

    fn request_id(&self) -> RequestId {
        RequestId::new(&long_id())
    }

    fn close(&self) {
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock());
        let rooms = self.rooms.lock().take();
        drop((subscriptions, rooms));
    }
}
