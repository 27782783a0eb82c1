//! Server::listen: running alone, over HTTP/1.1 and HTTP/2, with graceful shutdown.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service as _;
use tracing::{debug, warn};

use crate::engine::{Cut, Engine, EngineHandler};
use crate::server::Server;
use crate::service::SocketIoService;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::unread_bodies::{UnreadBodies, WatchedBody};
use crate::write_timeout::WriteTimeout;

type Close = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A server that listens on a port of its own. Dropped, it stops to accept, and HTTP connections are cut; WebSockets that
/// came by HTTP/1 live on until the server is closed.
pub struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinSet<()>,
    /// Ends the sessions.
    close: Close,
}

impl Listening {
    async fn bind<H: EngineHandler>(
        address: impl ToSocketAddrs,
        security: Security,
        service: SocketIoService<H>,
        close: Close,
    ) -> io::Result<Listening> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = watch::Sender::new(false);
        let mut accepting = JoinSet::new();
        // A session that takes nothing ends by its heartbeat; this is for the answers that are left behind.
        let config = service.engine().config();
        let write_timeout = WRITE_TIMEOUT.max(config.ping_interval + config.ping_timeout);
        accepting.spawn(accept(listener, security, service, write_timeout, stop.subscribe()));
        Ok(Listening { address, stop, accepting, close })
    }

    /// Gives the address it listens on; with port 0 asked for, the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `signal` resolves, then shuts down as [`Listening::shutdown`] does.
    ///
    /// # Cancel safety
    /// Dropping the future stops the listening without goodbyes, as dropping the [`Listening`] does.
    pub async fn run_until(self, signal: impl Future) {
        signal.await;
        self.shutdown().await;
    }

    /// Stops to accept, closes all sessions, and waits until their connections have ended, for some seconds at
    /// the most.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting; what is left is cut.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        (self.close)().await;
        // The end of patience is no error: what is left is cut with the JoinSet.
        let _ = tokio::time::timeout(CLOSE_PATIENCE, async {
            while self.accepting.join_next().await.is_some() {}
        })
        .await;
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What lies between TCP and HTTP.
#[derive(Clone)]
enum Security {
    None,
    #[cfg(feature = "tls")]
    Tls(Tls),
}

impl<H: EngineHandler> Engine<H> {
    /// Listens on `address`, serving Engine.IO alone: other paths get 404. HTTP/1.1 and HTTP/2 (with prior knowledge, as
    /// proxies speak it) are served on the same port.
    ///
    /// # Errors
    /// The address could not be bound.
    ///
    /// # Cancel safety
    /// Dropping the future binds nothing.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<Listening> {
        Listening::bind(address, Security::None, self.service(), self.close_by()).await
    }

    /// Listens on `address` as [`Engine::listen`] does, over TLS.
    ///
    /// # Errors
    /// The address could not be bound.
    ///
    /// # Cancel safety
    /// Dropping the future binds nothing.
    #[cfg(feature = "tls")]
    pub async fn listen_tls(&self, address: impl ToSocketAddrs, tls: Tls) -> io::Result<Listening> {
        Listening::bind(address, Security::Tls(tls), self.service(), self.close_by()).await
    }

    fn close_by(&self) -> Close {
        let engine = self.clone();
        Box::new(move || Box::pin(async move { engine.close(CLOSE_PATIENCE).await }))
    }
}

impl Server {
    /// Listens on `address`, serving Socket.IO alone: other paths get 404. [`Listening::shutdown`] closes the server.
    ///
    /// HTTP/1.1 and HTTP/2 (with prior knowledge, as proxies speak it) are served on the same port.
    ///
    /// # Errors
    /// The address could not be bound.
    ///
    /// # Cancel safety
    /// Dropping the future binds nothing.
    ///
    /// # Example: until ctrl-c
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let io = ferrio::Server::new();
    /// io.listen("127.0.0.1:3000").await?.run_until(tokio::signal::ctrl_c()).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<Listening> {
        Listening::bind(address, Security::None, self.service(), self.close_by()).await
    }

    /// Listens on `address` as [`Server::listen`] does, over TLS: browsers then speak HTTP/2, and have one connection for
    /// all that they do.
    ///
    /// # Errors
    /// The address could not be bound.
    ///
    /// # Cancel safety
    /// Dropping the future binds nothing.
    #[cfg(feature = "tls")]
    pub async fn listen_tls(&self, address: impl ToSocketAddrs, tls: Tls) -> io::Result<Listening> {
        Listening::bind(address, Security::Tls(tls), self.service(), self.close_by()).await
    }

    fn close_by(&self) -> Close {
        let server = self.clone();
        Box::new(move || Box::pin(async move { server.close().await }))
    }
}

