//! RedisAdapter: the classic one, over Redis' pub/sub.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::config::RedisConfig;
use super::link::{Channel, Hear, Incoming, RedisLink, Subscription};
use super::node::{Node, Wire, short_id};
use super::status::{LinkError, LinkStats, LinkStatus};
use crate::proto::cluster::classic::{
    self, Broadcast, Channels, Request, RequestBody, Response, ResponseBody,
};
use crate::proto::cluster::{Answer, Body, ClusterParser, Codec, Opts, RequestId};
use crate::proto::socketio::ParserError;
use crate::server::{Adapter, AdapterFactory, LocalNode};
use crate::sync::Mutex;

/// Joins a server to others by Redis' pub/sub, as `createAdapter` of `@socket.io/redis-adapter` does: with Node's servers
/// that use it, too. Cheap to clone; keep a clone for [`RedisAdapter::status`].
///
/// Local clients never wait for Redis: what is emitted reaches them at once, and the others as soon as Redis takes it.
///
/// # Example
/// ```no_run
/// use ferrio::{RedisAdapter, RedisConfig, Server};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let adapter = RedisAdapter::new(RedisConfig::from_url("redis://127.0.0.1:6379")?).connect().await?;
/// let io = Server::builder().adapter(adapter.clone()).build()?;
/// io.emit("news", "for the clients of all servers")?;
/// println!("{:?}", adapter.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisAdapter {
    link: RedisLink,
    options: Arc<Options>,
    runtime: Handle,
}

#[derive(Clone, Debug)]
struct Options {
    key: String,
    requests_timeout: Duration,
    specific_responses: bool,
    codec: Codec,
}

/// The options of a [`RedisAdapter`], under Node's names; made by [`RedisAdapter::new`].
#[derive(Clone)]
#[must_use = "`connect` makes the adapter"]
pub struct RedisAdapterBuilder {
    config: RedisConfig,
    options: Options,
}

impl RedisAdapter {
    /// Begins an adapter with Node's defaults.
    #[expect(clippy::new_ret_no_self, reason = "an adapter is there when it is connected")]
    pub fn new(config: RedisConfig) -> RedisAdapterBuilder {
        let options = Options {
            key: "socket.io".to_owned(),
            requests_timeout: DEFAULT_REQUESTS_TIMEOUT,
            specific_responses: false,
            codec: Codec::default(),
        };
        RedisAdapterBuilder { config, options }
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

impl fmt::Debug for RedisAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAdapter").field("link", &self.link).field("options", &self.options).finish()
    }
}

impl fmt::Debug for RedisAdapterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAdapterBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RedisAdapterBuilder {
    /// Sets the beginning of all channels. Default: `socket.io`. Another one for another cluster on the same Redis.
    pub fn key(mut self, key: impl Into<String>) -> RedisAdapterBuilder {
        self.options.key = key.into();
        self
    }

    /// Sets in which form events and acknowledgements are published: Node's `parser`. Default: MessagePack. All servers and
    /// emitters have to use the same.
    ///
    /// Another one where programs take part that know only JSON ([`JsonClusterParser`](crate::JsonClusterParser)), or where
    /// Node's servers have one of their own ([`ClusterParser`]).
    pub fn parser(mut self, parser: impl ClusterParser) -> RedisAdapterBuilder {
        self.options.codec = Codec::new(parser);
        self
    }

    /// Sets how long other servers may take to answer: `fetch_sockets`, `server_side_emit_with_ack`, `all_rooms`. Default:
    /// 5 s. Acknowledgements of clients have [`BroadcastOperator::timeout`](crate::BroadcastOperator::timeout).
    pub fn requests_timeout(mut self, timeout: Duration) -> RedisAdapterBuilder {
        self.options.requests_timeout = timeout;
        self
    }

    /// Sets whether answers go to the server that asked alone, and not to all. Default: false. True where there are many
    /// servers; those of version 7 hear it, too.
    pub fn publish_on_specific_response_channel(mut self, specific: bool) -> RedisAdapterBuilder {
        self.options.specific_responses = specific;
        self
    }

