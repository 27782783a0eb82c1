//! Packets out: each becomes one `EncodedMessage`.

use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

use super::attachment::Attachments;
use super::error::EncodeError;
use super::layout::Layout;
use super::payload::{write_ack, write_event};
use super::{Packet, PacketKind, Payload};
use crate::proto::encoded::{EncodedMessage, TextInPlace};

impl Packet {
    /// Encodes it once for all transports (as Engine.IO messages).
    pub fn encode(&self) -> EncodedMessage {
        let json = self.data.as_ref().map_or("", |data| data.json());
        let attachments = self.data.as_ref().map_or(&[][..], Payload::attachments);
        let attachments = if self.kind.takes_attachments() { attachments } else { &[] };

        let mut text = start(&self.namespace, self.id, json.len());
        text.buffer().extend_from_slice(json.as_bytes());
        let prefix = Prefix::new(self.kind, attachments.len());
        text.finish(prefix.as_bytes(), attachments.iter().map(|data| &data[..]))
    }
}

/// An event or acknowledgement that was serialized straight into its final bytes.
#[derive(Debug)]
pub struct EncodedPacket {
    /// The finished message.
    pub message: EncodedMessage,
    data: PacketData,
}

/// Where the data of an encoded packet is.
#[derive(Debug)]
enum PacketData {
    /// The last bytes of the message's text, and its attachments.
    InMessage { layout: Layout, json_len: usize },
    /// Beside the message, which has another form.
    Apart(Payload),
}

impl EncodedPacket {
    /// Encodes an event without making a [`Packet`] first; `args` as in [`Payload::event`].
    ///
    /// # Errors
    /// If the name is reserved, or if `args` cannot be serialized.
    pub fn event<T: Serialize + ?Sized>(
        namespace: &str,
        id: Option<u64>,
        name: &str,
        args: &T,
    ) -> Result<EncodedPacket, EncodeError> {
        EncodedPacket::write(PacketKind::Event, namespace, id, |out, attachments| {
            write_event(out, attachments, name, args)
        })
    }

    /// Encodes an acknowledgement without making a [`Packet`] first; `args` as in [`Payload::ack`].
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn ack<T: Serialize + ?Sized>(
        namespace: &str,
        id: u64,
        args: &T,
    ) -> Result<EncodedPacket, EncodeError> {
        EncodedPacket::write(PacketKind::Ack, namespace, Some(id), |out, attachments| {
            write_ack(out, attachments, args)
        })
    }

    /// One that a parser has encoded.
    pub(super) fn of_parser(message: EncodedMessage, data: Payload) -> EncodedPacket {
        EncodedPacket { message, data: PacketData::Apart(data) }
    }

    /// The data of the packet, for those who need it beside the message (other nodes, the recovery log). It shares the
    /// bytes of the message, where that is in the default form.
    pub fn payload(&self) -> Payload {
        let (layout, json_len) = match &self.data {
            PacketData::InMessage { layout, json_len } => (*layout, *json_len),
            PacketData::Apart(payload) => return payload.clone(),
        };
        let mut parts = self.message.parts();
        let text = match parts.next() {
            Some(crate::proto::encoded::Part::Text(text)) => text,
            _ => unreachable!("a packet begins with a text frame"),
        };
        let json = self.message.ws4().slice_ref(&text[text.len() - json_len..]);
        let json = ByteString::try_from(json).expect("serializers write UTF-8");
        let attachments: Vec<Bytes> = parts
            .map(|part| match part {
                crate::proto::encoded::Part::Text(data) | crate::proto::encoded::Part::Binary(data) => {
                    self.message.ws4().slice_ref(data)
                }
            })
            .collect();
        Payload::from_parts(json, layout, attachments)
    }

    fn write(
        kind: PacketKind,
        namespace: &str,
        id: Option<u64>,
        write: impl FnOnce(&mut Vec<u8>, &mut Attachments) -> Result<Layout, EncodeError>,
    ) -> Result<EncodedPacket, EncodeError> {
        let mut attachments = Attachments::default();
        let mut text = start(namespace, id, USUAL_JSON_LEN);
        let json_start = text.buffer().len();
        let layout = write(text.buffer(), &mut attachments)?;
        let json_len = text.buffer().len() - json_start;
        let prefix = Prefix::new(kind, attachments.len());
        let message = text.finish(prefix.as_bytes(), attachments.iter());
        Ok(EncodedPacket { message, data: PacketData::InMessage { layout, json_len } })
    }
}

/// What most events fit into, so that they cost one allocation.
const USUAL_JSON_LEN: usize = 192;

/// Begins a text with all that stands between the attachment count and the JSON.
fn start(namespace: &str, id: Option<u64>, json_len: usize) -> TextInPlace {
    let mut text = TextInPlace::with_capacity(namespace.len() + 1 + MAX_ID_LEN + json_len);
    if namespace != "/" {
        text.buffer().extend_from_slice(namespace.as_bytes());
        text.buffer().push(b',');
    }
    if let Some(id) = id {
        text.buffer().extend_from_slice(decimal(id, &mut [0; MAX_ID_LEN]));
    }
    text
}

/// The digits of `u64::MAX`.
const MAX_ID_LEN: usize = 20;

/// Writes a number at the end of `room` and returns its digits.
fn decimal(mut number: u64, room: &mut [u8; MAX_ID_LEN]) -> &[u8] {
    let mut start = room.len();
    loop {
        start -= 1;
        room[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &room[start..];
        }
    }
}

