//! Driver: the one task of a connection, from open to close, polling or WebSocket.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;
use tracing::{debug, error};

use super::connection::{Connection, Inbox, PostBody};
use super::farewell::Farewell;
use super::registry::TaskGuard;
use super::upgrade::PendingUpgrade;
use super::websocket::WebSocket;
use super::websocket_io::Incoming;
use super::{EngineHandler, LATE, Shared, now};
use crate::proto::encoded::Form;
use crate::proto::engineio::{
    CloseReason, Loss, Message, Packet, PacketError, PollMethod, Revision, SessionEvent, Via,
};

/// Drives one connection: reads its WebSocket and the bodies of its POSTs, hands messages to the handler, writes to
/// its WebSocket, keeps its time. Everything of one connection happens here, one thing after the other.
///
/// ```text
///  each poll:  handler.poll → timer → read (≤ 32 messages) → write → events → sleep
///                                                                └ Closed ─▶ on_close ─▶ Farewell
/// ```
pub(crate) struct Driver<H: EngineHandler> {
    shared: Arc<Shared<H>>,
    connection: Arc<Connection>,
    /// `None` before the session's first WebSocket is there, and after the close.
    client: Option<H::Client>,
    link: Link,
    body: Option<PostBody>,
    sleep: Pin<Box<Sleep>>,
    paused: bool,
    /// The peer's close frame came, or it broke the rules of WebSocket.
    peer_done: bool,
    farewell: Option<Farewell>,
    _task: TaskGuard,
}

/// The WebSocket of a connection, if it has one.
enum Link {
    None,
    /// The 101 is being written.
    Upgrading(Via, PendingUpgrade),
    /// Boxed, so that a session on polling does not pay for it.
    Open(Via, Box<WebSocket>),
}

/// What the driver found to read.
enum Input {
    Packet(Via, Packet),
    Invalid(Via),
    Lost(Via, Loss),
    /// Something that only concerns the transport.
    Nothing,
}

impl<H: EngineHandler> Driver<H> {
    /// For a session that opened over polling.
    pub(crate) fn polling(shared: Arc<Shared<H>>, connection: Arc<Connection>) -> Driver<H> {
        Driver::new(shared, connection, Link::None)
    }

    /// For a session that opens over WebSocket, once the 101 is written.
    pub(crate) fn websocket(
        shared: Arc<Shared<H>>,
        connection: Arc<Connection>,
        upgrade: PendingUpgrade,
    ) -> Driver<H> {
        Driver::new(shared, connection, Link::Upgrading(Via::WebSocket, upgrade))
    }