    /// Connects: waits for `connect_timeout` and `response_timeout` together, 10 s, at the most.
    ///
    /// # Errors
    /// [`LinkError::NotReady`], if Redis refuses, also the channels that are needed, or does not answer. Once connected, the
    /// adapter comes back by itself; [`RedisAdapterBuilder::connect_lazy`] does not even wait for the first time.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self) -> Result<RedisAdapter, LinkError> {
        let adapter = self.connect_lazy();
        let channels = Channels::new(&adapter.options.key, "/");
        adapter.link.ready_for(shared_channels(&channels)).await?;
        Ok(adapter)
    }

    /// Gives the adapter at once, also while Redis is away: it connects as soon as it can, and says by
    /// [`RedisAdapter::status`] how far it is. Until then the server is alone.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_lazy(self) -> RedisAdapter {
        let link = RedisLink::open(self.config, &self.options.key);
        RedisAdapter { link, options: Arc::new(self.options), runtime: Handle::current() }
    }
}

impl AdapterFactory for RedisAdapter {
    fn create(&self, local: LocalNode) -> Arc<dyn Adapter> {
        let namespace = local.namespace().clone();
        let wire = Classic {
            uid: short_id().into(),
            channels: Channels::new(&self.options.key, &namespace),
            namespace,
            link: self.link.clone(),
            specific_responses: self.options.specific_responses,
            codec: self.options.codec.clone(),
            subscriptions: Mutex::default(),
        };
        let node = Node::new(local, wire, self.options.requests_timeout, self.runtime.clone());
        subscribe(&node);
        node.adapter()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.close(CLOSE_PATIENCE))
    }
}

/// How the classic adapter's messages travel.
struct Classic {
    uid: ByteString,
    namespace: ByteString,
    channels: Channels,
    link: RedisLink,
    specific_responses: bool,
    codec: Codec,
    subscriptions: Mutex<Vec<Subscription>>,
}

impl fmt::Debug for Classic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classic").field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// Those of a namespace that all servers subscribe. The order is Node's: the pattern first, then the channels.
fn shared_channels(channels: &Channels) -> [Channel; 3] {
    [
        Channel::Pattern(channels.broadcast_pattern().into()),
        plain(channels.request()),
        plain(channels.response()),
    ]
}

fn subscribe(node: &Arc<Node<Classic>>) {
    let Classic { channels, uid, link, .. } = node.wire();
    let all = shared_channels(channels).into_iter().chain([plain(&channels.private_response(uid))]);
    let subscriptions = all.map(|channel| link.subscribe_choosing(channel, Ear(Arc::downgrade(node))));
    node.wire().subscriptions.lock().extend(subscriptions);
}

/// What hears for a node.
struct Ear(Weak<Node<Classic>>);

impl Hear for Ear {
    fn wants(&self, channel: &[u8]) -> bool {
        self.0
            .upgrade()
            .is_some_and(|node| concerns(&node.wire().channels, channel, |room| node.local().has_room(room)))
    }

    fn hear(&self, incoming: Incoming) {
        if let Some(node) = self.0.upgrade() {
            receive(&node, &incoming);
        }
    }
}

/// Whether somebody here is meant, as far as the channel tells: what goes to a room that nobody is in is not even read.
fn concerns(channels: &Channels, channel: &[u8], has_room: impl FnOnce(&str) -> bool) -> bool {
    match channels.read(channel) {
        Some(classic::Channel::Room(room)) => has_room(room),
        Some(_) => true,
        None => false,
    }
}

fn plain(name: &str) -> Channel {
    Channel::Plain(Bytes::copy_from_slice(name.as_bytes()))
}

fn receive(node: &Arc<Node<Classic>>, incoming: &Incoming) {
    let wire = node.wire();
    let handled = match wire.channels.read(&incoming.channel) {
        None => return,
        Some(classic::Channel::Broadcast | classic::Channel::Room(_)) => {
            Broadcast::decode_with(&incoming.payload, &wire.codec)
                .map(|broadcast| receive_broadcast(node, broadcast))
        }
        Some(classic::Channel::Request) => {
            Request::decode_with(&incoming.payload, &wire.codec).map(|request| receive_request(node, request))
        }
        Some(classic::Channel::Response) => Response::decode_with(&incoming.payload, &wire.codec)
            .map(|response| receive_response(node, response)),
    };
    if let Err(error) = handled {
        wire.link.ignore(&incoming.channel, &error);
    }
}

fn receive_broadcast(node: &Arc<Node<Classic>>, broadcast: Broadcast) {
    let wire = node.wire();
    let is_mine = broadcast.uid.as_ref() == Some(&wire.uid);
    // "absent: treated as /"
    let namespace = broadcast.packet.namespace.as_deref().unwrap_or("/");
    if is_mine || *namespace != *wire.namespace {
        return;
    }
    let Broadcast { uid, packet, opts } = broadcast;
    node.handle(uid.as_ref(), Body::Broadcast { packet, request_id: None, opts });
}

