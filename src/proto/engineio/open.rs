//! The open packet: what the server tells a client at the handshake.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The handshake data, written with its keys in Node's order.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPacket<'a> {
    /// The session id (a credential).
    pub sid: &'a str,
    /// Transports the client may upgrade to.
    pub upgrades: &'a [&'a str],
    /// Written in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub ping_interval: Duration,
    /// Written in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub ping_timeout: Duration,
    /// In bytes.
    pub max_payload: usize,
}

impl fmt::Debug for OpenPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The session id is a credential.
        f.debug_struct("OpenPacket").field("upgrades", &self.upgrades).finish_non_exhaustive()
    }
}

impl OpenPacket<'_> {
    /// Writes the whole text packet, `0{"sid":…,"upgrades":…,"pingInterval":…,"pingTimeout":…,"maxPayload":…}`.
    pub fn encode(&self) -> String {
        let json = serde_json::to_string(self).expect("strings and numbers serialise, into memory");
        format!("0{json}")
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_come_in_the_order_of_node() {
        let open = OpenPacket {
            sid: "lv_VI97HAXpY6yYWAAAC",
            upgrades: &["websocket"],
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
        };
        assert_eq!(
            open.encode(),
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        );
        let open = OpenPacket { sid: "a\"b", upgrades: &[], ping_timeout: Duration::MAX, ..open };
        assert!(open.encode().starts_with(r#"0{"sid":"a\"b","upgrades":[],"#));
    }
}
