//! The answer is what was declared.
use ferrio::{EventType, Socket};

const COUNT: EventType<String, u32> = EventType::new("count");

async fn ask(socket: Socket) {
    let _answer: String = COUNT.emit_with_ack(&socket, "words").await.unwrap();
}

fn main() {}
