//! Lag: who is told that a client does not keep up.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;

use super::Server;
use super::handler::{HandlerFuture, HandlerOutput, Occasion, start};
use super::handlers::append;
use super::namespace::Namespace;
use super::parent::ParentNamespace;
use super::peer::Peer;
use super::socket::Socket;
use crate::engine::Lag;

/// A handler of a socket whose client lags, or has caught up.
#[derive(Clone)]
pub(crate) struct LagHandler(Arc<dyn Fn(Socket, Lag) -> HandlerFuture + Send + Sync>);

impl LagHandler {
    fn new<F, Fut>(handler: F) -> LagHandler
    where
        F: Fn(Socket, Lag) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        LagHandler(Arc::new(move |socket, lag| {
            Box::pin(handler(socket, lag).map(HandlerOutput::into_result))
        }))
    }
}

impl fmt::Debug for LagHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LagHandler")
    }
}

impl Namespace {
    /// Adds a handler of sockets whose client does not read as fast as it is sent to ([`Lag::Began`]: more than
    /// [`ServerBuilder::high_water_mark`](super::ServerBuilder::high_water_mark) waits), and of those that have caught up
    /// ([`Lag::Ended`]). For sending less before the queue is full: fewer pictures a second, another room.
    ///
    /// A connection lags as a whole: all its sockets are told, by the connection's task, a moment later. The two come in
    /// turn, except for a socket that joins in between, or leaves; a burst that leaves at once is not told of.
    ///
    /// # Example: a slow client gets the summary only
    /// ```
    /// use ferrio::{Lag, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.of("/").on_lag(async |socket: Socket, lag: Lag| match lag {
    ///     Lag::Began(_) => socket.leave("details"),
    ///     Lag::Ended(_) => socket.join("details"),
    ///     _ => {}
    /// });
    /// ```
    pub fn on_lag<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, Lag) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.change_handlers(|handlers| append(&mut handlers.lag, LagHandler::new(handler)));
    }
}

impl ParentNamespace {
    /// Adds a handler of sockets whose client lags to the children to come, see [`Namespace::on_lag`].
    pub fn on_lag<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, Lag) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.change_handlers(|handlers| append(&mut handlers.lag, LagHandler::new(handler)));
    }
}

impl Server {
    /// Adds a handler of sockets whose client lags to the main namespace, see [`Namespace::on_lag`].
    pub fn on_lag<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, Lag) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_lag(handler);
    }
}

/// Tells all sockets of a connection; called by its task.
pub(crate) fn tell(peer: &Arc<Peer>, lag: Lag) {
    if let Lag::Began(bytes) = lag {
        peer.counters().lags.increment();
        tracing::debug!(bytes, "a client does not read as fast as it is sent to");
    }
    for socket in peer.sockets() {
        for LagHandler(handler) in &*socket.home().lag_handlers() {
            start(&socket, Occasion::Lag, || handler(socket.clone(), lag));
        }
    }
}
