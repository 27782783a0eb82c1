//! Server::listen: running alone, with graceful shutdown.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service as _;
use tracing::{debug, warn};

use crate::engine::{Cut, Engine, EngineHandler};
use crate::server::Server;
use crate::service::SocketIoService;

type Close = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A server that listens on a port of its own. Dropped, it stops to accept, and open connections are cut.
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
        engine: Engine<H>,
        close: Close,
    ) -> io::Result<Listening> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = watch::Sender::new(false);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, SocketIoService::new(engine), stop.subscribe()));
        Ok(Listening { address, stop, accepting, close })
    }

    /// Gives the address it listens on; with port 0 asked for, the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `signal` resolves, then shuts down as [`Listening::shutdown`] does.
    ///
    /// # Cancel safety
    /// Dropping the future stops the server without goodbyes.
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
        let _ = tokio::time::timeout(CLOSE_PATIENCE, async { while self.accepting.join_next().await.is_some() {} })
            .await;
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

impl<H: EngineHandler> Engine<H> {
    /// Listens on `address`, serving Engine.IO alone: other paths get 404.
    ///
    /// # Errors
    /// The address could not be bound.
    ///
    /// # Cancel safety
    /// Dropping the future binds nothing.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> io::Result<Listening> {
        let engine = self.clone();
        let close: Close = Box::new(move || Box::pin(async move { engine.close(CLOSE_PATIENCE).await }));
        Listening::bind(address, self.clone(), close).await
    }
}

impl Server {
    /// Listens on `address`, serving Socket.IO alone: other paths get 404. [`Listening::shutdown`] closes the server.
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
        let server = self.clone();
        let close: Close = Box::new(move || Box::pin(async move { server.close().await }));
        Listening::bind(address, self.engine().clone(), close).await
    }
}

/// Accepts until told to stop, then waits for the connections.
async fn accept<H: EngineHandler>(
    listener: TcpListener,
    service: SocketIoService<H>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let stop_of_connections = stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, service.clone(), stop_of_connections.clone()));
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
    peer: SocketAddr,
    service: SocketIoService<H>,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = service.peer_address(move |_| Some(peer));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = service.clone().call(request);
        async move {
            let Ok(response) = answer.await;
            match response.extensions().get::<Cut>() {
                // An error of the service is how hyper is told to close without an answer.
                Some(Cut) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                None => Ok(response),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let finished = tokio::select! {
        result = &mut connection => Some(result),
        () = stopped(&mut stop) => None,
    };
    let result = match finished {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "an HTTP connection ended with an error");
    }
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
