//! `Parser`: how packets are written as messages and read from them, where that is not Socket.IO's own form.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{Decoder, DecoderLimits, EncodeError, EncodedPacket, Packet, PacketKind, Payload};
use crate::proto::encoded::EncodedMessage;
use crate::proto::engineio::Message;

/// A form of packets other than the default one; clients have to use the same. Node's option `parser`.
///
/// A packet holds JSON text, and attachments where the text has placeholders ([`Payload`]): that is what handlers read
/// and what `emit` writes, whatever the form on the wire. A parser translates.
///
/// # Example: packets as JSON objects, without attachments
/// ```
/// use ferrio::engine::Message;
/// use ferrio::proto::socketio::{DecoderLimits, Packet, PacketKind, Payload};
/// use ferrio::{PacketDecoder, Parser, ParserError, Server};
/// use serde::{Deserialize, Serialize};
/// use serde_json::value::RawValue;
///
/// #[derive(Serialize, Deserialize)]
/// struct Wire<'a> {
///     r#type: u8,
///     nsp: String,
///     id: Option<u64>,
///     #[serde(borrow)]
///     data: Option<&'a RawValue>,
/// }
///
/// #[derive(Debug)]
/// struct JsonParser;
///
/// impl Parser for JsonParser {
///     fn encode(&self, packet: &Packet) -> Result<Vec<Message>, ParserError> {
///         if packet.data.as_ref().is_some_and(|data| !data.attachments().is_empty()) {
///             return Err(ParserError::new("binary values have no form in JSON"));
///         }
///         let data = packet.data.as_ref().map(|data| serde_json::from_str(data.json()));
///         let wire = Wire {
///             r#type: packet.kind.number(),
///             nsp: packet.namespace.to_string(),
///             id: packet.id,
///             data: data.transpose().map_err(ParserError::new)?,
///         };
///         Ok(vec![Message::Text(serde_json::to_string(&wire).map_err(ParserError::new)?.into())])
///     }
///
///     fn decoder(&self, _limits: &DecoderLimits) -> Box<dyn PacketDecoder> {
///         Box::new(JsonDecoder)
///     }
/// }
///
/// /// Every message is a packet: there is nothing to keep from one to the next.
/// #[derive(Debug)]
/// struct JsonDecoder;
///
/// impl PacketDecoder for JsonDecoder {
///     fn decode(&mut self, message: Message) -> Result<Option<Packet>, ParserError> {
///         let Message::Text(text) = message else { return Err(ParserError::new("a packet is text")) };
///         let wire: Wire = serde_json::from_str(&text).map_err(ParserError::new)?;
///         let kind = PacketKind::from_number(wire.r#type).ok_or_else(|| ParserError::new("no packet type"))?;
///         let data = match wire.data {
///             Some(data) => Some(Payload::from_json(kind, data.get().into()).ok_or_else(|| ParserError::new("bad data"))?),
///             None => None,
///         };
///         Ok(Some(Packet { kind, namespace: wire.nsp.into(), id: wire.id, data }))
///     }
/// }
///
/// let io = Server::builder().parser(JsonParser).build()?;
/// # let io: Server = io;
/// # let packet = Packet::new(PacketKind::Event, "/").with_data(Payload::event("e", &(1, "x"))?);
/// # let mut decoder = JsonParser.decoder(&DecoderLimits::default());
/// # let message = JsonParser.encode(&packet)?.remove(0);
/// # assert_eq!(decoder.decode(message)?, Some(packet));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait Parser: fmt::Debug + Send + Sync + 'static {
    /// Writes a packet as Engine.IO messages, at least one, in their order. A broadcast is written once for all its
    /// recipients, and what two packets become is never mixed. (Where
    /// `RedisStreamsAdapter` keeps events, each is written twice, with its offset and without.) It must not block.
    ///
    /// # Errors
    /// If the packet has no such form. Of an event or an acknowledgement the caller of `emit` or `ack` is told; a
    /// CONNECT, DISCONNECT or CONNECT_ERROR is then not sent, with an error in the log.
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, ParserError>;

    /// Makes what reads the messages of one connection. `limits` are those of the server.
    fn decoder(&self, limits: &DecoderLimits) -> Box<dyn PacketDecoder>;
}

