//! A handler acknowledges with what was declared, and reads what was declared.
use ferrio::{EventType, Server};

const COUNT: EventType<String, u32> = EventType::new("count");

fn main() {
    COUNT.on(&Server::new(), async |event, text| event.ack(&text));
}
