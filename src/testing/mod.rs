//! Tests of one's own handlers: a client that talks to a [`Server`] in the same process, without a port.
//!
//! [`TestClient`] speaks to the server as any client does: a handshake that middlewares see, packets through the server's
//! parser, over a WebSocket or by HTTP long-polling; only TCP is missing. It reads no clock but tokio's: in a test
//! with `#[tokio::test(start_paused = true)]` (tokio's feature `test-util`) no wait takes time, timeouts and pings of the
//! server included. (Where handlers wait for what is outside of the process, a database, leave the clock running: a paused
//! one runs ahead of it.)
//!
//! # Example: two clients in a room
//! ```
//! use ferrio::testing::TestClient;
//! use ferrio::{ConnectError, EventType, HandlerError, Server, Socket};
//! use serde::Deserialize;
//!
//! const JOIN: EventType<String, usize> = EventType::new("join");
//! const JOINED: EventType<String> = EventType::new("joined");
//!
//! #[derive(Deserialize)]
//! struct Auth {
//!     name: String,
//! }
//!
//! /// What is to be tested; `main` calls it, too.
//! fn chat() -> Server {
//!     let io = Server::new();
//!     io.use_(async |socket: Socket| {
//!         let auth: Auth = socket.handshake().auth()?;
//!         socket.extensions().insert(auth.name);
//!         Ok::<_, ConnectError>(())
//!     });
//!     JOIN.on(&io, async |event, room| {
//!         let socket = event.socket();
//!         socket.join(&room);
//!         event.ack(&socket.namespace().to(&room).sockets().len())?;
//!         if let Some(name) = socket.extensions().get::<String>() {
//!             JOINED.emit(&socket.to(&room), &*name)?;
//!         }
//!         Ok::<_, HandlerError>(())
//!     });
//!     io
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] // in a test: #[tokio::test(start_paused = true)]
//! # async
//! fn who_joins_is_announced() -> Result<(), Box<dyn std::error::Error>> {
//!     let io = chat();
//!     let auth = |name| serde_json::json!({ "name": name });
//!     let mut ann = TestClient::builder(&io).auth(&auth("Ann")).connect().await?;
//!     let bob = TestClient::builder(&io).auth(&auth("Bob")).connect().await?;
//!     assert_eq!(JOIN.emit_with_ack(&ann, "lobby").await?, 1);
//!     assert_eq!(JOIN.emit_with_ack(&bob, "lobby").await?, 2);
//!     assert_eq!(JOINED.expect(&mut ann).await?, "Bob");
//!
//!     let refused = TestClient::connect(&io).await.unwrap_err();
//!     assert_eq!(refused.connect_error().map(ConnectError::message), Some("auth: missing field `name`"));
//!     Ok(())
//! }
//! # who_joins_is_announced().unwrap();
//! ```

mod builder;
mod error;
mod event;
mod link;
mod polling;
mod websocket;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

pub use builder::TestClientBuilder;
pub use error::TestError;
pub use event::TestEvent;

use crate::proto::socketio::Payload;
use crate::server::{
    AckEmitter, AckError, AckFuture, EmitError, Emitter, EventType, Sealed, Server, SocketId,
};
use link::{CLOSED, Incoming, Link};

/// A client in one namespace of a server in the same process, see [the module](self) for an example.
///
/// Everything that is waited for is waited for 5 s at most ([`TestClientBuilder::patience`]), and the error says what came
/// instead. Events that nobody has asked for yet are kept, in their order.
///
/// What is emitted is on its way when `emit` returns, and is handled in order; that a handler has run is known by what it
/// does (an answer, an event). The clients of a connection, one for each namespace, may be dropped: with the last one the
/// connection ends as if the network had failed. [`TestClient::disconnect`] and [`TestClient::close`] say goodbye.
pub struct TestClient {
    link: Arc<Link>,
    namespace: ByteString,
    id: SocketId,
    inbox: mpsc::UnboundedReceiver<Incoming>,
    /// What came while something else was waited for.
    kept: VecDeque<TestEvent>,
    /// Why nothing comes any more.
    left: Option<String>,
    patience: Duration,
}