/// What stands before the namespace: Engine.IO's type, the packet's type, the number of attachments.
struct Prefix {
    bytes: [u8; TextInPlace::MAX_PREFIX_LEN],
    len: usize,
}

impl Prefix {
    fn new(kind: PacketKind, attachments: usize) -> Prefix {
        let mut prefix = Prefix { bytes: [0; TextInPlace::MAX_PREFIX_LEN], len: 0 };
        prefix.push(&[b'4', kind.digit(attachments > 0)]);
        if attachments > 0 {
            prefix.push(decimal(attachments as u64, &mut [0; MAX_ID_LEN]));
            prefix.push(b"-");
        }
        prefix
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl PacketKind {
    fn takes_attachments(self) -> bool {
        matches!(self, PacketKind::Event | PacketKind::Ack)
    }

    fn digit(self, has_attachments: bool) -> u8 {
        match (self, has_attachments) {
            (PacketKind::Connect, _) => b'0',
            (PacketKind::Disconnect, _) => b'1',
            (PacketKind::Event, false) => b'2',
            (PacketKind::Ack, false) => b'3',
            (PacketKind::ConnectError, _) => b'4',
            (PacketKind::Event, true) => b'5',
            (PacketKind::Ack, true) => b'6',
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::proto::socketio::Args;

    fn polling(message: &EncodedMessage) -> String {
        String::from_utf8(message.polling4().to_vec()).unwrap()
    }

    #[track_caller]
    fn check(packet: &Packet, expected: &str) {
        assert_eq!(polling(&packet.encode()), expected);
    }

    #[test]
    fn each_kind_has_its_digit() {
        check(&Packet::new(PacketKind::Connect, "/"), "40");
        check(&Packet::new(PacketKind::Disconnect, "/admin"), "41/admin,");
        check(&Packet::new(PacketKind::ConnectError, "/").with_data(Payload::value("x").unwrap()), "44\"x\"");
        let event = Payload::event("e", &(1, Bytes::from_static(b"\x01"))).unwrap();
        let event = Packet::new(PacketKind::Event, "/a").with_id(7).with_data(event);
        check(&event, "451-/a,7[\"e\",1,{\"_placeholder\":true,\"num\":0}]\u{1e}bAQ==");
        let ack = Packet::new(PacketKind::Ack, "/").with_id(u64::MAX).with_data(Payload::ack(&()).unwrap());
        check(&ack, "4318446744073709551615[]");
    }

    #[test]
    fn the_direct_way_gives_the_same_bytes_and_the_payload() {
        let args = ("x".repeat(300), Bytes::from_static(b"\x01"), vec![Bytes::new(), vec![9; 70_000].into()]);
        let direct = EncodedPacket::event("/ns", Some(3), "e", &args).unwrap();
        let payload = Payload::event("e", &args).unwrap();
        assert_eq!(direct.payload(), payload);
        let packet = Packet::new(PacketKind::Event, "/ns").with_id(3).with_data(payload);
        assert_eq!(direct.message.ws4(), packet.encode().ws4());
        assert_eq!(direct.message.packets(), 4);

        let direct = EncodedPacket::ack("/", 0, &(1, 2)).unwrap();
        assert_eq!(polling(&direct.message), "430[1,2]");
        assert_eq!(direct.payload(), Payload::ack(&(1, 2)).unwrap());
        assert!(EncodedPacket::event("/", None, "disconnect", &()).is_err());
    }

    #[test]
    fn a_text_argument_is_added_at_the_end() {
        let add = |payload: &Payload| payload.with_text_argument("o\"1").unwrap();
        let empty = add(&Payload::event("e", &()).unwrap());
        assert_eq!(&**empty.json(), r#"["e","o\"1"]"#);
        assert_eq!(empty.args::<String>().unwrap(), "o\"1");
        assert_eq!(empty, Payload::event("e", &("o\"1",)).unwrap());
        let some = add(&Payload::event("e", &(1, Bytes::from_static(b"x"))).unwrap());
        assert_eq!(some.args::<(u8, Bytes, String)>().unwrap(), (1, Bytes::from_static(b"x"), "o\"1".into()));
        let received = add(&Payload::event_from_json("[ \"e\", \"\\ud800\" ] ".into()).unwrap());
        assert_eq!(received.args::<(String, String)>().unwrap(), ("\u{fffd}".into(), "o\"1".into()));
        assert_eq!(&**add(&Payload::ack(&()).unwrap()).json(), r#"["o\"1"]"#);
    }

    #[test]
    fn the_payload_shares_the_bytes_of_the_message() {
        let direct =
            EncodedPacket::event("/", None, "e", &Args(vec![Bytes::from_static(b"abc").into()])).unwrap();
        let payload = direct.payload();
        let message = direct.message.ws4().as_ptr_range();
        assert!(message.contains(&payload.json().as_bytes().as_ptr()));
        assert!(message.contains(&payload.attachments()[0].as_ptr()));
    }

    proptest! {
        #[test]
        fn both_ways_are_the_same_for_all_lengths(len in 0usize..70_000, id in any::<Option<u64>>()) {
            let args = "x".repeat(len);
            let direct = EncodedPacket::event("/", id, "e", &args).unwrap();
            let mut packet = Packet::new(PacketKind::Event, "/").with_data(Payload::event("e", &args).unwrap());
            packet.id = id;
            let encoded = packet.encode();
            prop_assert_eq!(direct.message.ws4(), encoded.ws4());
        }
    }
}
