//! Packets out: the order of keys and the forms of values that Node's encoder chooses.

use rmp::encode as forms;

use crate::proto::socketio::tree::Tree;
use crate::proto::socketio::{Number, Packet, PacketKind, Payload};

/// The message of a packet; fails where its data is nested deeper than what a client sends may be.
pub(super) fn packet(packet: &Packet) -> Result<Vec<u8>, serde_json::Error> {
    let data = packet.data.as_ref().map(Payload::tree).transpose()?;
    let json_len = packet.data.as_ref().map_or(0, |data| data.json().len());
    let binary_len: usize = packet.data.iter().flat_map(Payload::attachments).map(|data| data.len()).sum();

    let mut out = Out(Vec::with_capacity(FRAME_LEN + packet.namespace.len() + json_len + binary_len));
    out.map_len(2 + usize::from(data.is_some()) + usize::from(packet.id.is_some()));
    match packet.kind {
        PacketKind::Ack => {
            out.id(packet.id);
            out.kind(packet.kind);
            out.data(packet.kind, data.as_ref());
            out.namespace(&packet.namespace);
        }
        PacketKind::ConnectError => {
            out.id(packet.id);
            out.kind(packet.kind);
            out.namespace(&packet.namespace);
            out.data(packet.kind, data.as_ref());
        }
        PacketKind::Connect | PacketKind::Disconnect | PacketKind::Event => {
            out.kind(packet.kind);
            out.data(packet.kind, data.as_ref());
            out.id(packet.id);
            out.namespace(&packet.namespace);
        }
    }
    Ok(out.0)
}

/// What all that is not data or namespace fits into.
const FRAME_LEN: usize = 48;

/// How Node writes `undefined`.
const UNDEFINED: [u8; 3] = [0xd4, 0, 0];

/// The message in the making.
struct Out(Vec<u8>);

impl Out {
    fn kind(&mut self, kind: PacketKind) {
        self.text("type");
        self.unsigned(kind.number().into());
    }

    fn namespace(&mut self, namespace: &str) {
        self.text("nsp");
        self.text(namespace);
    }

    fn id(&mut self, id: Option<u64>) {
        if let Some(id) = id {
            self.text("id");
            self.unsigned(id);
        }
    }

    fn data(&mut self, kind: PacketKind, data: Option<&Tree<'_>>) {
        let Some(data) = data else { return };
        self.text("data");
        match data {
            // "the CONNECT reply contains pid:undefined", where there is no recovery
            Tree::Object(object) if kind == PacketKind::Connect && object.get("pid").is_none() => {
                self.map_len(object.len() + 1);
                self.members(object.iter());
                self.text("pid");
                self.0.extend_from_slice(&UNDEFINED);
            }
            data => self.value(data),
        }
    }

    /// Recursion is bounded, because the depth of what was parsed is.
    fn value(&mut self, value: &Tree<'_>) {
        match value {
            Tree::Null => forms::write_nil(&mut self.0).expect(INFALLIBLE),
            Tree::Bool(value) => forms::write_bool(&mut self.0, *value).expect(INFALLIBLE),
            Tree::Number(number) => self.number(*number),
            Tree::String(text) => self.text(text),
            Tree::Binary(bytes) => forms::write_bin(&mut self.0, bytes).expect(INFALLIBLE),
            Tree::Array(elements) => {
                forms::write_array_len(&mut self.0, short(elements.len())).expect(INFALLIBLE);
                elements.iter().for_each(|element| self.value(element));
            }
            Tree::Object(object) => {
                self.map_len(object.len());
                self.members(object.iter());
            }
        }
    }

    fn members<'t>(&mut self, members: impl Iterator<Item = (&'t str, &'t Tree<'t>)>) {
        for (key, value) in members {
            self.text(key);
            self.value(value);
        }
    }

    /// A whole number is an integer, whatever its size: of those that do not fit, the lowest 64 bits are left.
    fn number(&mut self, number: Number) {
        if let Some(value) = number.as_u64() {
            return self.unsigned(value);
        }
        if let Some(value) = number.as_i64() {
            forms::write_sint(&mut self.0, value).expect(INFALLIBLE);
            return;
        }
        let value = number.as_f64();
        let lowest_bits = (value.abs() % TWO_TO_THE_64) as u64;
        match (value.fract() == 0.0, value > 0.0) {
            (false, _) => forms::write_f64(&mut self.0, value).expect(INFALLIBLE),
            (true, true) => forms::write_u64(&mut self.0, lowest_bits).expect(INFALLIBLE),
            (true, false) => {
                forms::write_i64(&mut self.0, lowest_bits.wrapping_neg() as i64).expect(INFALLIBLE);
            }
        }
    }

    fn unsigned(&mut self, value: u64) {
        forms::write_uint(&mut self.0, value).expect(INFALLIBLE);
    }

    fn text(&mut self, text: &str) {
        forms::write_str(&mut self.0, text).expect(INFALLIBLE);
    }

    fn map_len(&mut self, len: usize) {
        forms::write_map_len(&mut self.0, short(len)).expect(INFALLIBLE);
    }
}

const INFALLIBLE: &str = "a Vec takes all that is written to it";

const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;

fn short(len: usize) -> u32 {
    u32::try_from(len).expect("a packet of four thousand million values does not fit into memory")
}