/// Reads the messages of one connection, made by [`Parser::decoder`].
///
/// What it returns goes to handlers as it is: the data of a packet has to be what packets of its kind have
/// ([`Payload::from_json`] sees to that), and the memory that it keeps, or that a message becomes, has to be bounded.
pub trait PacketDecoder: fmt::Debug + Send {
    /// Takes the next message; `None` if more have to come before the packet is whole.
    ///
    /// # Errors
    /// If the message belongs to no packet. The connection is closed then, as on Node, and the decoder is
    /// not used again.
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, ParserError>;
}

/// Says why a [`Parser`] could not write a packet, or not read one.
pub struct ParserError(Box<dyn Error + Send + Sync>);

impl ParserError {
    /// Makes one of a text or of an error.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> ParserError {
        ParserError(reason.into())
    }
}

impl fmt::Display for ParserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ParserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for ParserError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What a server writes and reads packets with: the default form straight from and to the wire, or another by way of
/// [`Packet`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Codec(Option<Arc<dyn Parser>>);

impl Codec {
    pub(crate) fn new(parser: impl Parser) -> Codec {
        Codec(Some(Arc::new(parser)))
    }

    /// Whether it is the default form, which every packet has.
    pub(crate) fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// An event; `args` as in [`Payload::event`].
    pub(crate) fn event<T: Serialize + ?Sized>(
        &self,
        namespace: &str,
        id: Option<u64>,
        name: &str,
        args: &T,
    ) -> Result<EncodedPacket, EncodeError> {
        match &self.0 {
            None => EncodedPacket::event(namespace, id, name, args),
            Some(parser) => encoded(&**parser, PacketKind::Event, namespace, id, Payload::event(name, args)?),
        }
    }

    /// An acknowledgement; `args` as in [`Payload::ack`].
    pub(crate) fn ack<T: Serialize + ?Sized>(
        &self,
        namespace: &str,
        id: u64,
        args: &T,
    ) -> Result<EncodedPacket, EncodeError> {
        match &self.0 {
            None => EncodedPacket::ack(namespace, id, args),
            Some(parser) => encoded(&**parser, PacketKind::Ack, namespace, Some(id), Payload::ack(args)?),
        }
    }

    /// A packet of any kind.
    pub(crate) fn packet(&self, packet: &Packet) -> Result<EncodedMessage, EncodeError> {
        match &self.0 {
            None => Ok(packet.encode()),
            Some(parser) => message(&**parser, packet),
        }
    }

    /// What reads the messages of a new connection.
    pub(crate) fn decoder(&self, limits: DecoderLimits) -> AnyDecoder {
        match &self.0 {
            None => AnyDecoder::Default(Decoder::new(limits)),
            Some(parser) => AnyDecoder::Other(parser.decoder(&limits)),
        }
    }
}

fn encoded(
    parser: &dyn Parser,
    kind: PacketKind,
    namespace: &str,
    id: Option<u64>,
    data: Payload,
) -> Result<EncodedPacket, EncodeError> {
    let mut packet = Packet::new(kind, namespace).with_data(data.clone());
    packet.id = id;
    Ok(EncodedPacket::of_parser(message(parser, &packet)?, data))
}

fn message(parser: &dyn Parser, packet: &Packet) -> Result<EncodedMessage, EncodeError> {
    let messages = parser.encode(packet).map_err(EncodeError::Parser)?;
    if messages.is_empty() {
        return Err(EncodeError::Parser(ParserError::new("the parser made no message of a packet")));
    }
    Ok(EncodedMessage::messages(&messages))
}

/// What reads the messages of one connection.
#[derive(Debug)]
pub(crate) enum AnyDecoder {
    Default(Decoder),
    Other(Box<dyn PacketDecoder>),
}

impl AnyDecoder {
    pub(crate) fn decode(&mut self, message: Message) -> Result<Option<Packet>, ParserError> {
        match (self, message) {
            (AnyDecoder::Default(decoder), Message::Text(text)) => {
                decoder.text(text).map_err(ParserError::new)
            }
            (AnyDecoder::Default(decoder), Message::Binary(data)) => {
                decoder.binary(data).map_err(ParserError::new)
            }
            (AnyDecoder::Other(decoder), message) => decoder.decode(message),
        }
    }
}