fn receive_request(node: &Arc<Node<Classic>>, request: Request) {
    let wire = node.wire();
    let Request { uid, body } = request;
    let uid = uid.as_ref();
    // What this server says takes effect here at once, and not by what comes back.
    if uid == Some(&wire.uid) || body.request_id().is_some_and(|id| node.is_mine(id)) {
        return;
    }
    let one = |sid: ByteString| Opts { rooms: vec![sid], ..Opts::default() };
    let answer = |request_id: RequestId, body: ResponseBody| {
        wire.send_response(uid.map(|uid| &**uid), &Response { request_id, body });
    };
    match body {
        RequestBody::AllRooms { request_id } => {
            let rooms = node.local().rooms();
            let rooms = rooms.iter().map(|room| ByteString::from(room.as_str())).collect();
            answer(request_id, ResponseBody::Rooms(rooms));
        }
        RequestBody::Sockets { request_id, rooms } => {
            let opts = super::node::options(&Opts { rooms, ..Opts::default() });
            let sockets = node.local().sockets(&opts);
            let ids: Vec<_> = sockets.iter().map(|socket| SocketId { id: socket.id().as_str() }).collect();
            if let Ok(sockets) = crate::proto::cluster::Sockets::new(&ids) {
                answer(request_id, ResponseBody::Sockets(sockets));
            }
        }
        RequestBody::JoinOne { request_id, sid, room } => {
            if node.local().has_room(&sid) {
                node.handle(uid, Body::SocketsJoin { opts: one(sid), rooms: vec![room] });
                answer(request_id, ResponseBody::Done);
            }
        }
        RequestBody::LeaveOne { request_id, sid, room } => {
            if node.local().has_room(&sid) {
                node.handle(uid, Body::SocketsLeave { opts: one(sid), rooms: vec![room] });
                answer(request_id, ResponseBody::Done);
            }
        }
        RequestBody::DisconnectOne { request_id, sid, close } => {
            if node.local().has_room(&sid) {
                node.handle(uid, Body::DisconnectSockets { opts: one(sid), close });
                answer(request_id, ResponseBody::Done);
            }
        }
        RequestBody::Broadcast { request_id, packet, opts } => {
            if *packet.namespace.as_deref().unwrap_or("/") == *wire.namespace {
                node.handle(uid, Body::Broadcast { packet, request_id: Some(request_id), opts });
            }
        }
        RequestBody::Join { opts, rooms } => node.handle(uid, Body::SocketsJoin { opts, rooms }),
        RequestBody::Leave { opts, rooms } => node.handle(uid, Body::SocketsLeave { opts, rooms }),
        RequestBody::Disconnect { opts, close } => node.handle(uid, Body::DisconnectSockets { opts, close }),
        RequestBody::FetchSockets { request_id, opts } => {
            node.handle(uid, Body::FetchSockets { opts, request_id });
        }
        RequestBody::ServerSideEmit { request_id, data } => {
            node.handle(uid, Body::ServerSideEmit { request_id, data });
        }
    }
}

/// What the request of version 7 wants to know of a socket.
#[derive(serde::Serialize)]
struct SocketId<'a> {
    id: &'a str,
}

fn receive_response(node: &Arc<Node<Classic>>, response: Response) {
    let Response { request_id, body } = response;
    match body {
        ResponseBody::Ack(answer) => node.handle(None, Body::BroadcastAck { request_id, answer }),
        ResponseBody::ClientCount(client_count) => {
            node.handle(None, Body::BroadcastClientCount { request_id, client_count });
        }
        ResponseBody::ServerSideEmit(answer) => {
            node.handle(None, Body::ServerSideEmitResponse { request_id, answer });
        }
        ResponseBody::Sockets(sockets) => {
            node.handle(None, Body::FetchSocketsResponse { request_id, sockets });
        }
        ResponseBody::Rooms(rooms) => node.answer(&request_id, None, Answer::Rooms(rooms)),
        ResponseBody::Done => {}
    }
}

impl Classic {
    /// What the parser cannot write is counted, as it is on no other way from here.
    fn send(&self, channel: &str, message: Result<Bytes, ParserError>) -> Result<(), LinkError> {
        match message {
            Ok(message) => self.link.publish(channel.as_bytes(), &message),
            Err(error) => {
                self.link.unencodable(&error);
                Ok(())
            }
        }
    }

