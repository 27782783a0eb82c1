//! Of several arguments, the one that was declared otherwise is named.
use ferrio::{EventType, Server};

const MOVED: EventType<(String, u32)> = EventType::new("moved");

fn main() {
    let _ = MOVED.emit(&Server::new(), ("here", true));
}