impl TestClient {
    /// Connects to the main namespace, without auth. By WebSocket, or by polling where the server has no WebSockets.
    ///
    /// # Errors
    /// [`TestError::Connect`] if a middleware refuses the client, [`TestError::Refused`] if the server already refuses its
    /// HTTP request.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn connect(io: &Server) -> Result<TestClient, TestError> {
        TestClient::builder(io).connect().await
    }

    /// Begins a client with auth, another namespace, headers and the like.
    pub fn builder(io: &Server) -> TestClientBuilder {
        TestClientBuilder::new(io)
    }

    /// Joins another namespace by the same connection, without auth.
    ///
    /// # Errors
    /// [`TestError::Connect`] if the client is refused, [`TestError::AlreadyJoined`].
    ///
    /// # Cancel safety
    /// Dropping the future, one may have joined all the same.
    pub async fn join(&self, namespace: &str) -> Result<TestClient, TestError> {
        self.link.join(namespace, None, self.patience).await
    }

    /// Joins another namespace by the same connection, with auth.
    ///
    /// # Errors
    /// As [`TestClient::join`], and [`TestError::Encode`] if `auth` cannot be serialized.
    ///
    /// # Cancel safety
    /// As [`TestClient::join`].
    pub async fn join_with_auth<T: Serialize + ?Sized>(
        &self,
        namespace: &str,
        auth: &T,
    ) -> Result<TestClient, TestError> {
        let auth = Payload::value(auth).map_err(TestError::Encode)?;
        self.link.join(namespace, Some(auth), self.patience).await
    }

    /// Gives the id of the client's socket: `io.of("/").socket(client.id().as_str())` is the server's side of it.
    pub fn id(&self) -> &SocketId {
        &self.id
    }

    /// Gives the name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Emits an event to the server; the arguments are those of [`Socket::emit`](crate::Socket::emit). It never waits, and
    /// goes nowhere if the client is not connected any more.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.link.emit(&self.namespace, event, args)
    }

    /// Emits an event and waits for the server's acknowledgement; the result is as that of
    /// [`Socket::emit_with_ack`](crate::Socket::emit_with_ack).
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        let answer = self.link.ask(&self.namespace, event, args);
        let patience = self.patience;
        AckFuture::of(async move {
            let answer = tokio::time::timeout(patience, answer?).await.map_err(|_| AckError::Timeout)?;
            answer.map_err(|_| AckError::Disconnected)
        })
    }

    /// Waits for the next event, whatever it is.
    ///
    /// # Errors
    /// [`TestError::Timeout`], [`TestError::Disconnected`].
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    pub async fn next_event(&mut self) -> Result<TestEvent, TestError> {
        if let Some(event) = self.kept.pop_front() {
            return Ok(event);
        }
        let patience = self.patience;
        self.in_time("an event", patience, async |client| client.receive().await).await
    }

    /// Waits for the first event of this name, and reads its arguments, as [`Event::args`](crate::Event::args). Others stay
    /// where they are: they may be expected afterwards, or be the next one.
    ///
    /// # Errors
    /// [`TestError::Timeout`] and [`TestError::Disconnected`], with what came instead; [`TestError::Args`] if the arguments
    /// are something else than `T` says.
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    pub async fn expect<T: DeserializeOwned>(&mut self, event: &str) -> Result<T, TestError> {
        self.expect_event(event).await?.args()
    }

    /// Waits for the first event of this name, as [`TestClient::expect`]; for one that wants to be acknowledged
    /// ([`TestEvent::ack`]).
    ///
    /// # Errors
    /// [`TestError::Timeout`] and [`TestError::Disconnected`], with what came instead.
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    ///
    /// # Example: answering the server
    /// ```
    /// use ferrio::Server;
    /// use ferrio::testing::TestClient;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let io = Server::new();
    /// let mut client = TestClient::connect(&io).await?;
    /// let votes = io.emit_with_ack::<bool>("vote", "more trees?");
    /// client.expect_event("vote").await?.ack(&true)?;
    /// assert_eq!(votes.await?, [true]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn expect_event(&mut self, event: &str) -> Result<TestEvent, TestError> {
        if let Some(index) = self.kept.iter().position(|kept| kept.name() == event) {
            return Ok(self.kept.remove(index).expect("the index was found just now"));
        }
        let patience = self.patience;
        self.in_time(&format!("the event {event:?}"), patience, async |client| {
            loop {
                let next = client.receive().await?;
                if next.name() == event {
                    return Ok(next);
                }
                client.kept.push_back(next);
            }
        })
        .await
    }

    /// Waits, and is content if no event comes in that time and none is kept that came before. In paused time it costs none.
    ///
    /// # Errors
    /// [`TestError::Unexpected`] with what came, which is kept; [`TestError::Disconnected`].
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    pub async fn expect_silence(&mut self, how_long: Duration) -> Result<(), TestError> {
        if self.kept.is_empty() {
            match self.in_time("", how_long, async |client| client.receive().await).await {
                Ok(event) => self.kept.push_back(event),
                Err(TestError::Timeout { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(TestError::Unexpected { arrived: self.arrived() })
    }

    /// Waits until the server has taken the client out of the namespace, or has ended the connection. Events that come
    /// before are kept.
    ///
    /// # Errors
    /// [`TestError::Timeout`].
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    pub async fn disconnected(&mut self) -> Result<(), TestError> {
        let patience = self.patience;
        let left = self.in_time("the end", patience, async |client| {
            loop {
                let event = client.receive().await?;
                client.kept.push_back(event);
            }
        });
        match left.await {
            Ok(()) | Err(TestError::Disconnected { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Leaves the namespace (`client namespace disconnect`), after what was emitted before. Other namespaces of the
    /// connection stay; the last one ends it.
    ///
    /// # Cancel safety
    /// Dropping the future drops the client.
    pub async fn disconnect(self) {
        self.link.leave(&self.namespace, self.patience).await;
    }

    /// Ends the connection for all its namespaces (`transport close`), after what was emitted before. The server has seen it
    /// when this returns.
    ///
    /// # Cancel safety
    /// Dropping the future drops the client.
    pub async fn close(mut self) {
        self.link.close();
        // A server that does not end it in time loses the connection with the client.
        drop(self.disconnected().await);
    }

    /// Waits for something, for so long; `Disconnected` and `Timeout` then tell what there is.
    async fn in_time<T>(
        &mut self,
        expected: &str,
        within: Duration,
        wait: impl AsyncFnOnce(&mut TestClient) -> Result<T, TestError>,
    ) -> Result<T, TestError> {
        tokio::time::timeout(within, wait(self)).await.unwrap_or_else(|_| {
            Err(TestError::Timeout { expected: expected.to_owned(), within, arrived: self.arrived() })
        })
    }

    /// What the namespace says to the client that wants to join. A middleware may emit before; that is kept.
    async fn receive_answer(&mut self) -> Result<(), TestError> {
        loop {
            match self.inbox.recv().await {
                Some(Incoming::Joined(id)) => {
                    self.id = id;
                    return Ok(());
                }
                Some(Incoming::Refused(error)) => return Err(TestError::Connect(error)),
                Some(Incoming::Event(event)) => self.kept.push_back(event),
                Some(Incoming::Left(why)) => return Err(self.has_left(why)),
                None => return Err(self.has_left(CLOSED.to_owned())),
            }
        }
    }

    /// The next event that has not been looked at.
    async fn receive(&mut self) -> Result<TestEvent, TestError> {
        if let Some(why) = &self.left {
            return Err(self.has_left(why.clone()));
        }
        loop {
            let why = match self.inbox.recv().await {
                Some(Incoming::Event(event)) => return Ok(event),
                // A namespace has answered once.
                Some(Incoming::Joined(_) | Incoming::Refused(_)) => continue,
                Some(Incoming::Left(why)) => why,
                None => CLOSED.to_owned(),
            };
            self.left = Some(why.clone());
            return Err(self.has_left(why));
        }
    }

    fn has_left(&self, why: String) -> TestError {
        TestError::Disconnected { why, arrived: self.arrived() }
    }

    fn arrived(&self) -> Vec<String> {
        self.kept.iter().map(TestEvent::to_string).collect()
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("namespace", &self.namespace)
            .field("id", &self.id.as_str())
            .finish_non_exhaustive()
    }
}

impl Sealed for TestClient {}

impl Emitter for TestClient {
    fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        TestClient::emit(self, event, args)
    }
}

impl AckEmitter for TestClient {
    type Answer<R: DeserializeOwned> = AckFuture<R>;

    fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        TestClient::emit_with_ack(self, event, args)
    }
}

/// What a test expects of an event.
impl<A: DeserializeOwned, R> EventType<A, R> {
    /// Waits for the event at the client of a test, and gives its arguments, as [`TestClient::expect`].
    ///
    /// # Errors
    /// As [`TestClient::expect`].
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    pub fn expect(&self, client: &mut TestClient) -> impl Future<Output = Result<A, TestError>> {
        client.expect(self.name())
    }

    /// Waits for the event at the client of a test, and acknowledges it with what `answer` makes of its arguments.
    ///
    /// # Errors
    /// As [`TestClient::expect`], and [`TestError::Encode`] if the answer cannot be serialized.
    ///
    /// # Cancel safety
    /// Cancelled, it loses no event.
    ///
    /// # Example: a worker says how busy it is
    /// ```
    /// use ferrio::testing::TestClient;
    /// use ferrio::{EventType, Server};
    ///
    /// const LOAD: EventType<String, f64> = EventType::new("load");
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let io = Server::new();
    /// let mut worker = TestClient::connect(&io).await?;
    /// let loads = LOAD.emit_with_ack(&io, "cpu");
    /// LOAD.answer(&mut worker, |_of| 0.5).await?;
    /// assert_eq!(loads.await?, [0.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn answer(&self, client: &mut TestClient, answer: impl FnOnce(A) -> R) -> Result<(), TestError>
    where
        R: Serialize,
    {
        let event = client.expect_event(self.name()).await?;
        event.ack(&answer(event.args()?)).map_err(TestError::Encode)
    }
}