    fn send_request(&self, body: RequestBody) -> Result<(), LinkError> {
        let request = Request { uid: Some(self.uid.clone()), body };
        self.send(self.channels.request(), request.encode_with(&self.codec))
    }

    fn send_response(&self, to: Option<&str>, response: &Response) {
        // "type 6 answers ignore the option"
        let specific = self.specific_responses && !matches!(response.body, ResponseBody::ServerSideEmit(_));
        let private = to.filter(|_| specific).map(|uid| self.channels.private_response(uid));
        let channel = private.as_deref().unwrap_or(self.channels.response());
        if let Err(error) = self.send(channel, response.encode_with(&self.codec)) {
            tracing::debug!(%error, "an answer to another server is not sent");
        }
    }
}

impl Wire for Classic {
    fn publish(&self, body: Body) -> Result<(), LinkError> {
        let body = match body {
            Body::Broadcast { mut packet, request_id, opts } => {
                packet.namespace = Some(self.namespace.clone());
                match request_id {
                    Some(request_id) => RequestBody::Broadcast { request_id, packet, opts },
                    None => {
                        let channel = self.channels.broadcast(&opts);
                        let broadcast = Broadcast { uid: Some(self.uid.clone()), packet, opts };
                        return self.send(&channel, broadcast.encode_with(&self.codec));
                    }
                }
            }
            Body::SocketsJoin { opts, rooms } => RequestBody::Join { opts, rooms },
            Body::SocketsLeave { opts, rooms } => RequestBody::Leave { opts, rooms },
            Body::DisconnectSockets { opts, close } => RequestBody::Disconnect { opts, close },
            Body::FetchSockets { opts, request_id } => RequestBody::FetchSockets { request_id, opts },
            Body::ServerSideEmit { request_id, data } => RequestBody::ServerSideEmit { request_id, data },
            // Answers, and what this adapter does not say.
            _ => return Ok(()),
        };
        self.send_request(body)
    }

    fn respond(&self, to: Option<&str>, body: Body) -> Result<(), LinkError> {
        let (request_id, body) = match body {
            Body::BroadcastAck { request_id, answer } => (request_id, ResponseBody::Ack(answer)),
            Body::BroadcastClientCount { request_id, client_count } => {
                (request_id, ResponseBody::ClientCount(client_count))
            }
            Body::FetchSocketsResponse { request_id, sockets } => {
                (request_id, ResponseBody::Sockets(sockets))
            }
            Body::ServerSideEmitResponse { request_id, answer } => {
                (request_id, ResponseBody::ServerSideEmit(answer))
            }
            _ => return Ok(()),
        };
        self.send_response(to, &Response { request_id, body });
        Ok(())
    }

    fn server_count(&self) -> BoxFuture<'static, Result<usize, LinkError>> {
        let count = self.link.subscribers(self.channels.request().as_bytes());
        Box::pin(async move { Ok(usize::try_from(count.await?).unwrap_or(usize::MAX)) })
    }

    fn counted(&self) -> (&RedisLink, Channel) {
        (&self.link, plain(self.channels.request()))
    }

    fn ask_rooms(&self, id: &RequestId) -> Option<Result<(), LinkError>> {
        Some(self.send_request(RequestBody::AllRooms { request_id: id.clone() }))
    }

    fn request_id(&self) -> RequestId {
        RequestId::new(&short_id())
    }

    fn close(&self) {
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock());
        drop(subscriptions);
    }
}

/// Node's.
pub(super) const DEFAULT_REQUESTS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what is on its way to the others may take when the server closes.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_concerns_a_node_unless_it_is_that_of_a_room_nobody_is_in() {
        let channels = Channels::new("socket.io", "/chat");
        let wants = |channel: &[u8]| concerns(&channels, channel, |room| room == "here" || room == "a#b");
        for wanted in [
            "socket.io#/chat#",
            "socket.io#/chat##",
            "socket.io#/chat#here#",
            "socket.io#/chat#a#b#",
            "socket.io-request#/chat#",
            "socket.io-response#/chat#",
            "socket.io-response#/chat#uid#",
        ] {
            assert!(wants(wanted.as_bytes()), "{wanted}");
        }
        for unwanted in [
            "socket.io#/chat#elsewhere#",
            "socket.io#/chat#her#",
            "socket.io#/#here#",
            "socket.io-request#/#",
            "another#/chat#here#",
            "",
        ] {
            assert!(!wants(unwanted.as_bytes()), "{unwanted}");
        }
        assert!(!wants(b"socket.io#/chat#\xff\xff#"));
    }
}
