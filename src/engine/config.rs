//! EngineConfig: every limit with unit, default and reason.

use std::fmt;
use std::time::Duration;

use super::permessage_deflate::PerMessageDeflate;
use crate::proto::engineio::{SessionConfig, TransportKind};

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
    /// Bytes that may wait for a slow peer before it is closed with `transport error`. Default 16 MiB; a message
    /// larger than this is accepted into an empty queue.
    pub max_send_queue: usize,
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
            max_send_queue: 16 * 1024 * 1024,
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
        if let Some(deflate) = &self.per_message_deflate {
            deflate.validate()?;
        }
        Ok(())
    }

    /// The prefix every request's path has: one trailing slash stripped, then one added.
    pub(crate) fn path_prefix(&self) -> String {
        format!("{}/", self.path.strip_suffix('/').unwrap_or(&self.path))
    }

    pub(crate) fn session(&self) -> SessionConfig {
        SessionConfig {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            upgrade_timeout: self.upgrade_timeout,
            max_send_queue: self.max_send_queue,
        }
    }

    pub(crate) fn allows(&self, transport: TransportKind) -> bool {
        self.transports.contains(&transport)
    }
}

/// Node's timers count to 2^31 - 1 ms; a longer one fires at once there.
const MAX_TIMER_MILLISECONDS: u64 = 2_147_483_647;
