//! Which node of a Redis Cluster owns which slots.

use redis::Value;

use super::config::Endpoint;

/// The slots of a cluster and their owners, as one node told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topology {
    /// First and last slot, and the owner.
    ranges: Vec<(u16, u16, Endpoint)>,
    /// Those who copy an owner, each once.
    replicas: Vec<Endpoint>,
}

impl Topology {
    /// Reads the answer to `CLUSTER SLOTS`; `from` is who gave it. `None` if it is something else.
    pub(super) fn read(answer: &Value, from: &Endpoint) -> Option<Topology> {
        let Value::Array(entries) = answer else { return None };
        let mut ranges = Vec::with_capacity(entries.len());
        let mut replicas = Vec::new();
        for entry in entries {
            let Value::Array(parts) = entry else { return None };
            let [Value::Int(first), Value::Int(last), owner, others @ ..] = parts.as_slice() else {
                return None;
            };
            ranges.push((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, endpoint(owner, from)?));
            replicas.extend(others.iter().filter_map(|replica| endpoint(replica, from)));
        }
        ranges.sort_by_key(|(first, ..)| *first);
        replicas.sort_by_key(ToString::to_string);
        replicas.dedup();
        Some(Topology { ranges, replicas })
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

    /// All nodes that copy others.
    pub(super) fn replicas(&self) -> &[Endpoint] {
        &self.replicas
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// A node in an answer that `from` gave.
fn endpoint(node: &Value, from: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = node else { return None };
    let port = match parts.get(1) {
        Some(Value::Int(port)) => u16::try_from(*port).ok()?,
        _ => return None,
    };
    // "NULL means the client should use the same endpoint it used to send the command"; `?` is an unknown one.
    let host = match (parts.first(), from) {
        (Some(Value::BulkString(host)), _) if !host.is_empty() && host != b"?" => {
            String::from_utf8(host.clone()).ok()?
        }
        (_, Endpoint::Tcp { host, .. }) => host.clone(),
        _ => return None,
    };
    Some(Endpoint::Tcp { host, port })
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
        let range = |first, last, nodes: &[Value]| {
            Value::Array([&[Value::Int(first), Value::Int(last)], nodes].concat())
        };
        let answer = Value::Array(vec![
            range(8192, 12000, &[node(b"b", 2), node(b"c", 3), node(b"b", 4)]),
            range(12001, 16383, &[node(b"b", 2), node(b"c", 3), Value::Nil]),
            range(0, 8191, &[node(b"", 1)]),
        ]);
        let from = Endpoint::Tcp { host: "asked".to_owned(), port: 9 };
        let topology = Topology::read(&answer, &from).unwrap();
        let [a, b] =
            [("asked", 1), ("b", 2)].map(|(host, port)| Endpoint::Tcp { host: host.to_owned(), port });
        assert_eq!(topology.owner(0), Some(&a));
        assert_eq!(topology.owner(16383), Some(&b));
        assert_eq!(topology.masters(), [&a, &b]);
        let replicas = [("b", 4), ("c", 3)].map(|(host, port)| Endpoint::Tcp { host: host.to_owned(), port });
        assert_eq!(topology.replicas(), replicas);
        assert_eq!(Topology::read(&Value::Okay, &from), None);
    }
}
