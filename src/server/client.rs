//! Client: one connection as its own task sees it. Joins namespaces, and gives packets to the right socket.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use tokio::time::Sleep;

use super::connect_error::ConnectError;
use super::disconnect::DisconnectReason;
use super::drain::Departure;
use super::event::Event;
use super::handler::Middleware;
use super::handshake::Handshake;
use super::hub::Hub;
use super::legacy;
use super::namespaces::{Found, Lookup, Visit};
use super::parent::NamespaceRequest;
use super::peer::{Peer, Route};
use super::recovery::{Attempt, Recovery, RecoveryError, Returning, take_session};
use super::socket::Socket;
use super::socket_error::{SocketError, SocketErrorCause};
use super::stats::warn_limited;
use crate::engine::{CloseReason, Connection, Message, TransportKind};
use crate::proto::socketio::{AnyDecoder, Packet, PacketKind, ParserError, Payload};

/// What the connection's task keeps for Socket.IO.
///
/// Packets that arrive together are handled one after the other as if they had come apart: a CONNECT and an EVENT in one
/// body work, unless a middleware has to wait.
pub struct Client {
    peer: Arc<Peer>,
    decoder: AnyDecoder,
    /// Those who wait for the choice of their namespace, or for its middlewares.
    joining: Vec<Joining>,
    /// Packets that wait because too many handlers do.
    parked: Parked,
    /// Until the first namespace is joined; not armed again, as on Node.
    connect_timeout: Option<Pin<Box<Sleep>>>,
    /// When the server drains.
    departure: Departure,
    /// Reading is paused because too many handlers wait.
    paused: bool,
}

/// Packets in order of arrival, and the memory they take.
#[derive(Default)]
struct Parked {
    packets: VecDeque<Packet>,
    bytes: usize,
}

impl Parked {
    fn put(&mut self, packet: Packet) {
        self.bytes += size(&packet);
        self.packets.push_back(packet);
    }

    fn take(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes -= size(&packet);
        Some(packet)
    }
}

/// What a packet takes in memory, roughly.
fn size(packet: &Packet) -> usize {
    let data = packet.data.as_ref().map_or(0, Payload::memory);
    size_of::<Packet>() + packet.namespace.len() + data
}