/// Accepts until told to stop, then waits for the connections.
async fn accept<H: EngineHandler>(
    listener: TcpListener,
    security: Security,
    service: SocketIoService<H>,
    write_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let stop_of_connections = stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let service = service.clone().peer_address(move |_| Some(peer));
                    let (security, stop) = (security.clone(), stop_of_connections.clone());
                    connections.spawn(serve(stream, security, service, write_timeout, stop));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others will close theirs.
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve<H: EngineHandler>(
    stream: TcpStream,
    security: Security,
    service: SocketIoService<H>,
    write_timeout: Duration,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
    let stream = WriteTimeout::new(stream, write_timeout);
    match security {
        Security::None => serve_http(stream, service.secure(false), write_timeout, stop).await,
        #[cfg(feature = "tls")]
        Security::Tls(tls) => {
            let mut stop_of_handshake = stop.clone();
            let accepted = tokio::select! {
                accepted = tls.accept(stream) => accepted,
                () = stopped(&mut stop_of_handshake) => return,
            };
            match accepted {
                Ok(stream) => serve_http(stream, service.secure(true), write_timeout, stop).await,
                Err(error) => debug!(%error, "a TLS handshake failed"),
            }
        }
    }
}

async fn serve_http<H: EngineHandler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: SocketIoService<H>,
    write_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&has_asked);
    let unread = UnreadBodies::default();
    let bodies = unread.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        let bodies = (request.version() == Version::HTTP_2).then(|| bodies.clone());
        let answer = service.clone().call(request);
        async move {
            let Ok(response) = answer.await;
            match response.extensions().get::<Cut>() {
                // An error of the service is how hyper is told to close without an answer: the connection, or the
                // stream of HTTP/2.
                Some(Cut) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                None => Ok(response.map(|body| match bodies {
                    Some(bodies) => bodies.watch(body),
                    None => WatchedBody::unwatched(body),
                })),
            }
        }
    });
    let http = http_builder();
    let mut connection = std::pin::pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut check = std::pin::pin!(tokio::time::sleep(HEADER_READ_TIMEOUT));
    let mut is_stopping = false;
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            () = stopped(&mut stop), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            // The first request is waited for so long by hyper only once it knows that it is HTTP/1.
            () = &mut check => {
                if !has_asked.load(Ordering::Relaxed) {
                    debug!("a connection that asked for nothing is closed");
                    return;
                }
                if unread.is_stalled(write_timeout) {
                    debug!("a connection whose answers are not read is closed");
                    return;
                }
                check.as_mut().reset(Instant::now() + UNREAD_CHECK);
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "an HTTP connection ended with an error");
    }
}

fn http_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(MAX_HEAD_SIZE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_SIZE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

/// Resolves when the server is told to stop (or is gone).
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// How long each step of a shutdown waits for clients.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Node's `headersTimeout`.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take nothing of what is written to it, or longer if a ping interval and its timeout are.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The request's head is answered 431 beyond it; Node's limit is half of that. hyper's own is 400 KiB, which each session
/// could make us keep.
const MAX_HEAD_SIZE: usize = 32 * 1024;
/// How often the answers of an HTTP/2 connection are looked at.
const UNREAD_CHECK: Duration = Duration::from_secs(15);
/// A session has up to three streams at a time: a GET that waits, a POST, a WebSocket. A browser has one connection for
/// all its tabs, a proxy one for many clients; who needs more opens another one.
const MAX_CONCURRENT_STREAMS: u32 = 128;
/// Node's `--max-http-header-size`.
const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;
/// What a client may send on one stream before it is read; HTTP/2's own default. Small beside the connection's, so that a
/// WebSocket whose handler has enough does not hold up the others.
const STREAM_WINDOW: u32 = 65_535;
/// What a client may send on all streams before it is read: so much that no number of streams that are not read can stop
/// the others.
const CONNECTION_WINDOW: u32 = MAX_CONCURRENT_STREAMS * STREAM_WINDOW;
/// What waits in a stream for a client that does not read; more waits in the session, whose `max_send_queue` counts it.
const STREAM_SEND_BUFFER: usize = 64 * 1024;
/// A client that vanished leaves a connection without a request, on which HTTP/1's timeout would wait as long.
const KEEP_ALIVE_INTERVAL: Duration = HEADER_READ_TIMEOUT;
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
