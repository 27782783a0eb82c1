//! EngineConfig: every limit with unit, default and reason.

use std::fmt;
use std::time::Duration;

use super::cookie::CookieOptions;
use super::cors::Cors;
use super::forwarded::{ForwardedHeader, TrustedProxies};
use super::hooks::{Forbidden, HeadersHook, Hook, HookError, Next};
use super::http_compression::HttpCompression;
use super::permessage_deflate::PerMessageDeflate;
use crate::proto::engineio::{Message, SessionConfig, SlowConsumer, TransportKind};

/// The options of an Engine.IO server, under Node's names.
///
/// [`EngineConfig::validate`] says which combination makes no sense; a server is only built from a valid one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Path under which requests are served; one trailing slash more or less makes no difference. Default
    /// `/engine.io` (Socket.IO: `/socket.io`).
    pub path: String,
    /// From the handshake, or the last pong, to the next ping. Default 25 s. Shorter finds dead peers sooner and
    /// costs two packets each time.
    pub ping_interval: Duration,
    /// From a ping to its pong at the latest. Default 20 s. Longer for clients that block their thread for long.
    pub ping_timeout: Duration,
    /// From the WebSocket of an upgrade to the upgrade's end at the latest. Default 10 s.
    pub upgrade_timeout: Duration,
    /// Largest POST body, WebSocket message and the advertised `maxPayload`, in bytes. Default 1 000 000. A larger
    /// POST is answered 413, a larger WebSocket message closes with 1009.
    pub max_http_buffer_size: usize,
    /// Transports a client may open a session with. Default both.
    pub transports: Vec<TransportKind>,
    /// Whether the handshake advertises the upgrade to WebSocket. Default true. As on Node, false does not refuse
    /// an upgrade that is attempted anyway.
    pub allow_upgrades: bool,
    /// Whether the path ends with a slash. Default true. With false every path that begins with [`EngineConfig::path`]
    /// is served, `/engine.iofoo` too, as on Node; for clients set up with `addTrailingSlash: false`.
    pub add_trailing_slash: bool,
    /// Whether clients of Engine.IO 3 (socket.io-client 1.x and 2.x) are served, too. Default false.
    ///
    /// For these clients the public id of a socket is the session id, a credential: who learns it from the
    /// application can speak for the client. So turn it on only where such clients are left.
    pub allow_eio3: bool,
    /// The cookie that carries the session id, set with the answer that opens a session over polling; for load balancers
    /// that route by it. Default none.
    pub cookie: Option<CookieOptions>,
    /// Which pages of other origins may read the answers. Default none: browsers let only pages of the same origin. It
    /// refuses nobody; for that there is [`EngineConfig::allow_request`].
    pub cors: Option<Cors>,
    /// Compression of answers to polls of at least [`HttpCompression::threshold`] bytes, for clients that accept it.
    /// Default from 1024 bytes on. `None` where a proxy in front compresses, or where the processor is scarcer than the
    /// network.
    pub http_compression: Option<HttpCompression>,
    /// A message that every client gets right after the open packet, in the same answer. Default none.
    pub initial_packet: Option<Message>,
    /// Decides whether a client may open a session. Default: every client may. Asked after the request was found valid,
    /// and only when a session is opened; refuses with 403 (400 for a WebSocket).
    pub allow_request: Option<Hook<Result<(), Forbidden>>>,
    /// Makes the id of a new session. Default: 20 random characters. An id is a credential: it has to be
    /// unguessable. For load balancers that route by it. An error, an empty id or one that is taken is answered 400.
    pub generate_id: Option<Hook<Result<String, HookError>>>,
    /// Run in order for every request before it is verified, Node's `engine.use`. Default none. They can answer
    /// themselves, add headers to the answer, and attach values to the session that is opened; an error is answered 400.
    /// Ordinary tower layers around the service do as well, except that refusals are not observed.
    pub middlewares: Vec<Hook<Result<Next, HookError>>>,
    /// Changes the headers of the first answer of each session (the 101 of a WebSocket, too), after
    /// [`EngineConfig::cookie`]. Default none. `append` a `Set-Cookie`, so that others stay.
    pub initial_headers: Option<HeadersHook>,
    /// Changes the headers of every answer to a poll or POST and of every 101, after
    /// [`EngineConfig::initial_headers`]. Default none. Errors are not concerned.
    pub headers: Option<HeadersHook>,
    /// Bytes that may wait for a slow peer before it is closed with `transport error`; each message counts for
    /// [`EncodedMessage::OVERHEAD`](crate::proto::EncodedMessage::OVERHEAD) bytes more than it has. Default 16 MiB; a
    /// message larger than this is accepted into an empty queue. A broadcast to clients of both revisions, some of them
    /// compressed, keeps several forms of a message, once for all of them, and not counted here.
    pub max_send_queue: usize,
    /// What is done about a peer whose send queue is full. Default: it is closed. The others drop messages, but only
    /// those that say that they may be lost ([`EncodedMessage::with_droppable`](crate::proto::EncodedMessage::with_droppable)).
    pub slow_consumer: SlowConsumer,
    /// Bytes waiting for a peer, counted as for [`EngineConfig::max_send_queue`], above which it is said to lag
    /// ([`EngineHandler::on_lag`](super::EngineHandler::on_lag)); at a quarter of them it has caught up. Default 1 MiB. It
    /// changes nothing else.
    pub high_water_mark: usize,
    /// Proxies whose word on the client's address and on TLS is taken, as addresses (`192.0.2.1`) or ranges
    /// (`10.0.0.0/8`). Default none: the TCP connection alone counts. Set it to the addresses of your reverse proxies,
    /// each of which must append to (or overwrite) the headers chosen by `forwarded_header`; never to those of clients.
    pub trusted_proxies: Vec<String>,
    /// The header in which trusted proxies give their word. Default `X-Forwarded-For` and `X-Forwarded-Proto`; choose
    /// `Forwarded` for proxies that write that one.
    pub forwarded_header: ForwardedHeader,
    /// Compression of WebSocket messages for clients that offer it. Default `None`, no compression, as on Node. See
    /// [`PerMessageDeflate`] for what it costs.
    pub per_message_deflate: Option<PerMessageDeflate>,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            path: "/engine.io".to_owned(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_http_buffer_size: 1_000_000,
            transports: vec![TransportKind::Polling, TransportKind::WebSocket],
            allow_upgrades: true,
            add_trailing_slash: true,
            allow_eio3: false,
            cookie: None,
            cors: None,
            http_compression: Some(HttpCompression::default()),
            initial_packet: None,
            allow_request: None,
            generate_id: None,
            middlewares: Vec::new(),
            initial_headers: None,
            headers: None,
            max_send_queue: 16 * 1024 * 1024,
            slow_consumer: SlowConsumer::default(),
            high_water_mark: 1024 * 1024,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            per_message_deflate: None,
        }
    }
}

