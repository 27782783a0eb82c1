//! The server against clients that speak HTTP long-polling, in memory and under virtual time.

mod acks;
mod back_pressure;
mod broadcasts;
mod cluster;
mod connecting;
mod disconnecting;
mod drain;
mod events;
pub(crate) mod kept_events;
mod messaging;
mod namespaces;
mod outgoing;
mod parsers;
mod recovery;
mod room_events;
mod serial;
mod server_side;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};

use super::*;
use crate::engine::PeerInfo;
use crate::sync::Mutex;

/// What handlers saw, in order; part of the state of every server here.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().push(line.into());
    }

    /// Gives what was noted since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

fn server() -> (Server, Log) {
    server_with(|builder| builder)
}

fn server_with(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Log) {
    let log = Log::default();
    let io = configure(Server::builder().state(log.clone())).build().unwrap();
    for name in ["/", "/admin"] {
        io.of(name).on_disconnect(async |socket: Socket, reason: DisconnectReason| {
            let rooms = socket.rooms().len();
            socket.state::<Log>().note(format!("{} {reason} {rooms}", socket.namespace().name()));
        });
    }
    (io, log)
}

/// A client over long-polling.
pub(crate) struct Client {
    io: Server,
    session: String,
}

impl Client {
    /// Opens a connection that has joined nothing.
    async fn open(io: &Server) -> Client {
        let mut client = Client { io: io.clone(), session: String::new() };
        let (_, body) = client.request("GET", String::new()).await;
        let open: serde_json::Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        client.session = format!("&sid={}", open["sid"].as_str().unwrap());
        client
    }

    /// Opens a connection that has joined the main namespace; gives its socket, too.
    pub(crate) async fn connected(io: &Server) -> (Client, Socket) {
        let before = io.of("/").sockets();
        let client = Client::open(io).await;
        client.post("40").await;
        assert!(client.poll().await.starts_with(r#"40{"sid":""#));
        let socket = io.of("/").sockets().into_iter().find(|socket| !before.contains(socket)).unwrap();
        (client, socket)
    }

    async fn request(&self, method: &str, body: String) -> (StatusCode, String) {
        let uri = format!("/socket.io/?EIO=4&transport=polling&flavour=plain{}", self.session);
        let request = Request::builder().method(method).uri(uri).header("x-test", "yes");
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let response = self.io.engine().handle(request, PeerInfo::default()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends packets; they have been processed when this returns.
    async fn post(&self, packets: &str) {
        assert_eq!(self.request("POST", packets.to_owned()).await, (StatusCode::OK, "ok".to_owned()));
    }

    /// Waits for packets, separated by `|`.
    pub(crate) async fn poll(&self) -> String {
        let (status, body) = self.request("GET", String::new()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body.replace('\x1e', "|")
    }

    /// Says whether the connection is gone.
    async fn is_closed(&self) -> bool {
        self.request("POST", "6".to_owned()).await.0 == StatusCode::BAD_REQUEST
    }
}

/// Lets all tasks do what they can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
