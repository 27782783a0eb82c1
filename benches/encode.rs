//! Encoding an event: time, allocations, and the ratio to serde_json writing the same value into a string.

mod cost;

use ferrio::proto::socketio::EncodedPacket;
use serde::Serialize;

use cost::cost;

#[derive(Serialize)]
struct Progress<'a> {
    items_scraped: u64,
    pages_scraped: u64,
    current_page: &'a str,
    total_pages: u64,
    elapsed_time: f64,
}

fn main() {
    let progress = Progress {
        items_scraped: 1234,
        pages_scraped: 56,
        current_page: "https://example.org/catalogue?page=56",
        total_pages: 78,
        elapsed_time: 12.5,
    };
    let (encode, encode_allocations) =
        cost(|| EncodedPacket::event("/", None, "event", &progress).expect("it is JSON"));
    let (json, json_allocations) = cost(|| serde_json::to_string(&("event", &progress)).expect("it is JSON"));
    println!("an event of 150 bytes");
    println!("ferrio, finished frame  {encode:>7.0} ns  {encode_allocations:.2} allocations");
    println!("serde_json, a String    {json:>7.0} ns  {json_allocations:.2} allocations");
    println!("ratio                   {:>7.2}", encode / json);
}
