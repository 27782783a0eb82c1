//! The open packet: what the server tells a client at the handshake.

use std::time::Duration;

/// The handshake data, written with its keys in Node's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPacket<'a> {
    /// The session id (a credential).
    pub sid: &'a str,
    /// Transports the client may upgrade to.
    pub upgrades: &'a [&'a str],
    /// Written in milliseconds.
    pub ping_interval: Duration,
    /// Written in milliseconds.
    pub ping_timeout: Duration,
    /// In bytes.
    pub max_payload: usize,
}

impl OpenPacket<'_> {
    /// Writes the whole text packet, `0{"sid":…,"upgrades":…,"pingInterval":…,"pingTimeout":…,"maxPayload":…}`.
    pub fn encode(&self) -> String {
        let upgrades: Vec<String> = self.upgrades.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            r#"0{{"sid":"{}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.sid,
            upgrades.join(","),
            self.ping_interval.as_millis(),
            self.ping_timeout.as_millis(),
            self.max_payload
        )
    }
}
