//! ServerConfig: the options of Socket.IO, and those of the engine below.

use std::sync::Arc;
use std::time::Duration;

use super::adapter::AdapterFactory;
use super::client_bundle::ClientBundle;
use super::recovery::ConnectionStateRecovery;
use crate::engine::{ConfigError, EngineConfig};
use crate::proto::socketio::{Codec, DecoderLimits};

/// What a server was built with; set through [`Server::builder`](super::Server::builder).
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    pub(crate) engine: EngineConfig,
    pub(crate) codec: Codec,
    /// From the open connection to the first joined namespace at the latest.
    pub(crate) connect_timeout: Duration,
    pub(crate) max_attachments: usize,
    pub(crate) max_namespaces_per_connection: usize,
    pub(crate) max_dynamic_namespaces: usize,
    pub(crate) cleanup_empty_child_namespaces: bool,
    pub(crate) max_waiting_handlers: usize,
    pub(crate) max_waiting_bytes: usize,
    pub(crate) max_parked_bytes: usize,
    pub(crate) client_bundle: Option<Arc<ClientBundle>>,
    pub(crate) adapter: Option<Arc<dyn AdapterFactory>>,
    pub(crate) recovery: Option<ConnectionStateRecovery>,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        let engine = EngineConfig { path: "/socket.io".to_owned(), ..EngineConfig::default() };
        ServerConfig {
            engine,
            codec: Codec::default(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            max_attachments: DecoderLimits::default().max_attachments,
            max_namespaces_per_connection: DEFAULT_MAX_NAMESPACES,
            max_dynamic_namespaces: DEFAULT_MAX_DYNAMIC_NAMESPACES,
            cleanup_empty_child_namespaces: false,
            max_waiting_handlers: DEFAULT_MAX_WAITING_HANDLERS,
            max_waiting_bytes: DEFAULT_MAX_WAITING_BYTES,
            max_parked_bytes: DEFAULT_MAX_PARKED_BYTES,
            client_bundle: None,
            adapter: None,
            recovery: None,
        }
    }
}

impl ServerConfig {
    /// Checks the options that are not the engine's (which checks its own).
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.connect_timeout > MAX_TIMEOUT {
            return Err(ConfigError {
                option: "connect_timeout",
                value: format!("{:?}", self.connect_timeout),
                accepted: "a duration up to 2147483647 ms (0: 45 s)",
            });
        }
        for (option, value) in [
            ("max_dynamic_namespaces", self.max_dynamic_namespaces),
            ("max_namespaces_per_connection", self.max_namespaces_per_connection),
            ("max_waiting_handlers", self.max_waiting_handlers),
        ] {
            if value == 0 {
                return Err(ConfigError { option, value: "0".to_owned(), accepted: "at least 1" });
            }
        }
        Ok(())
    }

    /// "0 falls back to the default", as on Node.
    pub(crate) fn connect_timeout(&self) -> Duration {
        if self.connect_timeout.is_zero() { DEFAULT_CONNECT_TIMEOUT } else { self.connect_timeout }
    }

    pub(crate) fn decoder(&self) -> DecoderLimits {
        // As many messages of the largest size as one packet may have: its text and its attachments. Not fewer than with
        // the default, for parsers to which attachments are no messages.
        let messages = self.max_attachments.max(DecoderLimits::default().max_attachments).saturating_add(1);
        DecoderLimits {
            max_attachments: self.max_attachments,
            max_pending_bytes: self.engine.max_http_buffer_size.saturating_mul(messages),
        }
    }
}

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(45);
/// Far more than any application has, few enough that a connection stays small.
const DEFAULT_MAX_NAMESPACES: usize = 100;
/// What one client could make in a second must not fill the memory.
const DEFAULT_MAX_DYNAMIC_NAMESPACES: usize = 10_000;
const DEFAULT_MAX_WAITING_HANDLERS: usize = 1024;
/// As much as may wait for a client by default.
const DEFAULT_MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
const DEFAULT_MAX_PARKED_BYTES: usize = 1024 * 1024;
/// Node's timers count to 2^31 - 1 ms.
const MAX_TIMEOUT: Duration = Duration::from_millis(2_147_483_647);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connect_timeout_means_the_default() {
        let config = ServerConfig { connect_timeout: Duration::ZERO, ..ServerConfig::default() };
        assert_eq!(config.connect_timeout(), Duration::from_secs(45));
    }

    #[test]
    fn an_option_that_makes_no_sense_is_named() {
        let config = ServerConfig { max_waiting_handlers: 0, ..ServerConfig::default() };
        assert_eq!(config.validate().unwrap_err().option, "max_waiting_handlers");
    }
}
