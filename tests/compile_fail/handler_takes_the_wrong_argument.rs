//! A handler of an event takes an `Event`, not the event's argument.

fn main() {
    let io = ferrio::Server::new();
    io.on("echo", async |text: String| println!("{text}"));
}
