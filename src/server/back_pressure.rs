//! Back-pressure: how much waits for a client, until when, and what is done if it is too much.

use super::ServerBuilder;
use super::socket::Socket;
use crate::engine::{FlushError, SlowConsumer};

impl Socket {
    /// Gives the bytes that wait for the client, all its sockets together: emitted, and not yet handed to the operating
    /// system; counted as for [`ServerBuilder::max_send_queue`].
    pub fn buffered_bytes(&self) -> usize {
        self.conn().buffered_bytes()
    }

    /// Resolves when all that had been emitted to the client when this was called has been handed to the operating system
    /// or to a poll's answer; what was dropped meanwhile ([`ServerBuilder::slow_consumer`]) is not waited for. That says
    /// nothing of its arrival: only an acknowledgement does.
    ///
    /// # Errors
    /// If the connection closes before.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Example: a large file, as fast as the client reads it
    /// ```
    /// use bytes::Bytes;
    /// use ferrio::{HandlerError, Socket};
    ///
    /// async fn send_file(socket: Socket, chunks: Vec<Bytes>) -> Result<(), HandlerError> {
    ///     for chunk in chunks {
    ///         socket.emit("chunk", &chunk)?;
    ///         socket.flushed().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn flushed(&self) -> impl Future<Output = Result<(), FlushError>> + Send + 'static + use<> {
        self.conn().flushed()
    }
}

impl ServerBuilder {
    /// Sets what is done about a client for which [`ServerBuilder::max_send_queue`] bytes wait already. Default:
    /// [`SlowConsumer::Close`], so that it connects anew and knows that it missed something. The others drop events that
    /// want no acknowledgement and have not begun to leave, and nothing else; [`Server::stats`](super::Server::stats)
    /// counts them. Choose them where a gap is better than a new connection, with a small queue.
    ///
    /// Where a newer event makes an older one worthless, [`coalesce`](super::BroadcastOperator::coalesce) drops the
    /// right ones, and before the queue is full.
    ///
    /// # Example: a ticker, of which a slow client gets what is new
    /// ```
    /// use ferrio::SlowConsumer;
    ///
    /// let io = ferrio::Server::builder()
    ///     .max_send_queue(256 * 1024)
    ///     .slow_consumer(SlowConsumer::DropOldest)
    ///     .build()?;
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn slow_consumer(mut self, policy: SlowConsumer) -> ServerBuilder {
        self.config.engine.slow_consumer = policy;
        self
    }

    /// Sets how many bytes the events may hold whose handlers wait ([`ServerBuilder::max_waiting_handlers`]), of one
    /// connection. Default: 16 MiB; one event more is accepted. Over it packets are parked, all but acknowledgements, until
    /// a handler has ended. Lower it where clients are many, not trusted, and send large events.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> ServerBuilder {
        self.config.max_waiting_bytes = bytes;
        self
    }

    /// Sets the bytes that may wait for a client before it is said to lag ([`Server::on_lag`](super::Server::on_lag)); at
    /// a quarter of them it has caught up. Default: 1 MiB. Lower to react sooner; above `max_send_queue` it is never reached. It changes nothing else.
    pub fn high_water_mark(mut self, bytes: usize) -> ServerBuilder {
        self.config.engine.high_water_mark = bytes;
        self
    }
}
