//! A type of one's own is given by reference.
use ferrio::{EventType, Server};

#[derive(serde::Serialize)]
struct Job(u32);

const STARTED: EventType<Job> = EventType::new("started");

fn main() {
    let _ = STARTED.emit(&Server::new(), Job(1));
}
