//! Serial handlers: of one socket, one after the other.
//!
//! A serial handler is an ordinary one whose future first waits for its turn, which it took when its event arrived. So it
//! is started, spawned, counted and caught as the others are.

use std::mem::size_of;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::Server;
use super::event::Event;
use super::handler::{EventHandler, HandlerOutput, ListenerId, warn_of_special_name};
use super::namespace::Namespace;
use super::parent::ParentNamespace;
use super::socket::Socket;

impl Namespace {
    /// Adds a handler of an event that waits for the end of the former one: of all serial handlers of a socket, whatever
    /// their events, one runs at a time, in the order in which the events arrived. For what must be done in order and has to
    /// wait while it is done: write this to the database, then read that. Ordinary handlers ([`Namespace::on`]) are only
    /// *started* in order, and neither wait for serial ones nor make them wait. Each socket has a row of its own.
    ///
    /// Acknowledgements, heartbeats and the DISCONNECT do not stand in the row: what still waits in it is handled after
    /// the socket has left ([`Socket::is_connected`] says so). A handler that never ends stops its socket's row;
    /// give what it waits for a timeout.
    ///
    /// An event that waits counts as a waiting handler ([`ServerBuilder::max_waiting_handlers`](super::ServerBuilder::max_waiting_handlers)), and its bytes as
    /// parked ones ([`ServerBuilder::max_parked_bytes`](super::ServerBuilder::max_parked_bytes)): over either bound its connection waits.
    ///
    /// # Example: a document is changed in the order in which its author typed
    /// ```
    /// use ferrio::{Event, HandlerError, Server};
    ///
    /// async fn save(change: &str) -> std::io::Result<()> {
    ///     // …takes its time.
    /// #   let _ = change;
    ///     Ok(())
    /// }
    ///
    /// let io = Server::new();
    /// io.of("/editor").on_serial("change", async |event: Event| {
    ///     let change: String = event.args()?;
    ///     save(&change).await?;
    ///     event.ack(&())?;
    ///     Ok::<_, HandlerError>(())
    /// });
    /// ```
    pub fn on_serial<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = in_turn(handler);
        let id = handler.id();
        self.change_handlers(|handlers| handlers.events.add(event, handler));
        id
    }
}

impl ParentNamespace {
    /// Adds a handler that waits for the end of the former one to the children to come, see [`Namespace::on_serial`].
    pub fn on_serial<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = in_turn(handler);
        let id = handler.id();
        self.change_handlers(|handlers| handlers.events.add(event, handler));
        id
    }
}

impl Server {
    /// Adds a handler that waits for the end of the former one to the main namespace, see [`Namespace::on_serial`].
    pub fn on_serial<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_serial(event, handler)
    }
}

impl Socket {
    /// Adds a handler for this socket alone that waits for the end of the former one, those of the namespace included;
    /// see [`Namespace::on_serial`].
    pub fn on_serial<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = in_turn(handler);
        let id = handler.id();
        self.with_listeners(|listeners| listeners.events.add(event, handler));
        id
    }
}

/// The handler, whose future takes its place when it is made, and waits for its turn when it is polled.
fn in_turn<F, Fut>(handler: F) -> EventHandler
where
    F: Fn(Event) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send + 'static,
{
    let handler = Arc::new(handler);
    EventHandler::new(move |event| {
        let handler = Arc::clone(&handler);
        let Place { before, behind } = Place::take(event.socket());
        async move {
            if let Some(before) = before {
                let _parked = event.socket().peer().count_parked(size_of::<Event>() + event.payload_len());
                // Nothing is ever sent: the end of the former handler drops the sender, by a panic too.
                let _ = before.await;
            }
            let outcome = handler(event).await.into_result();
            drop(behind);
            outcome
        }
    })
}

/// A place in the row of a socket: each waits for the one before.
struct Place {
    /// Resolves when the former handler has ended; `None` if it has.
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when this one has ended.
    behind: oneshot::Sender<()>,
}

impl Place {
    fn take(socket: &Socket) -> Place {
        let (behind, last) = oneshot::channel();
        let before = socket.with_extras(|extras| extras.last_serial.replace(last));
        let runs = |before: &mut oneshot::Receiver<()>| matches!(before.try_recv(), Err(TryRecvError::Empty));
        Place { before: before.and_then(|mut before| runs(&mut before).then_some(before)), behind }
    }
}
