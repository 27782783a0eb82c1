//! Link: one connection of a test client, which the namespaces it has joined share.
//!
//! ```text
//!  TestClient ──▶ Link ──▶ Router ── outgoing ──▶ a task that writes ──▶ server
//!      ▲                     ▲                                             │
//!      └────── inbox ────────┴────────────────── a task that reads ◀───────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{TestClient, TestError, TestEvent};
use crate::proto::EncodedMessage;
use crate::proto::engineio;
use crate::proto::socketio::{AnyDecoder, Codec, DecoderLimits, Packet, PacketKind, Payload, Value};
use crate::server::{AckError, ConnectError, EmitError, SocketId};
use crate::sync::Mutex;

/// A connection. Dropped, it is cut.
pub(super) struct Link {
    router: Arc<Router>,
    _tasks: JoinSet<()>,
}

/// Where packets go, on either side.
pub(super) struct Router {
    codec: Codec,
    // A test emits what it likes: nothing here is bounded.
    outgoing: mpsc::UnboundedSender<Outgoing>,
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    /// Why nothing comes any more.
    ended: Option<String>,
    inboxes: HashMap<ByteString, mpsc::UnboundedSender<Incoming>>,
    acks: HashMap<u64, PendingAck>,
    next_ack: u64,
}

struct PendingAck {
    namespace: ByteString,
    answer: oneshot::Sender<Payload>,
}

/// What is to be written.
pub(super) enum Outgoing {
    Message(Arc<EncodedMessage>),
    /// Says when all that came before has been written.
    Flush(oneshot::Sender<()>),
    Close,
}

/// What comes for the client of a namespace.
pub(super) enum Incoming {
    Joined(SocketId),
    Refused(ConnectError),
    Event(TestEvent),
    /// The last that comes.
    Left(String),
}

/// What the server says when a client has joined.
#[derive(Deserialize)]
struct Joined {
    sid: String,
}

/// What the server says when it refuses a client.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    data: Option<Value>,
}

impl Link {
    /// `tasks` read into the router, and write what its receiver gives.
    pub(super) fn new(router: Arc<Router>, tasks: JoinSet<()>) -> Arc<Link> {
        Arc::new(Link { router, _tasks: tasks })
    }

    pub(super) async fn join(
        self: &Arc<Self>,
        namespace: &str,
        auth: Option<Payload>,
        patience: Duration,
    ) -> Result<TestClient, TestError> {
        let namespace: ByteString =
            if namespace.starts_with('/') { namespace.into() } else { format!("/{namespace}").into() };
        let mut packet = Packet::new(PacketKind::Connect, namespace.clone());
        packet.data = auth;
        let message = self.router.codec.packet(&packet).map_err(TestError::Encode)?;
        let inbox = self.router.add_inbox(&namespace)?;
        self.router.send(Outgoing::Message(Arc::new(message)));
        let mut client = TestClient {
            link: Arc::clone(self),
            namespace,
            id: SocketId::new(""),
            inbox,
            kept: VecDeque::new(),
            left: None,
            patience,
        };
        client
            .in_time("the answer of the namespace", patience, async |client| client.receive_answer().await)
            .await?;
        Ok(client)
    }

    pub(super) fn emit<T: Serialize + ?Sized>(
        &self,
        namespace: &str,
        event: &str,
        args: &T,
    ) -> Result<(), EmitError> {
        let packet = self.router.codec.event(namespace, None, event, args)?;
        if self.router.has_joined(namespace) {
            self.router.send(Outgoing::Message(Arc::new(packet.message)));
        }
        Ok(())
    }

    pub(super) fn ask<T: Serialize + ?Sized>(
        &self,
        namespace: &ByteString,
        event: &str,
        args: &T,
    ) -> Result<oneshot::Receiver<Payload>, AckError> {
        let (id, answer) = self.router.expect_ack(namespace).ok_or(AckError::Disconnected)?;
        match self.router.codec.event(namespace, Some(id), event, args) {
            Ok(packet) => self.router.send(Outgoing::Message(Arc::new(packet.message))),
            Err(error) => return Err(AckError::Emit(error)),
        }
        Ok(answer)
    }

    pub(super) async fn leave(&self, namespace: &str, patience: Duration) {
        if !self.router.has_joined(namespace) {
            return;
        }
        let packet = Packet::new(PacketKind::Disconnect, namespace);
        // A parser that cannot say goodbye: the server learns of it by the end of the connection.
        if let Ok(message) = self.router.codec.packet(&packet) {
            self.router.send(Outgoing::Message(Arc::new(message)));
        }
        self.router.remove_inbox(namespace, "the client has left the namespace");
        let (written, flushed) = oneshot::channel();
        self.router.send(Outgoing::Flush(written));
        // Where the connection has ended, there is nothing to write.
        drop(tokio::time::timeout(patience, flushed).await);
    }

    pub(super) fn close(&self) {
        self.router.send(Outgoing::Close);
    }
}

impl Router {
    pub(super) fn new(codec: Codec) -> (Arc<Router>, mpsc::UnboundedReceiver<Outgoing>) {
        let (outgoing, receiver) = mpsc::unbounded_channel();
        (Arc::new(Router { codec, outgoing, routes: Mutex::default() }), receiver)
    }

