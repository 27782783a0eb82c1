//! Nobody can wait for an acknowledgement that was not declared.
use ferrio::{EventType, Server};

const RENAMED: EventType<String> = EventType::new("renamed");

fn main() {
    let _ = RENAMED.emit_with_ack(&Server::new(), "new");
}
