//! What a link says of itself: status, counters, errors.

use std::fmt;
use std::time::{Duration, Instant};

/// How the connections to Redis are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// The connection that publishes; in a cluster the worst of them.
    pub publisher: ConnectionState,
    /// The connection that subscribes; in a cluster the worst of them.
    pub subscriber: ConnectionState,
    /// The connections that read streams: the worst of them.
    pub readers: ConnectionState,
    /// Channels that Redis refuses to subscribe, as to a user without the right to them: ten of them at the most. They are
    /// tried again every five seconds.
    pub refused: Vec<String>,
    /// Why a connection was lost or not made, or a channel refused, the last time, if there was such a time.
    pub last_error: Option<String>,
}

impl LinkStatus {
    /// Whether all connections that are needed are there, with all that is subscribed: the other servers are heard, and hear
    /// this one. It says nothing of whether this server can serve: it does so for its own clients without Redis, too.
    pub fn is_up(&self) -> bool {
        self.outages().next().is_none() && self.refused.is_empty()
    }

    fn outages(&self) -> impl Iterator<Item = (&'static str, ConnectionState)> {
        let all = [("publisher", self.publisher), ("subscriber", self.subscriber), ("readers", self.readers)];
        all.into_iter()
            .filter(|(_, state)| !matches!(state, ConnectionState::Connected | ConnectionState::Idle))
    }
}

/// `connected`, or what is missing and since when.
impl fmt::Display for LinkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_up() {
            return f.write_str("connected");
        }
        let mut separator = "";
        for (name, state) in self.outages() {
            write!(f, "{separator}{name}: {state}")?;
            separator = "; ";
        }
        if !self.refused.is_empty() {
            write!(f, "{separator}refused: {}", self.refused.join(", "))?;
        }
        match &self.last_error {
            Some(error) => write!(f, " (last error: {error})"),
            None => Ok(()),
        }
    }
}

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It has been closed, for good.
    Closed,
    /// It works.
    Connected,
    /// It is not needed: nothing is subscribed, or read.
    Idle,
    /// It is being made, for the first time or again.
    Reconnecting {
        /// Since when there is none.
        since: Instant,
        /// How many attempts have failed since then.
        attempts: u32,
    },
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionState::Closed => f.write_str("closed"),
            ConnectionState::Connected => f.write_str("connected"),
            ConnectionState::Idle => f.write_str("idle"),
            ConnectionState::Reconnecting { since, attempts } => {
                write!(f, "no connection for {} s, {attempts} attempts", since.elapsed().as_secs())
            }
        }
    }
}

impl ConnectionState {
    /// To find the worst: the longest outage.
    pub(super) fn badness(&self) -> (u8, Duration) {
        match self {
            ConnectionState::Idle => (0, Duration::ZERO),
            ConnectionState::Connected => (1, Duration::ZERO),
            ConnectionState::Reconnecting { since, .. } => (2, since.elapsed()),
            ConnectionState::Closed => (3, Duration::ZERO),
        }
    }
}

/// What the connections to Redis have done since they were opened: counters, but for the two `queued` ones, which are
/// gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Messages that Redis has taken; whether anybody was subscribed is not known.
    pub published: u64,
    /// Messages and questions refused because too much waited, or because the link was closed; and those that waited when
    /// it was closed.
    pub dropped: u64,
    /// Messages that Redis has refused (no right, no memory, read-only).
    pub failed: u64,
    /// Incoming messages that made no sense.
    pub ignored: u64,
    /// Messages that were under way when the connection was lost: Redis may have them or not, and they are not sent again.
    pub lost: u64,
    /// Incoming messages, those that made no sense included.
    pub received: u64,
    /// How often a connection was made again.
    pub reconnects: u64,
    /// Messages larger than `max_publish_bytes`.
    pub refused_too_large: u64,
    /// Messages that the adapter's [`ClusterParser`](crate::ClusterParser) has no form for.
    pub unencodable: u64,
    /// How often a subscribing connection was found deaf and made anew.
    pub watchdog_renewals: u64,
    /// Bytes that wait for Redis or for its answer, now.
    pub queued_bytes: usize,
    /// Commands that wait for Redis or for its answer, now.
    pub queued_messages: usize,
}

/// Why Redis did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// There has been no connection for a while: nobody was asked.
    Away {
        /// For how long.
        duration: Duration,
        /// Why there is none.
        reason: String,
    },
    /// Too much waits for Redis already.
    Backlogged {
        /// Commands that wait.
        messages: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The link is closed.
    Closed,
    /// The connection was lost while the answer was awaited.
    Lost,
    /// There is no connection yet, or not all of them.
    NotReady {
        /// What is missing.
        reason: String,
    },
    /// Redis answered with an error.
    Redis {
        /// What it said.
        message: String,
    },
    /// No answer came in time.
    TimedOut,
    /// A message is larger than `max_publish_bytes`.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The answer is none to this command.
    UnexpectedAnswer,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Away { duration, reason } => {
                write!(f, "no connection to Redis for {} s: {reason}", duration.as_secs())
            }
            LinkError::Backlogged { messages, bytes } => write!(
                f,
                "{messages} commands of {bytes} bytes wait for Redis already (RedisConfig::queue_messages, queue_bytes)"
            ),
            LinkError::Closed => f.write_str("the link to Redis is closed"),
            LinkError::Lost => f.write_str("the connection to Redis was lost while the answer was awaited"),
            LinkError::NotReady { reason } => write!(f, "no connection to Redis: {reason}"),
            LinkError::Redis { message } => write!(f, "Redis answered: {message}"),
            LinkError::TimedOut => {
                f.write_str("Redis did not answer in time (RedisConfig::response_timeout)")
            }
            LinkError::TooLarge { bytes, limit } => write!(
                f,
                "a message of {bytes} bytes is larger than {limit} bytes (RedisConfig::max_publish_bytes, to be raised \
                 together with Redis's client-output-buffer-limit)"
            ),
            LinkError::UnexpectedAnswer => f.write_str("Redis gave an answer that is none to this command"),
        }
    }
}

impl std::error::Error for LinkError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_in_words_what_is_missing() {
        let mut status = LinkStatus {
            publisher: ConnectionState::Connected,
            subscriber: ConnectionState::Idle,
            readers: ConnectionState::Idle,
            refused: Vec::new(),
            last_error: Some("it was slow".to_owned()),
        };
        assert!(status.is_up());
        assert_eq!(status.to_string(), "connected");
        status.refused = vec!["a".to_owned(), "b".to_owned()];
        assert!(!status.is_up());
        assert_eq!(status.to_string(), "refused: a, b (last error: it was slow)");
        status.refused.clear();
        status.subscriber = ConnectionState::Reconnecting { since: Instant::now(), attempts: 3 };
        status.readers = ConnectionState::Closed;
        status.last_error = None;
        assert!(!status.is_up());
        assert_eq!(status.to_string(), "subscriber: no connection for 0 s, 3 attempts; readers: closed");
    }
}