    /// What reads the server's messages: whatever it sends is taken.
    pub(super) fn decoder(&self) -> AnyDecoder {
        self.codec.decoder(DecoderLimits { max_attachments: usize::MAX, max_pending_bytes: usize::MAX })
    }

    /// Takes a packet of the connection.
    ///
    /// # Errors
    /// Why it is the last one.
    pub(super) fn receive(
        self: &Arc<Self>,
        packet: engineio::Packet,
        decoder: &mut AnyDecoder,
    ) -> Result<(), String> {
        match packet {
            engineio::Packet::Message(message) => {
                match decoder.decode(message).map_err(|error| format!("a message is no packet: {error}"))? {
                    Some(packet) => self.route(packet),
                    None => Ok(()),
                }
            }
            engineio::Packet::Ping(_) => {
                self.send(Outgoing::Message(EncodedMessage::pong()));
                Ok(())
            }
            engineio::Packet::Close(_) => Err(CLOSED.to_owned()),
            _ => Ok(()),
        }
    }

    fn route(self: &Arc<Self>, packet: Packet) -> Result<(), String> {
        let Packet { kind, namespace, id, data } = packet;
        let data = data.unwrap_or_else(|| Payload::ack(&()).expect("no arguments have a JSON form"));
        match kind {
            PacketKind::Connect => {
                let Joined { sid } = data.args().map_err(|error| format!("CONNECT: {error}"))?;
                self.deliver(&namespace, Incoming::Joined(SocketId::new(&sid)));
            }
            PacketKind::ConnectError => {
                let Refusal { message, data } =
                    data.args().map_err(|error| format!("CONNECT_ERROR: {error}"))?;
                let error = ConnectError::new(message);
                let error = data.iter().fold(error, |error, data| error.with_data(data));
                self.deliver(&namespace, Incoming::Refused(error));
                self.remove_inbox(&namespace, "the client is refused");
            }
            PacketKind::Disconnect => {
                self.remove_inbox(&namespace, "the server has taken the client out of the namespace");
            }
            PacketKind::Event => {
                let name = data.event_name().map(|name| name.into_text().into_owned()).unwrap_or_default();
                let router = Arc::clone(self);
                let event = TestEvent { router, namespace: namespace.clone(), name, payload: data, ack: id };
                self.deliver(&namespace, Incoming::Event(event));
            }
            PacketKind::Ack => {
                let pending = id.and_then(|id| self.routes.lock().acks.remove(&id));
                if let Some(pending) = pending {
                    // Whoever waited may have stopped waiting.
                    let _ = pending.answer.send(data);
                }
            }
        }
        Ok(())
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, why: &str) {
        let (inboxes, acks) = {
            let mut routes = self.routes.lock();
            routes.ended.get_or_insert_with(|| why.to_owned());
            (std::mem::take(&mut routes.inboxes), std::mem::take(&mut routes.acks))
        };
        for inbox in inboxes.into_values() {
            // A client that is gone.
            let _ = inbox.send(Incoming::Left(why.to_owned()));
        }
        drop(acks);
    }

    pub(super) fn ack<T: Serialize + ?Sized>(
        &self,
        namespace: &str,
        id: u64,
        args: &T,
    ) -> Result<(), EmitError> {
        let packet = self.codec.ack(namespace, id, args)?;
        if self.has_joined(namespace) {
            self.send(Outgoing::Message(Arc::new(packet.message)));
        }
        Ok(())
    }

    fn send(&self, outgoing: Outgoing) {
        // A connection that has ended writes nothing.
        let _ = self.outgoing.send(outgoing);
    }

    fn deliver(&self, namespace: &str, incoming: Incoming) {
        if let Some(inbox) = self.routes.lock().inboxes.get(namespace) {
            // A client that is gone.
            let _ = inbox.send(incoming);
        }
    }

    fn add_inbox(&self, namespace: &ByteString) -> Result<mpsc::UnboundedReceiver<Incoming>, TestError> {
        let mut routes = self.routes.lock();
        if let Some(why) = &routes.ended {
            return Err(TestError::Disconnected { why: why.clone(), arrived: Vec::new() });
        }
        if routes.inboxes.contains_key(namespace) {
            return Err(TestError::AlreadyJoined);
        }
        let (sender, inbox) = mpsc::unbounded_channel();
        routes.inboxes.insert(namespace.clone(), sender);
        Ok(inbox)
    }

    fn remove_inbox(&self, namespace: &str, why: &str) {
        let mut routes = self.routes.lock();
        routes.acks.retain(|_, pending| pending.namespace != *namespace);
        if let Some(inbox) = routes.inboxes.remove(namespace) {
            // A client that is gone.
            let _ = inbox.send(Incoming::Left(why.to_owned()));
        }
    }

    fn has_joined(&self, namespace: &str) -> bool {
        self.routes.lock().inboxes.contains_key(namespace)
    }

    fn expect_ack(&self, namespace: &ByteString) -> Option<(u64, oneshot::Receiver<Payload>)> {
        let mut routes = self.routes.lock();
        if !routes.inboxes.contains_key(namespace) {
            return None;
        }
        let id = routes.next_ack;
        routes.next_ack += 1;
        let (answer, receiver) = oneshot::channel();
        routes.acks.insert(id, PendingAck { namespace: namespace.clone(), answer });
        Some((id, receiver))
    }
}

/// Why most connections end.
pub(super) const CLOSED: &str = "the server has closed the connection";
