//! A handler returns nothing or a `Result<(), E>`: answers go through `event.ack`.

use ferrio::{Event, Server};

async fn add(event: Event) -> i64 {
    event.args::<(i64, i64)>().map_or(0, |(a, b)| a + b)
}

fn main() {
    Server::new().on("add", add);
}
