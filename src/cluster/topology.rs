//! Which node of a Redis Cluster owns which slots.

use redis::Value;

use super::config::Endpoint;

/// The slots of a cluster and their owners, as one node told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    /// First and last slot, and the owner.
    ranges: Vec<(u16, u16, Endpoint)>,
}

impl Topology {
    /// Reads the answer to `CLUSTER SLOTS`; `from` is who gave it. `None` if it is something else.
    pub(super) fn read(answer: &Value, from: &Endpoint) -> Option<Topology> {
        let Value::Array(entries) = answer else { return None };
        let mut ranges = Vec::with_capacity(entries.len());
        for entry in entries {
            let Value::Array(parts) = entry else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(owner), ..] = parts.as_slice() else {
                return None;
            };
            let port = match owner.get(1) {
                Some(Value::Int(port)) => u16::try_from(*port).ok()?,
                _ => return None,
            };
            // "NULL means the client should use the same endpoint it used to send the command"; `?` is an unknown one.
            let host = match (owner.first(), from) {
                (Some(Value::BulkString(host)), _) if !host.is_empty() && host != b"?" => {
                    String::from_utf8(host.clone()).ok()?
                }
                (_, Endpoint::Tcp { host, .. }) => host.clone(),
                _ => return None,
            };
            ranges.push((
                u16::try_from(*first).ok()?,
                u16::try_from(*last).ok()?,
                Endpoint::Tcp { host, port },
            ));
        }
        ranges.sort_by_key(|(first, ..)| *first);
        Some(Topology { ranges })
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Endpoint> {
        self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., owner)| owner)
    }

    /// All nodes that own slots, each once, in the order of their first slots.
    pub(super) fn masters(&self) -> Vec<&Endpoint> {
        let mut masters = Vec::new();
        for (.., owner) in &self.ranges {
            if !masters.contains(&owner) {
                masters.push(owner);
            }
        }
        masters
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// The slot of a key or of a sharded channel: CRC-16 of it, or of what its first `{…}` holds.
pub(super) fn slot(key: &[u8]) -> u16 {
    let hashed = match key.iter().position(|&byte| byte == b'{') {
        Some(open) => match key[open + 1..].iter().position(|&byte| byte == b'}') {
            Some(0) | None => key,
            Some(length) => &key[open + 1..open + 1 + length],
        },
        None => key,
    };
    // "CRC16-CCITT (XMODEM)" (Redis Cluster specification). Bit by bit: it is reckoned once a command.
    let crc = hashed.iter().fold(0_u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

const SLOTS: u16 = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        // Captured from CLUSTER KEYSLOT.
        assert_eq!(slot(b"foo"), 12182);
    }

    #[test]
    fn owners_are_read_from_cluster_slots() {
        let node = |host: &[u8], port| {
            Value::Array(vec![
                Value::BulkString(host.to_vec()),
                Value::Int(port),
                Value::BulkString(b"id".to_vec()),
            ])
        };
        let range = |first, last, owner| Value::Array(vec![Value::Int(first), Value::Int(last), owner]);
        let answer = Value::Array(vec![range(8192, 16383, node(b"b", 2)), range(0, 8191, node(b"", 1))]);
        let from = Endpoint::Tcp { host: "asked".to_owned(), port: 9 };
        let topology = Topology::read(&answer, &from).unwrap();
        let [a, b] =
            [("asked", 1), ("b", 2)].map(|(host, port)| Endpoint::Tcp { host: host.to_owned(), port });
        assert_eq!(topology.owner(0), Some(&a));
        assert_eq!(topology.owner(16383), Some(&b));
        assert_eq!(topology.masters(), [&a, &b]);
        assert_eq!(Topology::read(&Value::Okay, &from), None);
    }
}
