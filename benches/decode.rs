//! Decoding an event and reading its arguments: time, allocations, and the ratio to serde_json reading the same text.

mod cost;

use std::hint::black_box;

use bytestring::ByteString;
use ferrio::proto::engineio::{Message, Packet};
use ferrio::proto::socketio::{Decoder, DecoderLimits};
use serde::Deserialize;

use cost::cost;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only reading is measured")]
struct Progress<'a> {
    items_scraped: u64,
    pages_scraped: u64,
    current_page: &'a str,
    total_pages: u64,
    elapsed_time: f64,
}

fn main() {
    const JSON: &str = r#"["event",{"itemsScraped":1234,"pagesScraped":56,"currentPage":"https://example.org/catalogue?page=56","totalPages":78,"elapsedTime":12.5}]"#;
    let text = ByteString::from(format!("42{JSON}"));
    let mut decoder = Decoder::new(DecoderLimits::default());
    let (decode, decode_allocations) = cost(|| {
        let Ok(Packet::Message(Message::Text(text))) = Packet::decode(&text) else {
            unreachable!("it is a message")
        };
        let packet = decoder.text(text).expect("it is valid").expect("it is whole");
        let payload = packet.data.expect("it has data");
        black_box(payload.args::<Progress<'_>>().expect("it is a Progress"));
    });
    let (json, json_allocations) = cost(|| {
        black_box(serde_json::from_str::<(&str, Progress<'_>)>(JSON).expect("it is valid"));
    });
    println!("an event of {} bytes", text.len());
    println!("ferrio, packet and arguments  {decode:>7.0} ns  {decode_allocations:.2} allocations");
    println!("serde_json, the same text     {json:>7.0} ns  {json_allocations:.2} allocations");
    println!("ratio                         {:>7.2}", decode / json);
}
