//! What is emitted is what was declared.
use ferrio::{EventType, Server};

const RENAMED: EventType<String> = EventType::new("renamed");

fn main() {
    let _ = RENAMED.emit(&Server::new(), &5);
}
