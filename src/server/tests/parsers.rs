use bytes::Bytes;
use bytestring::ByteString;

use super::*;
use crate::engine::Message;
use crate::proto::socketio::{DecoderLimits, EncodeError, Packet, PacketKind, Payload};

/// Base64 of a MessagePack packet, as it goes over polling.
fn packed(kind: PacketKind, data: Option<Payload>, id: Option<u64>) -> String {
    let packet = Packet { kind, namespace: "/".into(), id, data };
    let message = MsgpackParser.encode(&packet).unwrap().remove(0);
    String::from_utf8(crate::proto::EncodedMessage::message(&message).polling4().to_vec()).unwrap()
}

fn packed_event<T: Serialize + ?Sized>(name: &str, args: &T, id: Option<u64>) -> String {
    packed(PacketKind::Event, Some(Payload::event(name, args).unwrap()), id)
}

async fn connected(io: &Server) -> (Client, Socket) {
    let client = Client::open(io).await;
    client.post(&packed(PacketKind::Connect, None, None)).await;
    let socket = io.of("/").sockets().pop().unwrap();
    let welcome = Payload::value(&serde_json::json!({ "sid": socket.id() })).unwrap();
    assert_eq!(client.poll().await, packed(PacketKind::Connect, Some(welcome), None));
    (client, socket)
}

#[tokio::test(start_paused = true)]
async fn handlers_read_and_emit_the_same_values_with_messagepack() {
    let (io, log) = server_with(|builder| builder.parser(MsgpackParser));
    io.on("add", async |event: Event| {
        let (bytes, number): (Bytes, u32) = event.args()?;
        event.socket().emit("echo", &event.raw_args())?;
        event.ack(&(number + 1, bytes))?;
        Ok::<_, HandlerError>(())
    });
    let (client, socket) = connected(&io).await;
    let args = (Bytes::from_static(b"x"), 1);
    client.post(&packed_event("add", &args, Some(3))).await;
    let answer = Payload::ack(&(2, Bytes::from_static(b"x"))).unwrap();
    let expected = [packed_event("echo", &args, None), packed(PacketKind::Ack, Some(answer), Some(3))];
    assert_eq!(client.poll().await, expected.join("|"));

    io.emit("all", &[1]).unwrap();
    assert_eq!(client.poll().await, packed_event("all", &[1], None));

    let asked = socket.emit_with_ack::<String>("ask", &());
    assert_eq!(client.poll().await, packed_event("ask", &(), Some(0)));
    client.post(&packed(PacketKind::Ack, Some(Payload::ack("yes").unwrap()), Some(0))).await;
    assert_eq!(asked.await.unwrap(), "yes");

    socket.disconnect();
    assert_eq!(client.poll().await, packed(PacketKind::Disconnect, None, None));
    settle().await;
    assert_eq!(log.take(), ["/ server namespace disconnect 0"]);
}

#[tokio::test(start_paused = true)]
async fn binary_in_auth_is_read_with_messagepack() {
    let (io, _) = server_with(|builder| builder.parser(MsgpackParser));
    let client = Client::open(&io).await;
    // {type: 0, nsp: "/", data: {key: <01 02>}}
    client.post("bg6R0eXBlAKNuc3ChL6RkYXRhgaNrZXnEAgEC").await;
    let auth = io.of("/").sockets()[0].handshake().auth_value();
    assert_eq!(auth["key"], Value::from(Bytes::from_static(b"\x01\x02")));
}

#[tokio::test(start_paused = true)]
async fn text_closes_the_connection_with_messagepack() {
    let (io, log) = server_with(|builder| builder.parser(MsgpackParser));
    let (client, _) = connected(&io).await;
    client.post("42[\"e\"]").await;
    assert_eq!(io.stats().decode_errors, 1);
    assert_eq!(client.poll().await, "6|1");
    assert!(client.is_closed().await);
    assert_eq!(log.take(), ["/ forced close 0"]);
}

/// Packets as two messages each: the type, and the data with the namespace before it. It writes no acknowledgements.
#[derive(Debug)]
struct InTwo;

impl Parser for InTwo {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, ParserError> {
        if packet.kind == PacketKind::Ack {
            return Err(ParserError::new("no acknowledgements"));
        }
        let json = packet.data.as_ref().map_or("", |data| data.json());
        let kind = packet.kind.number().to_string();
        Ok(vec![Message::Text(kind.into()), Message::Binary(format!("{} {json}", packet.namespace).into())])
    }

    fn decoder(&self, _limits: &DecoderLimits) -> Box<dyn PacketDecoder> {
        Box::new(InTwoDecoder { kind: None })
    }
}

#[derive(Debug)]
struct InTwoDecoder {
    kind: Option<PacketKind>,
}

impl PacketDecoder for InTwoDecoder {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, ParserError> {
        match message {
            Message::Text(kind) => {
                self.kind = PacketKind::from_number(kind.parse().map_err(ParserError::new)?);
                Ok(None)
            }
            Message::Binary(data) => {
                let kind = self.kind.take().ok_or_else(|| ParserError::new("the type is missing"))?;
                let text = ByteString::try_from(data).map_err(ParserError::new)?;
                let (namespace, json) = text.split_once(' ').ok_or_else(|| ParserError::new("no space"))?;
                let mut packet = Packet::new(kind, namespace).with_id(1);
                packet.data = Payload::from_json(kind, json.into());
                Ok(Some(packet))
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_parser_of_ones_own_has_messages_that_stay_together_and_a_decoder_per_connection() {
    let (io, _) = server_with(|builder| builder.parser(InTwo));
    io.on("hello", async |event: Event| event.socket().broadcast().emit("heard", &event.raw_args()));
    io.on("ack", async |event: Event| {
        let refused = event.ack(&());
        assert!(matches!(refused, Err(EncodeError::Parser(_))));
    });
    let (one, other) = (Client::open(&io).await, Client::open(&io).await);
    for client in [&one, &other] {
        client.post("40").await;
        client.post("bLyA=").await; // "/ "
        assert!(client.poll().await.starts_with("40|b"));
    }
    one.post("42").await;
    assert_eq!(io.stats().decode_errors, 0);
    other.post("42\x1ebLyBbImFjayJd").await; // / ["ack"]
    one.post("bLyBbImhlbGxvIiwxXQ==").await; // / ["hello",1]
    assert_eq!(other.poll().await, "42|bLyBbImhlYXJkIiwxXQ==");
    other.post("bLyA=").await;
    assert_eq!(io.stats().decode_errors, 1);
}

/// Has a form for nothing.
#[derive(Debug)]
struct Mute;

impl Parser for Mute {
    fn encode(&self, _packet: &Packet) -> Result<Vec<Message>, ParserError> {
        Ok(vec![])
    }

    fn decoder(&self, limits: &DecoderLimits) -> Box<dyn PacketDecoder> {
        InTwo.decoder(limits)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_parser_has_no_form_for_is_not_sent() {
    let (io, _) = server_with(|builder| builder.parser(Mute));
    let client = Client::open(&io).await;
    client.post("40\x1ebLyA=").await;
    let socket = io.of("/").sockets().pop().unwrap();
    assert!(matches!(socket.emit("e", &()), Err(EncodeError::Parser(_))));
    assert!(matches!(io.emit("e", &()), Err(EncodeError::Parser(_))));
    assert!(matches!(socket.emit_with_ack::<()>("e", &()).await, Err(AckError::Emit(_))));
    socket.disconnect();
    settle().await;
    assert!(io.of("/").sockets().is_empty());
    assert!(!client.is_closed().await);
}