/// A CONNECT that is not answered yet.
enum Joining {
    /// The parents of namespaces are asked whether they want the name.
    Finding { packet: Packet, found: BoxFuture<'static, Result<Found, ConnectError>> },
    /// The adapter looks for the session that the client wants back.
    Restoring { found: Found, handshake: Handshake, restoring: BoxFuture<'static, Attempt> },
    Checking {
        socket: Socket,
        visit: Option<Visit>,
        returning: Option<Returning>,
        middlewares: BoxFuture<'static, Result<(), ConnectError>>,
    },
}

impl Joining {
    fn is_in(&self, namespace: &str) -> bool {
        match self {
            Joining::Finding { packet, .. } => packet.namespace == namespace,
            Joining::Restoring { found, .. } => found.namespace.name() == namespace,
            Joining::Checking { socket, .. } => socket.is_in(namespace),
        }
    }
}

impl Client {
    pub(crate) fn new(hub: &Hub, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Client {
        let shared = Arc::clone(hub.shared());
        shared.counters.connections.increment();
        let mut client = Client {
            decoder: shared.config.codec.decoder(shared.config.decoder()),
            connect_timeout: Some(Box::pin(tokio::time::sleep(shared.config.connect_timeout()))),
            peer: Peer::new(Arc::clone(connection), shared),
            joining: Vec::new(),
            parked: Parked::default(),
            departure: Departure::default(),
            paused: false,
        };
        if legacy::is_legacy(connection) {
            client.handle_connect(hub, Packet::new(PacketKind::Connect, "/"), cx);
        }
        client.poll(hub, cx);
        client
    }

    pub(crate) fn handle_message(&mut self, hub: &Hub, message: Message, cx: &mut Context<'_>) {
        match self.decoder.decode(message) {
            Ok(Some(packet)) if legacy::is_legacy(self.peer.connection()) => {
                self.receive(hub, legacy::normalize(packet), cx);
            }
            Ok(Some(packet)) => self.receive(hub, packet, cx),
            Ok(None) => {}
            Err(error) => self.handle_undecodable(error),
        }
        self.peer.start_departed();
    }

    /// Drives what waits: parked packets, middlewares, the connect timeout, handlers of sockets that left.
    pub(crate) fn poll(&mut self, hub: &Hub, cx: &mut Context<'_>) {
        self.peer.register(cx);
        while !self.parked.packets.is_empty() && self.peer.poll_ready(cx).is_ready() {
            if let Some(packet) = self.parked.take() {
                self.handle_packet(hub, packet, cx);
                self.peer.start_departed();
            }
        }
        self.poll_joining(cx);
        if let Some(sleep) = &mut self.connect_timeout
            && sleep.as_mut().poll(cx).is_ready()
        {
            self.connect_timeout = None;
            self.peer.counters().connect_timeouts.increment();
            tracing::debug!("no namespace was joined in time");
            self.close();
        }
        self.poll_departure(cx);
        self.peer.start_departed();
    }

    /// Leaves when the server drains and it is this connection's turn: once no acknowledgement is awaited, or at the
    /// deadline. The client is told nothing but the end of the connection, after which it connects anew by itself.
    fn poll_departure(&mut self, cx: &mut Context<'_>) {
        let shared = self.peer.shared();
        let Some(drain) = shared.drain.get() else { return };
        let (parked, peer) = (&self.parked.packets, &self.peer);
        let is_busy = |turn| {
            !parked.is_empty() || peer.parked_bytes() > 0 || peer.awaits_acks() || peer.awaits_events(turn)
        };
        if matches!(self.peer.route(""), Route::Closed)
            || self.departure.poll(drain, is_busy, cx).is_pending()
        {
            return;
        }
        self.start_parked();
        self.peer.depart_all(DisconnectReason::ServerShuttingDown, false);
        self.peer.connection().close();
        self.drop_joining();
    }

    /// Whether there is room for another packet. The end of a handler makes room, by [`Client::poll`].
    pub(crate) fn poll_ready(&mut self) -> Poll<()> {
        let parked = self.parked.bytes + self.peer.parked_bytes();
        let paused = parked > self.peer.shared().config.max_parked_bytes;
        if paused && !self.paused {
            self.peer.counters().inbound_paused.increment();
            warn_limited!(self.peer.counters(), "reading from a connection pauses: too many handlers wait");
        }
        self.paused = paused;
        if paused { Poll::Pending } else { Poll::Ready(()) }
    }

    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The connection is closed.
    pub(crate) fn handle_close(mut self, reason: CloseReason) {
        self.start_parked();
        self.peer.counters().connections.decrement();
        if self.peer.was_slow() {
            warn_limited!(self.peer.counters(), "a client did not read what was sent to it: closed");
        }
        self.peer.depart_all(DisconnectReason::from(reason), false);
        self.drop_joining();
        self.peer.start_departed();
    }

    /// The connection ends: starts the handlers of what is parked, which had been taken from the client. They may be
    /// more than are allowed to wait, as many as were allowed to be parked.
    fn start_parked(&mut self) {
        while let Some(packet) = self.parked.take() {
            let Route::Socket(socket) = self.peer.route(&packet.namespace) else { continue };
            match packet.kind {
                PacketKind::Event => Event::dispatch(&socket, packet),
                PacketKind::Disconnect => {
                    self.peer.depart(&socket, DisconnectReason::ClientNamespaceDisconnect, false);
                    self.peer.start_departed();
                }
                PacketKind::Ack | PacketKind::Connect | PacketKind::ConnectError => {}
            }
        }
    }

    /// Handles a packet, or parks it behind handlers that wait. Acknowledgements never wait: a handler may wait for one.
    fn receive(&mut self, hub: &Hub, packet: Packet, cx: &mut Context<'_>) {
        let waits = !self.parked.packets.is_empty() || self.peer.poll_ready(cx).is_pending();
        if waits && packet.kind != PacketKind::Ack {
            self.parked.put(packet);
        } else {
            self.handle_packet(hub, packet, cx);
        }
    }

    fn handle_packet(&mut self, hub: &Hub, packet: Packet, cx: &mut Context<'_>) {
        match (packet.kind, self.peer.route(&packet.namespace)) {
            (_, Route::Closed) => {}
            (PacketKind::Connect, Route::NotJoined) => self.handle_connect(hub, packet, cx),
            (PacketKind::Event, Route::Socket(socket)) => Event::dispatch(&socket, packet),
            (PacketKind::Ack, Route::Socket(socket)) => {
                // "ACK unknown id / without id: ignored."
                if let Some(id) = packet.id {
                    socket.resolve_ack(id, packet.data);
                }
            }
            (PacketKind::Disconnect, Route::Socket(socket)) => {
                self.peer.depart(&socket, DisconnectReason::ClientNamespaceDisconnect, false);
            }
            (PacketKind::Connect | PacketKind::ConnectError, Route::Socket(_)) | (_, Route::NotJoined) => {
                self.handle_violation(packet.kind);
            }
        }
    }

    fn handle_connect(&mut self, hub: &Hub, packet: Packet, cx: &mut Context<'_>) {
        // Whoever left while the handlers ran has its place in the rooms until now; a legacy client comes with its id.
        self.peer.start_departed();
        let request = |name: ByteString| NamespaceRequest::new(name, self.handshake(&packet));
        let lookup = hub.namespaces().look_up(&packet.namespace, request);
        if let Lookup::Unknown = lookup {
            return self.send(&ConnectError::invalid_namespace().to_packet(&packet.namespace));
        }
        if self.peer.joined_count() + self.joining.len() >= hub.shared().config.max_namespaces_per_connection
        {
            self.peer.counters().namespaces_refused.increment();
            warn_limited!(self.peer.counters(), "a connection may not join more namespaces");
            return self.send(&ConnectError::new("Too many namespaces").to_packet(&packet.namespace));
        }
        // The second socket would have the id of the first.
        let is_joining = |joining: &Joining| joining.is_in(&packet.namespace);
        if legacy::is_legacy(self.peer.connection()) && self.joining.iter().any(is_joining) {
            return self.handle_violation(packet.kind);
        }
        match lookup {
            Lookup::Unknown => {}
            Lookup::Found(found) => self.check(found, &packet, cx),
            Lookup::Waits(mut found) => match found.as_mut().poll(cx) {
                Poll::Ready(found) => self.finish_find(found, &packet, cx),
                Poll::Pending => self.joining.push(Joining::Finding { packet, found }),
            },
        }
    }

    fn finish_find(&mut self, found: Result<Found, ConnectError>, packet: &Packet, cx: &mut Context<'_>) {
        match found {
            Ok(found) => self.check(found, packet, cx),
            Err(error) => self.send(&error.to_packet(&packet.namespace)),
        }
    }

    /// Runs the middlewares of the namespace.
    fn check(&mut self, found: Found, packet: &Packet, cx: &mut Context<'_>) {
        let Found { namespace, visit } = found;
        let handshake = self.handshake(packet);
        let attempt = if legacy::is_legacy(self.peer.connection()) {
            Ok(Ok(None))
        } else {
            take_session(&namespace, &handshake)
        };
        let found = Found { namespace, visit };
        match attempt {
            Ok(attempt) => self.check_with(found, handshake, attempt, cx),
            Err(mut restoring) => match restoring.as_mut().poll(cx) {
                Poll::Ready(attempt) => self.check_with(found, handshake, attempt, cx),
                Poll::Pending => self.joining.push(Joining::Restoring { found, handshake, restoring }),
            },
        }
    }

    /// Runs the middlewares, when it is known whether the socket goes on where an earlier one ended.
    fn check_with(&mut self, found: Found, handshake: Handshake, attempt: Attempt, cx: &mut Context<'_>) {
        let Found { namespace, visit } = found;
        let middlewares = namespace.middlewares();
        let peer = Arc::clone(&self.peer);
        if let Err(error) = &attempt {
            self.count_failure(*error);
        }
        let (socket, returning) = match attempt {
            Ok(Some(returning)) => {
                (Socket::returning(namespace, peer, handshake, returning.session()), Some(returning))
            }
            Ok(None) => (Socket::new(namespace, peer, handshake, Recovery::NotRequested), None),
            Err(error) => (Socket::new(namespace, peer, handshake, Recovery::Failed(error)), None),
        };
        let options = socket.home().recovery_options();
        let skip = returning.is_some() && options.is_some_and(|options| options.skip_middlewares);
        if skip || middlewares.is_empty() {
            return self.finish_join(&socket, visit, returning, Ok(()));
        }
        let mut middlewares = Middleware::run_all(middlewares, socket.clone());
        match middlewares.as_mut().poll(cx) {
            Poll::Ready(outcome) => self.finish_join(&socket, visit, returning, outcome),
            Poll::Pending => self.joining.push(Joining::Checking { socket, visit, returning, middlewares }),
        }
    }

    fn count_failure(&self, error: RecoveryError) {
        let counters = self.peer.counters();
        match error {
            RecoveryError::NoOffset => counters.recovery_no_offset.increment(),
            RecoveryError::Expired => counters.recovery_expired.increment(),
            RecoveryError::Trimmed => counters.recovery_trimmed.increment(),
            RecoveryError::Unknown => counters.recovery_unknown.increment(),
        }
    }

    fn handshake(&self, packet: &Packet) -> Handshake {
        Handshake::new(Arc::clone(self.peer.connection()), packet.data.as_ref(), SystemTime::now())
    }

    fn poll_joining(&mut self, cx: &mut Context<'_>) {
        let mut index = 0;
        while let Some(joining) = self.joining.get_mut(index) {
            match joining {
                Joining::Finding { found, .. } => {
                    let Poll::Ready(found) = found.as_mut().poll(cx) else {
                        index += 1;
                        continue;
                    };
                    if let Joining::Finding { packet, .. } = self.joining.remove(index) {
                        self.finish_find(found, &packet, cx);
                    }
                }
                Joining::Restoring { restoring, .. } => {
                    let Poll::Ready(attempt) = restoring.as_mut().poll(cx) else {
                        index += 1;
                        continue;
                    };
                    if let Joining::Restoring { found, handshake, .. } = self.joining.remove(index) {
                        self.check_with(found, handshake, attempt, cx);
                    }
                }
                Joining::Checking { middlewares, .. } => {
                    let Poll::Ready(outcome) = middlewares.as_mut().poll(cx) else {
                        index += 1;
                        continue;
                    };
                    if let Joining::Checking { socket, visit, returning, .. } = self.joining.remove(index) {
                        self.finish_join(&socket, visit, returning, outcome);
                    }
                }
            }
        }
    }

    fn finish_join(
        &mut self,
        socket: &Socket,
        mut visit: Option<Visit>,
        mut returning: Option<Returning>,
        outcome: Result<(), ConnectError>,
    ) {
        match outcome {
            Err(error) => {
                socket.abandon();
                self.refuse(socket.home().name(), &error);
            }
            Ok(()) if self.peer.admit(socket, &mut visit, &mut returning) => {
                self.connect_timeout = None;
                if let Some(namespaces) = socket.home().registry().upgrade() {
                    namespaces.sweep_now_and_then();
                }
                for handler in &*socket.home().connect_handlers() {
                    handler.start(socket);
                }
            }
            Ok(()) => {
                socket.abandon();
                // Otherwise the connection closes, or the server does: nobody is told.
                if socket.home().is_closed() {
                    self.send(&ConnectError::invalid_namespace().to_packet(socket.home().name()));
                }
            }
        }
    }

    /// What a middleware said.
    fn refuse(&self, namespace: &str, error: &ConnectError) {
        self.send(&if legacy::is_legacy(self.peer.connection()) {
            legacy::connect_error(error, namespace)
        } else {
            error.to_packet(namespace)
        });
    }

    fn send(&self, packet: &Packet) {
        if let Some(message) = self.peer.shared().encode(packet) {
            self.peer.send(message);
        }
    }

    /// The packet is whole, but came at the wrong time.
    fn handle_violation(&mut self, kind: PacketKind) {
        self.peer.counters().protocol_violations.increment();
        tracing::debug!(packet = ?kind, "the client broke the protocol");
        self.close();
    }

    fn handle_undecodable(&mut self, error: ParserError) {
        if matches!(self.peer.route(""), Route::Closed) {
            return;
        }
        self.start_parked();
        self.peer.counters().decode_errors.increment();
        warn_limited!(self.peer.counters(), %error, "a packet could not be decoded");
        let error = Arc::new(error);
        // "`error` event on all sockets of the connection, then engine close"
        for socket in self.peer.sockets() {
            SocketError::new(&socket, None, SocketErrorCause::Packet(Arc::clone(&error))).observed();
        }
        self.peer.connection().close();
        self.peer.refuse_all();
        self.drop_joining();
    }

    /// Closes the connection, as Node's `Client` does: where the close has to wait for a GET, the sockets do not wait.
    fn close(&mut self) {
        self.start_parked();
        let connection = self.peer.connection();
        connection.close();
        if connection.transport() == TransportKind::Polling && !connection.is_closed() {
            self.peer.depart_all(DisconnectReason::ForcedServerClose, false);
        } else {
            self.peer.refuse_all();
        }
        self.drop_joining();
    }

    fn drop_joining(&mut self) {
        for joining in std::mem::take(&mut self.joining) {
            if let Joining::Checking { socket, middlewares, .. } = joining {
                drop(middlewares);
                socket.abandon();
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