    fn new(shared: Arc<Shared<H>>, connection: Arc<Connection>, link: Link) -> Driver<H> {
        let task = shared.registry.task();
        let deadline = connection.state().session.poll_timeout().unwrap_or_else(now);
        let sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
        Driver {
            shared,
            connection,
            client: None,
            link,
            body: None,
            sleep,
            paused: false,
            peer_done: false,
            farewell: None,
            _task: task,
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut budget = MESSAGES_PER_POLL;
        loop {
            self.begin_run();
            self.poll_link(cx);
            self.open_client(cx);
            if let Some(client) = &mut self.client {
                self.shared.handler.poll(client, cx);
            }
            self.keep_time();
            let drained = self.read(cx, &mut budget);
            self.write(cx);
            if let Some(reason) = self.take_events() {
                return self.close(reason, cx);
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let may_read_again = match &mut self.link {
                Link::Open(_, socket) => socket.take_may_read_again(),
                Link::None | Link::Upgrading(..) => false,
            };
            if !drained || may_read_again {
                continue;
            }
            self.settle();
            if self.sleep(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Takes over a WebSocket that wants to become the session's.
    fn begin_run(&mut self) {
        let probe = self.connection.state().run();
        if let Some((id, upgrade)) = probe {
            self.drop_link();
            self.link = Link::Upgrading(Via::Probe(id), upgrade);
        }
    }

    /// Waits for the 101 to be written.
    fn poll_link(&mut self, cx: &mut Context<'_>) {
        let Link::Upgrading(via, upgrade) = &mut self.link else { return };
        let via = *via;
        match Pin::new(&mut upgrade.on_upgrade).poll(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(upgraded)) => {
                let limit = self.shared.config.max_http_buffer_size;
                let request = self.connection.request();
                let form = Form::new(request.revision, request.base64);
                let socket = WebSocket::new(TokioIo::new(upgraded), limit, form, upgrade.deflate);
                self.link = Link::Open(via, Box::new(socket));
            }
            Poll::Ready(Err(error)) => {
                debug!(%error, "the host did not hand over the connection of a WebSocket");
                self.link = Link::None;
                self.connection.state().session.handle_lost(now(), via, Loss::Ended);
            }
        }
    }

    fn open_client(&mut self, cx: &mut Context<'_>) {
        if self.client.is_none() && !matches!(self.link, Link::Upgrading(Via::WebSocket, _)) {
            self.client = Some(self.shared.handler.on_open(&self.connection, cx));
        }
    }

    fn keep_time(&mut self) {
        let now = now();
        let (late, requests) = {
            let mut state = self.connection.state();
            let Some(deadline) = state.session.poll_timeout().filter(|deadline| *deadline <= now) else {
                return;
            };
            state.session.handle_timeout(now);
            (now - deadline, state.take_requests())
        };
        wake(requests);
        if late >= LATE {
            self.shared.handler.on_late(late);
        }
    }

    /// Reads and processes messages until there are none, the budget is spent, or the handler has enough; `false`
    /// when it stopped for another reason, and there may be more.
    fn read(&mut self, cx: &mut Context<'_>, budget: &mut usize) -> bool {
        while *budget > 0 && self.is_ready(cx) {
            let Some(input) = self.next_input(cx) else { return true };
            *budget -= 1;
            // What follows on a probe may come from the session's WebSocket already.
            let by_probe = matches!(input, Input::Packet(Via::Probe(_), _));
            self.process(input, cx);
            if by_probe {
                return false;
            }
        }
        true
    }

    /// Asks the handler whether it takes another message, and lets the session know when reading pauses.
    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(client) = &mut self.client else { return false };
        let ready = self.shared.handler.poll_ready(client, cx).is_ready();
        if ready == self.paused {
            self.paused = !ready;
            self.connection.state().session.handle_paused(now(), self.paused);
        }
        ready
    }

    fn next_input(&mut self, cx: &mut Context<'_>) -> Option<Input> {
        if self.connection.state().session.is_closed() {
            return None;
        }
        if let Some(input) = self.next_of_requests() {
            return Some(input);
        }
        let Link::Open(via, socket) = &mut self.link else { return None };
        if self.peer_done {
            return None;
        }
        let via = *via;
        let Poll::Ready(incoming) = socket.poll_read(cx) else { return None };
        Some(match incoming {
            Incoming::Text(text) => match self.decode_text(&text) {
                Ok(Some(packet)) => Input::Packet(via, packet),
                Ok(None) => Input::Nothing,
                Err(_) => Input::Invalid(via),
            },
            Incoming::Binary(data) => match self.decode_binary(data) {
                Some(packet) => Input::Packet(via, packet),
                None => Input::Nothing,
            },
            Incoming::Control => Input::Nothing,
            Incoming::Close => {
                self.peer_done = true;
                Input::Lost(via, Loss::Ended)
            }
            Incoming::Failed => {
                self.peer_done = true;
                Input::Lost(via, Loss::Failed)
            }
            Incoming::Ended => {
                self.drop_io();
                Input::Lost(via, Loss::Ended)
            }
        })
    }

    fn decode_text(&self, text: &ByteString) -> Result<Option<Packet>, PacketError> {
        match self.connection.request().revision {
            Revision::V4 => Packet::decode(text).map(Some),
            Revision::V3 => Packet::decode_v3(text),
        }
    }

    fn decode_binary(&self, data: Bytes) -> Option<Packet> {
        match self.connection.request().revision {
            Revision::V4 => Some(Packet::Message(Message::Binary(data))),
            Revision::V3 => Packet::decode_v3_binary(&data),
        }
    }

    /// The next packet of the POST at hand, or of the one that waits; behind them, that a client has gone.
    fn next_of_requests(&mut self) -> Option<Input> {
        if self.body.is_none() {
            let mut state = self.connection.state();
            let Some(body) = state.inbox.body.take() else {
                let method = state.inbox.aborted.take()?;
                state.session.handle_request_end(now(), method);
                return Some(Input::Lost(Via::Polling, Loss::Failed));
            };
            // From here on another POST may come: a client that hears from a handler before its POST is answered
            // may send the next one.
            state.session.handle_request_end(now(), PollMethod::Post);
            self.body = Some(body);
        }
        let body = self.body.as_mut()?;
        match body.packets.next() {
            Some(Ok(packet)) => Some(Input::Packet(Via::Polling, packet)),
            Some(Err(_)) => Some(Input::Invalid(Via::Polling)),
            None => {
                self.end_body();
                Some(Input::Nothing)
            }
        }
    }

    fn end_body(&mut self) {
        if let Some(body) = self.body.take() {
            // The client may have gone without waiting for the answer.
            let _ = body.done.send(());
        }
    }

    fn process(&mut self, input: Input, cx: &mut Context<'_>) {
        let now = now();
        let (message, requests) = {
            let mut state = self.connection.state();
            let session = &mut state.session;
            let (via, message) = match input {
                Input::Nothing => return,
                Input::Packet(via, packet) => (via, session.handle_packet(now, via, packet)),
                Input::Invalid(via) => {
                    session.handle_invalid_packet(now, via);
                    (via, None)
                }
                Input::Lost(via, loss) => {
                    session.handle_lost(now, via, loss);
                    (via, None)
                }
            };
            // What a packet can change for the requests that wait: the close, the upgrade, the answer to a ping.
            let concerned =
                session.is_closing() || matches!(via, Via::Probe(_)) || session.can_transmit(Via::Polling);
            (message, if concerned { state.take_requests() } else { [None, None] })
        };
        wake(requests);
        if let (Some(message), Some(client)) = (message, &mut self.client) {
            self.shared.handler.on_message(client, message, cx);
        }
    }

    /// Writes what the session has for its WebSocket until there is nothing more or the socket is full.
    fn write(&mut self, cx: &mut Context<'_>) {
        let Link::Open(via, socket) = &mut self.link else { return };
        let via = *via;
        loop {
            if socket.queue().is_empty() {
                self.connection.state().session.poll_transmit(now(), via, socket.queue());
            }
            let had = !socket.queue().is_empty();
            let mut written = 0;
            let result = socket.poll_write(cx, &mut written);
            if written > 0 {
                self.connection.state().session.handle_transmitted(now(), via, written);
                if socket.queue().is_empty() {
                    self.connection.notify_transmitted();
                }
            }
            match result {
                Poll::Ready(Ok(())) if had => {}
                Poll::Ready(Ok(())) | Poll::Pending => return,
                Poll::Ready(Err(error)) => {
                    debug!(%error, "a WebSocket could not be written to");
                    self.drop_io();
                    self.connection.state().session.handle_lost(now(), via, Loss::Failed);
                    return;
                }
            }
        }
    }

    /// Follows what the session decided; gives the reason once it is closed.
    fn take_events(&mut self) -> Option<CloseReason> {
        loop {
            let (event, probe) = {
                let mut state = self.connection.state();
                (state.session.poll_event(), state.session.probe())
            };
            match event {
                Some(SessionEvent::Upgrading) => {
                    if let Some(client) = &mut self.client {
                        self.shared.handler.on_upgrading(client);
                    }
                }
                Some(SessionEvent::Upgraded) => {
                    if let Link::Open(via, _) = &mut self.link {
                        *via = Via::WebSocket;
                    }
                    if let Some(client) = &mut self.client {
                        self.shared.handler.on_upgrade(client);
                    }
                }
                Some(SessionEvent::Lag(lag)) => {
                    if let Some(client) = &mut self.client {
                        self.shared.handler.on_lag(client, lag);
                    }
                }
                Some(SessionEvent::Closed(reason)) => return Some(reason),
                None => {
                    if let Link::Open(Via::Probe(id), _) | Link::Upgrading(Via::Probe(id), _) = &self.link
                        && probe != Some(*id)
                    {
                        self.drop_link();
                    }
                    return None;
                }
            }
        }
    }

    /// Lets go of a WebSocket that is not (or no longer) the session's, with a close frame.
    fn drop_link(&mut self) {
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None => {}
            Link::Upgrading(_, upgrade) => self.shared.turn_away(upgrade),
            Link::Open(_, mut socket) => {
                if !self.peer_done {
                    socket.queue_close();
                }
                let peer_done = std::mem::take(&mut self.peer_done);
                let sleep = Box::pin(tokio::time::sleep_until(now().into()));
                let farewell = Farewell::new(socket, peer_done, &self.shared.registry, sleep);
                let task = self.shared.registry.task();
                tokio::spawn(async move {
                    farewell.await;
                    drop(task);
                });
            }
        }
    }

    /// Lets go of a WebSocket whose connection is gone.
    fn drop_io(&mut self) {
        self.link = Link::None;
        // That was the peer's end of this one; the next WebSocket begins anew.
        self.peer_done = false;
    }

    /// The session is closed: tells the handler, lets go of all who wait, and takes leave of the peer.
    fn close(&mut self, reason: CloseReason, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.registry.remove(self.connection.id());
        if let Some(client) = self.client.take() {
            self.shared.handler.on_close(client, reason);
        }
        if let Some((_, upgrade)) = self.let_go().probe {
            self.shared.turn_away(upgrade);
        }
        match std::mem::replace(&mut self.link, Link::None) {
            Link::Open(Via::WebSocket, socket) => self.take_leave(socket, reason),
            link => {
                self.link = link;
                self.drop_link();
            }
        }
        self.poll_farewell(cx)
    }

    /// Lets go of all requests that wait; gives what is left of the inbox.
    fn let_go(&mut self) -> Inbox {
        self.end_body();
        let (inbox, requests) = {
            let mut state = self.connection.state();
            (state.finish(), state.take_requests())
        };
        wake(requests);
        self.connection.notify_transmitted();
        inbox
    }

    fn take_leave(&mut self, mut socket: Box<WebSocket>, reason: CloseReason) {
        if reason == CloseReason::ForcedClose {
            self.connection.state().session.poll_transmit(now(), Via::WebSocket, socket.queue());
        } else if !socket.clear() {
            // A message was cut: no frame can follow.
            return;
        }
        if !self.peer_done {
            socket.queue_close();
        }
        let sleep = std::mem::replace(&mut self.sleep, Box::pin(tokio::time::sleep_until(now().into())));
        self.farewell = Some(Farewell::new(socket, self.peer_done, &self.shared.registry, sleep));
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.farewell {
            Some(farewell) => Pin::new(farewell).poll(cx),
            None => Poll::Ready(()),
        }
    }

    /// Tells those who asked that all that had arrived is processed.
    fn settle(&mut self) {
        let settled = std::mem::take(&mut self.connection.state().inbox.settle);
        for sender in settled {
            // The request may have been aborted.
            let _ = sender.send(());
        }
    }

    /// Arms the timer and stores the waker, unless there is something new to do.
    fn sleep(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.connection.state().session.poll_timeout();
        if !self.arm(deadline, cx) {
            return false;
        }
        // A socket that is full wakes us when it has room again, and is then given the rest.
        let writes_by = match &mut self.link {
            Link::Open(via, socket) => socket.queue().is_empty().then_some(*via),
            Link::None | Link::Upgrading(..) => None,
        };
        let reads = self.client.is_some() && self.body.is_none() && !self.paused;
        let mut state = self.connection.state();
        if state.session.is_closed()
            || state.session.has_lag_news()
            || writes_by.is_some_and(|via| state.session.can_transmit(via))
            || state.session.poll_timeout() != deadline
        {
            return false;
        }
        state.sleep(cx, reads)
    }

    /// `false` when the deadline has passed already.
    fn arm(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else { return true };
        let armed = self.sleep.deadline().into_std();
        // An alarm that rings too early is cheaper than moving it each time.
        if armed > deadline || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(deadline.into());
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                return true;
            }
            if deadline <= now() {
                return false;
            }
            self.sleep.as_mut().reset(deadline.into());
        }
    }
}

