//! A simple client over WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A client that is connected to the namespace `/`.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub async fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP option");
        let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("a WebSocket");
        let mut client = Client { socket };
        client.next().await;
        client.send("40").await;
        client.next().await;
        client
    }

    pub async fn join(&mut self, room: &str) {
        self.send(&format!(r#"420["join","{room}"]"#)).await;
        self.next().await;
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the server reads");
    }

    /// Queues without flushing, so that several leave together.
    pub async fn feed(&mut self, text: &str) {
        self.socket.feed(Message::text(text)).await.expect("the server reads");
    }

    pub async fn flush(&mut self) {
        self.socket.flush().await.expect("the server reads");
    }

    /// The next message; heartbeats are answered on the way.
    pub async fn next(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(60), self.socket.next()).await;
            match message
                .expect("the server answers in a minute")
                .expect("it is there")
                .expect("it speaks WebSocket")
            {
                Message::Text(text) if text.as_str() == "2" => self.send("3").await,
                Message::Text(text) => return text.as_str().to_owned(),
                _ => {}
            }
        }
    }
}

/// So many clients, connected one after the other.
pub async fn connect_all(port: u16, count: usize) -> Vec<Client> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(Client::connect(port).await);
    }
    clients
}