/// An option whose value makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The option's name.
    pub option: &'static str,
    /// The value it had.
    pub value: String,
    /// What is accepted.
    pub accepted: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option {} is {}, accepted is {}", self.option, self.value, self.accepted)
    }
}

impl std::error::Error for ConfigError {}

impl EngineConfig {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option whose value makes no sense, with what would.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let longest = Duration::from_millis(MAX_TIMER_MILLISECONDS);
        for (option, value) in [
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
        ] {
            if value < Duration::from_millis(1) || value > longest {
                return Err(ConfigError {
                    option,
                    value: format!("{value:?}"),
                    accepted: "a duration from 1 ms to 2147483647 ms",
                });
            }
        }
        if !self.path.starts_with('/') || self.path.contains(['?', '#']) {
            return Err(ConfigError {
                option: "path",
                value: format!("{:?}", self.path),
                accepted: "a path that starts with / and has no query",
            });
        }
        if self.max_http_buffer_size == 0 {
            return Err(ConfigError {
                option: "max_http_buffer_size",
                value: "0".to_owned(),
                accepted: "at least 1 byte",
            });
        }
        if self.max_send_queue == 0 {
            return Err(ConfigError {
                option: "max_send_queue",
                value: "0".to_owned(),
                accepted: "at least 1 byte",
            });
        }
        if self.transports.is_empty() {
            return Err(ConfigError {
                option: "transports",
                value: "empty".to_owned(),
                accepted: "at least one of polling and websocket",
            });
        }
        TrustedProxies::new(self)?;
        if let Some(cookie) = &self.cookie {
            cookie.validate()?;
        }
        if let Some(cors) = &self.cors {
            cors.validate()?;
        }
        if let Some(compression) = &self.http_compression {
            compression.validate()?;
        }
        if let Some(deflate) = &self.per_message_deflate {
            deflate.validate()?;
        }
        Ok(())
    }

    /// The prefix every request's path has: one trailing slash stripped, then one added (or not).
    pub(crate) fn path_prefix(&self) -> String {
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        if self.add_trailing_slash { format!("{path}/") } else { path.to_owned() }
    }

    pub(crate) fn session(&self) -> SessionConfig {
        SessionConfig {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            upgrade_timeout: self.upgrade_timeout,
            max_send_queue: self.max_send_queue,
            slow_consumer: self.slow_consumer,
            high_water_mark: self.high_water_mark,
        }
    }

    pub(crate) fn allows(&self, transport: TransportKind) -> bool {
        self.transports.contains(&transport)
    }
}

/// Node's timers count to 2^31 - 1 ms; a longer one fires at once there.
const MAX_TIMER_MILLISECONDS: u64 = 2_147_483_647;