impl<H: EngineHandler> Future for Driver<H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.registry.count_run();
        if self.farewell.is_some() {
            return self.poll_farewell(cx);
        }
        // A handler that panics ends its connection, and nothing else; what it left half done is dropped.
        catch_unwind(AssertUnwindSafe(|| self.drive(cx))).unwrap_or_else(|_| {
            error!("the handler of a connection panicked: the connection is closed");
            Poll::Ready(())
        })
    }
}

/// A task that ends before its session does (a panic, a runtime that shuts down) leaves nothing behind.
impl<H: EngineHandler> Drop for Driver<H> {
    fn drop(&mut self) {
        if self.connection.state().finished {
            return;
        }
        self.connection.discard();
        self.shared.registry.remove(self.connection.id());
        if let Some(client) = self.client.take() {
            let close = AssertUnwindSafe(|| self.shared.handler.on_close(client, CloseReason::ForcedClose));
            if catch_unwind(close).is_err() {
                error!("the handler of a closed connection panicked");
            }
        }
        self.let_go();
    }
}

// Nothing in it is pinned structurally.
impl<H: EngineHandler> Unpin for Driver<H> {}

fn wake(wakers: [Option<Waker>; 2]) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}

/// Messages a connection may process before the others of its worker thread get their turn.
const MESSAGES_PER_POLL: usize = 32;
