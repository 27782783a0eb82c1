//! A constant cannot have a name that Socket.IO keeps for itself.
use ferrio::EventType;

const LEFT: EventType<String> = EventType::new("disconnect");

fn main() {
    println!("{LEFT:?}");
}
