//! Connection: one session and the wakers of those who carry its packets.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base64::Engine as _;
use tokio::sync::{Notify, oneshot};

use super::handshake::HandshakeRequest;
use super::now;
use super::upgrade::PendingUpgrade;
use crate::proto::EncodedMessage;
use crate::proto::engineio::{
    Message, Overlap, Payload, PollMethod, ProbeId, SendError, Sent, Session, TransportKind, UpgradeRefused,
    Via,
};
use crate::sync::{Mutex, MutexGuard};

/// The id of an Engine.IO session: 20 characters of `A-Za-z0-9_-`, or what
/// [`EngineConfig::generate_id`](super::EngineConfig::generate_id) gave.
///
/// It is a credential: whoever knows it can speak for the client. So it has no `Display`, and `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The id itself, for the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn new(id: &str) -> SessionId {
        SessionId(id.into())
    }

    pub(crate) fn random() -> SessionId {
        SessionId(random_id().into())
    }
}

/// Fifteen random bytes as 20 characters, the form of Node's ids.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 15];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One client's Engine.IO connection, over whatever transport it uses at present.
///
/// Its truth is one [`Session`] under one mutex. The wakers of the connection's task and of the requests that wait
/// live under the same mutex, so that no wake-up can be lost; they are called after it is released.
pub struct Connection {
    id: SessionId,
    request: HandshakeRequest,
    state: Mutex<State>,
    /// Something left, or the session closed.
    transmission: Notify,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// What the mutex guards.
pub(crate) struct State {
    pub(crate) session: Session,
    pub(crate) inbox: Inbox,
    /// The connection's task, when it sleeps.
    driver: Option<Waker>,
    /// [`Connection::wake`] was called while it did not.
    woken: bool,
    /// The GET that waits for packets.
    get: Option<Waker>,
    /// The POST whose body is still coming.
    post: Option<Waker>,
    /// Set when the connection's task has ended: nobody will take anything from the inbox.
    pub(crate) finished: bool,
}

/// What requests hand to the connection's task.
#[derive(Default)]
pub(crate) struct Inbox {
    /// A POST's body, and where its end is reported. At most one: the POST counts as open until it is taken.
    pub(crate) body: Option<PostBody>,
    /// A WebSocket that probes.
    pub(crate) probe: Option<(ProbeId, PendingUpgrade)>,
    /// A GET or POST whose client has gone. What was there before it is processed first, as a single thread would.
    pub(crate) aborted: Option<PollMethod>,
    /// Requests that want all that has arrived to be processed first.
    pub(crate) settle: Vec<oneshot::Sender<()>>,
}

pub(crate) struct PostBody {
    pub(crate) packets: Payload,
    pub(crate) done: oneshot::Sender<()>,
}

/// The wakers to call once the lock is released.
#[derive(Default)]
#[must_use]
struct Wakes([Option<Waker>; 3]);

impl Wakes {
    fn wake(self) {
        self.0.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Connection {
    pub(crate) fn new(id: SessionId, request: HandshakeRequest, session: Session) -> Connection {
        let state = State {
            session,
            inbox: Inbox::default(),
            driver: None,
            woken: false,
            get: None,
            post: None,
            finished: false,
        };
        Connection { id, request, state: Mutex::new(state), transmission: Notify::new() }
    }

    /// The session's id, a credential.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The request that opened the session.
    pub fn request(&self) -> &HandshakeRequest {
        &self.request
    }

    /// Queues a message; never waits. The order of calls is the order of transmission.
    ///
    /// # Errors
    /// [`SendError::Closed`] after the close; [`SendError::QueueFull`] when the peer is too slow: the session is
    /// then closed with `transport error`; [`SendError::Dropped`] where
    /// [`EngineConfig::slow_consumer`](super::EngineConfig::slow_consumer) drops messages instead.
    pub fn send(&self, message: Arc<EncodedMessage>) -> Result<(), SendError> {
        self.enqueue(message).map(drop)
    }

    /// The same; says what it did to others.
    pub(crate) fn enqueue(&self, message: Arc<EncodedMessage>) -> Result<Sent, SendError> {
        let (result, wakes) = {
            let mut state = self.state.lock();
            let result = state.session.send(message);
            (result, state.wakes_after_send(result.is_err()))
        };
        wakes.wake();
        result
    }

    /// Queues a text or bytes: [`Connection::send`] for a message that nobody else gets.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_message(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.send(Arc::new(EncodedMessage::message(&message.into())))
    }

    /// Queues a message only if it could leave at once (Node's `transport.writable`); says whether it did.
    pub fn send_volatile(&self, message: Arc<EncodedMessage>) -> bool {
        let (sent, wakes) = {
            let mut state = self.state.lock();
            let sent = state.session.send_volatile(message);
            let wakes = if sent { state.wakes_after_send(false) } else { Wakes::default() };
            (sent, wakes)
        };
        wakes.wake();
        sent
    }

    /// Closes gracefully (`forced close`): what was sent before still leaves. Over polling without an open GET the
    /// session closes with the next GET, at the latest after 30 s.
    pub fn close(&self) {
        self.change(|session| session.close(now()));
    }

    /// Closes at once (`forced close`), dropping what waits.
    pub fn discard(&self) {
        self.change(|session| session.discard(now()));
    }

    /// Whether the session is closed. After [`Connection::close`] over polling it may still wait for a GET.
    pub fn is_closed(&self) -> bool {
        self.state.lock().session.is_closed()
    }

    /// The transport used at present.
    pub fn transport(&self) -> TransportKind {
        self.state.lock().session.transport()
    }

    /// Whether a volatile message would be accepted now (Node's `transport.writable`).
    pub fn is_writable(&self) -> bool {
        self.state.lock().session.is_writable()
    }

    /// Bytes accepted and not yet handed to the operating system, as
    /// [`EngineConfig::max_send_queue`](super::EngineConfig::max_send_queue) counts them.
    pub fn buffered_bytes(&self) -> usize {
        self.state.lock().session.buffered_bytes()
    }

    /// Packets that came so far, of every type.
    pub fn packets_received(&self) -> u64 {
        self.state.lock().session.packets_received()
    }

    /// Packets accepted for sending so far, the open packet and the heartbeat included.
    pub fn packets_sent(&self) -> u64 {
        self.state.lock().session.packets_sent()
    }

    /// Resolves when all that was sent has been handed to the operating system or a poll's answer (Node's `drain`
    /// event), or when the session is closed. It is how a producer keeps to the pace of its peer.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.transmission.notified());
            // Registered before the look, so that nothing is missed in between.
            drained.as_mut().enable();
            {
                let state = self.state.lock();
                if state.session.is_closed() || state.session.buffered_bytes() == 0 {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Lets those look again who wait in [`Connection::drained`] and [`Connection::flushed`].
    pub(crate) fn notify_transmitted(&self) {
        self.transmission.notify_waiters();
    }

    /// Whom [`Connection::notify_transmitted`] tells.
    pub(crate) fn transmission(&self) -> &Notify {
        &self.transmission
    }

    /// Wakes the connection's task, so that it calls [`super::EngineHandler::poll`] and `poll_ready`.
    pub fn wake(&self) {
        let driver = {
            let mut state = self.state.lock();
            state.woken = true;
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes the session by something other than a send, and wakes everybody to look at it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Session) -> R) -> R {
        let (result, wakes) = {
            let mut state = self.state.lock();
            let result = change(&mut state.session);
            (result, state.wakes_of_all())
        };
        wakes.wake();
        result
    }

    /// Waits until the connection's task has processed what had arrived when this was called.
    ///
    /// A request that must see the effect of bytes that came before it on another TCP connection (the upgrade's
    /// `5`, the end of an aborted poll) calls this first: on Node a single thread gives that order for free.
    pub(crate) async fn settle(&self) {
        let (sender, receiver) = oneshot::channel();
        let driver = {
            let mut state = self.state.lock();
            if state.finished {
                return;
            }
            state.inbox.settle.push(sender);
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        // An error means that the task has ended, which settles everything.
        let _ = receiver.await;
    }

    /// Begins a GET or POST.
    pub(crate) fn begin_request(self: &Arc<Self>, method: PollMethod) -> Result<OpenRequest, Overlap> {
        let (result, wakes) = {
            let mut state = self.state.lock();
            let result = state.session.handle_request(now(), method);
            // A GET during an upgrade starts the timer of its noop; an overlap closes the session.
            let wake = result.is_err() || state.session.probe().is_some();
            (result, if wake { state.wakes_of_all() } else { Wakes::default() })
        };
        wakes.wake();
        result?;
        Ok(OpenRequest { connection: Arc::clone(self), method, open: true })
    }

    /// Registers a WebSocket that wants to take over, to be driven by the connection's task.
    pub(crate) fn begin_probe(
        &self,
        upgrade: PendingUpgrade,
    ) -> Result<(), (UpgradeRefused, PendingUpgrade)> {
        let driver = {
            let mut state = self.state.lock();
            match state.session.handle_probe(now()) {
                Ok(id) => state.inbox.probe = Some((id, upgrade)),
                Err(refused) => return Err((refused, upgrade)),
            }
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }
}

impl State {
    /// Those who carry what was just queued; all, where more happened than that.
    fn wakes_after_send(&mut self, refused: bool) -> Wakes {
        if refused || self.session.has_lag_news() { self.wakes_of_all() } else { self.wakes_of_writer() }
    }

    fn wakes_of_writer(&mut self) -> Wakes {
        match self.session.transport() {
            TransportKind::Polling => Wakes([self.get.take(), None, None]),
            TransportKind::WebSocket => Wakes([self.driver.take(), None, None]),
        }
    }

    fn wakes_of_all(&mut self) -> Wakes {
        Wakes([self.driver.take(), self.get.take(), self.post.take()])
    }

    /// Whether something may have arrived that a request must not overtake: a WebSocket probes, a request was aborted,
    /// or the session's end is not yet told to all.
    pub(crate) fn is_unsettled(&self) -> bool {
        let changes = self.session.probe().is_some() || self.session.is_closed();
        !self.finished && (changes || self.inbox.aborted.is_some())
    }

    /// The wakers of the requests that wait.
    pub(crate) fn take_requests(&mut self) -> [Option<Waker>; 2] {
        [self.get.take(), self.post.take()]
    }

    /// The connection's task runs: nobody has to wake it. Gives the WebSocket that probes, if there is a new one.
    pub(crate) fn run(&mut self) -> Option<(ProbeId, PendingUpgrade)> {
        self.driver = None;
        self.woken = false;
        self.inbox.probe.take()
    }

    /// Lets the connection's task sleep; refused when there is something new for it.
    pub(crate) fn sleep(&mut self, cx: &Context<'_>, reads: bool) -> bool {
        let request_waits = reads && (self.inbox.body.is_some() || self.inbox.aborted.is_some());
        if request_waits || self.woken || self.inbox.probe.is_some() || !self.inbox.settle.is_empty() {
            return false;
        }
        self.driver = Some(cx.waker().clone());
        true
    }

    /// The connection's task ends: whoever waits in the inbox is let go.
    pub(crate) fn finish(&mut self) -> Inbox {
        debug_assert!(self.session.is_closed());
        self.finished = true;
        std::mem::take(&mut self.inbox)
    }
}

/// A GET or POST that is under way. Dropped before its end (the client went away), it closes the session with
/// `transport error`, as Node does.
pub(crate) struct OpenRequest {
    connection: Arc<Connection>,
    method: PollMethod,
    open: bool,
}

impl OpenRequest {
    /// Waits for packets; `None` when the session closed without a goodbye for this GET.
    ///
    /// # Cancel safety
    /// Nothing is taken from the queue before the future is ready.
    pub(crate) async fn packets(&self) -> Option<VecDeque<Arc<EncodedMessage>>> {
        std::future::poll_fn(|cx| self.connection.poll_get(cx)).await
    }

    /// The answer with the packets is made, and is the host's from now on.
    pub(crate) fn answered(mut self) {
        self.open = false;
    }

    /// Hands a POST's body to the connection's task and waits until it has been processed (or the session has
    /// closed, which makes no difference to the answer).
    pub(crate) async fn process(mut self, packets: Payload) {
        // From here on the task ends the request in the session, when it takes the body.
        self.open = false;
        let (done, processed) = oneshot::channel();
        let driver = {
            let mut state = self.connection.state.lock();
            if state.finished {
                return;
            }
            state.session.handle_body();
            state.inbox.body = Some(PostBody { packets, done });
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        let _ = processed.await;
    }

    /// Resolves when the session closes while a POST's body is still coming.
    pub(crate) async fn closed(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.connection.state.lock();
            if state.session.is_closed() {
                return Poll::Ready(());
            }
            state.post = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Ends the request without a body that the session should see (413, octet-stream).
    pub(crate) fn end(mut self) {
        self.open = false;
        let method = self.method;
        self.connection.change(|session| session.handle_request_end(now(), method));
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if self.open {
            let driver = {
                let mut state = self.connection.state.lock();
                state.inbox.aborted = Some(self.method);
                state.driver.take()
            };
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }
}

impl Connection {
    /// Takes all that may leave by the open GET, which then has ended.
    fn poll_get(&self, cx: &Context<'_>) -> Poll<Option<VecDeque<Arc<EncodedMessage>>>> {
        let mut messages = VecDeque::new();
        let wakes = {
            let mut state = self.state.lock();
            state.session.poll_transmit(now(), Via::Polling, &mut messages);
            if messages.is_empty() && !state.session.is_closed() {
                state.get = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let now = now();
            let bytes = messages.iter().map(|message| message.weight()).sum();
            state.session.handle_request_end(now, PollMethod::Get);
            state.session.handle_transmitted(now, Via::Polling, bytes);
            // This GET may have brought a graceful close one step on, or let the client catch up.
            let concerns_all = state.session.is_closing() || state.session.has_lag_news();
            if concerns_all { state.wakes_of_all() } else { Wakes::default() }
        };
        wakes.wake();
        self.notify_transmitted();
        Poll::Ready((!messages.is_empty()).then_some(messages))
    }
}
