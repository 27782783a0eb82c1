//! Any bytes as a message of another server: what is read can be written, and is the same when it is read again.

use bytes::Bytes;

use crate::proto::cluster::classic::{Broadcast, Request, Response};
use crate::proto::cluster::streams::{Entry, Session};
use crate::proto::cluster::{Form, Message};

/// Takes a byte that says what it is, and the message.
///
/// # Panics
/// If what was read is something else after it was written and read once more.
pub fn cluster_message(data: &[u8]) {
    let Some((what, message)) = data.split_first() else { return };
    let message = Bytes::copy_from_slice(message);
    match what % 6 {
        0 => comes_back(Broadcast::decode(&message).ok(), Broadcast::encode, |bytes| {
            Broadcast::decode(bytes).ok()
        }),
        1 => comes_back(Request::decode(&message).ok(), Request::encode, |bytes| Request::decode(bytes).ok()),
        2 => {
            comes_back(Response::decode(&message).ok(), Response::encode, |bytes| {
                Response::decode(bytes).ok()
            });
        }
        3 => {
            for form in [Form::Json, Form::Msgpack, Form::Notepack] {
                let encode = |message: &Message| message.encode(form);
                comes_back(Message::decode(&message).ok(), encode, |bytes| Message::decode(bytes).ok());
            }
        }
        4 => entry(&message),
        _ => {
            let encode = |session: &Session| session.encode().expect("what was read can be written").into();
            comes_back(Session::decode(&message).ok(), encode, |bytes| Session::decode(bytes).ok());
        }
    }
}

/// What has been through this form once changes no more: numbers have JavaScript's widths then, undefined values are
/// gone. (Written in JSON, bytes become an object; read from JSON, values may be nested too deep for MessagePack.)
fn comes_back<T: std::fmt::Debug + PartialEq>(
    read: Option<T>,
    encode: impl Fn(&T) -> Bytes,
    decode: impl Fn(&Bytes) -> Option<T>,
) {
    let Some(read) = read else { return };
    let Some(once) = decode(&encode(&read)) else { return };
    let twice = decode(&encode(&once)).expect("what was written and read can be written and read");
    assert_eq!(twice, once);
}

/// The fields of an entry, separated by 0xff.
fn entry(message: &Bytes) {
    let fields: Vec<Bytes> =
        message.split(|&byte| byte == 0xff).map(|field| message.slice_ref(field)).collect();
    let named = fields.chunks_exact(2).map(|field| (&field[0][..], &field[1]));
    let Ok(message) = Entry::decode(named) else { return };
    for only_plaintext in [false, true] {
        let fields: Vec<_> = Entry::new(&message, only_plaintext).fields().collect();
        let Ok(once) = Entry::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value))) else {
            continue;
        };
        let again: Vec<_> = Entry::new(&once, only_plaintext).fields().collect();
        let twice = Entry::decode(again.iter().map(|(name, value)| (name.as_bytes(), value)));
        assert_eq!(twice.expect("what was written and read can be written and read"), once);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of each kind.
    const SEEDS: [&[u8]; 8] = [
        b"\x00\x93\xa1u\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x01\x07\xa3nsp\xa1/\x83\xa5rooms\x91\xa1r\xa6except\x90\xa5flags\x81\xa8volatile\xc3",
        b"\x01{\"uid\":\"u\",\"requestId\":\"r\",\"type\":6,\"data\":[\"e\",1.5]}",
        b"\x01{\"type\":2,\"opts\":{\"rooms\":[1],\"except\":[]},\"rooms\":[\"a\"]}",
        b"\x02{\"requestId\":null,\"sockets\":[{\"id\":\"a\",\"handshake\":{},\"rooms\":[\"a\"],\"data\":{}}]}",
        b"\x02\x83\xa4type\x09\xa9requestId\xa1r\xa6packet\x92\xc4\x01\x07\xd6\xff\0\0\0\x01",
        b"\x03{\"type\":3,\"data\":{\"packet\":{\"type\":2,\"data\":[\"e\",9007199254740993]},\"opts\":{}},\"nsp\":\"/\"}",
        b"\x04uid\xffemitter\xffnsp\xff/\xfftype\xff9\xffdata\xff{\"packet\":[\"connect\",1]}",
        b"\x05hKNzaWSic2mjcGlkonBppXJvb21zkaJzaaRkYXRhgaF1AQ==",
    ];

    #[test]
    fn seeds_keep_the_invariants() {
        assert!(Broadcast::decode(&Bytes::from_static(&SEEDS[0][1..])).is_ok());
        assert!(Session::decode(&SEEDS[7][1..]).is_ok());
        SEEDS.iter().for_each(|seed| cluster_message(seed));
    }

    proptest! {
        #[test]
        fn changed_seeds_keep_the_invariants(
            seed in proptest::sample::select(&SEEDS[..]),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut data = seed.to_vec();
            for (place, byte) in changes {
                let place = place.index(data.len());
                data[place] = byte;
            }
            cluster_message(&data);
        }
    }
}
