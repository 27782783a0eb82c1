//! A handler takes what was declared.
use ferrio::{EventType, Server};

const COUNT: EventType<String, u32> = EventType::new("count");

fn main() {
    COUNT.on(&Server::new(), async |_event, number: u32| println!("{number}"));
}
