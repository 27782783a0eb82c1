//! An async closure that captures lends its state to each call: what is captured is cloned for each future instead.

use ferrio::{Event, Server};

fn main() {
    let greeting = String::from("hello");
    Server::new().on("greet", async move |event: Event| event.ack(&greeting));
}
