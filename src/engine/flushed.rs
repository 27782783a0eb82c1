//! Flushed: waiting until what was sent has left.

use std::fmt;
use std::sync::Arc;

use super::Connection;

/// The connection closed before all had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushError;

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection closed before all that was sent had left")
    }
}

impl std::error::Error for FlushError {}

impl Connection {
    /// Resolves when all that had been sent when this was called has been handed to the operating system or a poll's
    /// answer; what is sent later is not waited for. That says nothing of its arrival: only an acknowledgement does. It is
    /// how a producer keeps to the pace of its peer.
    ///
    /// # Errors
    /// If the connection closes before; also while it closes gracefully.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Example: as fast as the peer reads, two messages ahead
    /// ```
    /// use std::sync::Arc;
    ///
    /// use ferrio::engine::{Connection, FlushError};
    ///
    /// async fn send_all(connection: &Arc<Connection>, numbers: &[u64]) -> Result<(), FlushError> {
    ///     for pair in numbers.chunks(2) {
    ///         let before = connection.flushed();
    ///         for number in pair {
    ///             connection.send_message(number.to_string()).map_err(|_| FlushError)?;
    ///         }
    ///         before.await?;
    ///     }
    ///     connection.flushed().await
    /// }
    /// ```
    pub fn flushed(
        self: &Arc<Connection>,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + 'static + use<> {
        let connection = Arc::clone(self);
        let mark = connection.state().session.flush_mark();
        async move {
            loop {
                let mut moved = std::pin::pin!(connection.transmission().notified());
                // Registered before the look, so that nothing is missed in between.
                moved.as_mut().enable();
                {
                    let state = connection.state();
                    if state.session.is_flushed(mark) {
                        return Ok(());
                    }
                    if state.session.is_closed() {
                        return Err(FlushError);
                    }
                }
                moved.await;
            }
        }
    }
}
