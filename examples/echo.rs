//! The README's server: echo and rooms, mounted in axum. `cargo run --example echo`
//!
//! What a handler's error says (an argument of a wrong type, for one) is logged; so there is a subscriber that shows it.

use ferrio::{Event, HandlerError, Server};

async fn echo(event: Event) -> Result<(), HandlerError> {
    let text: String = event.args()?;
    Ok(event.socket().emit("echo", &text)?)
}

async fn join(event: Event) -> Result<(), HandlerError> {
    let room: String = event.args()?;
    event.socket().join(room.as_str());
    event.socket().to(room.as_str()).emit("joined", event.socket().id().as_str())?;
    Ok(event.ack(&true)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let io = Server::new();
    io.on("echo", echo);
    io.on("join", join);
    let app = axum::Router::new().route_service("/socket.io/", io.service());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            io.close().await;
        })
        .await?;
    Ok(())
}
