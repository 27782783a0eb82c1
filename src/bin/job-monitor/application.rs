//! The whole application: bound, then served until a signal.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service as _;
use tracing::{debug, info, warn};

use crate::auth::Tokens;
use crate::config::{ConfigError, Dashboard, Settings};
use crate::dashboard::Page;
use crate::gateway::Monitor;
use crate::http::{Site, routes};

/// An application that has its address and waits to be served.
#[derive(Debug)]
pub(crate) struct Application {
    listener: TcpListener,
    address: SocketAddr,
    monitor: Arc<Monitor>,
    routes: Router,
    has_dashboard: bool,
}

impl Application {
    /// Reads the page and takes the address.
    ///
    /// # Errors
    /// The setting whose value turned out to be unusable.
    pub(crate) async fn bind(settings: &Settings, tokens: Tokens) -> Result<Application, ConfigError> {
        let page = page(&settings.dashboard)?;
        let unusable = |error: std::io::Error| ConfigError::Unusable {
            setting: "listen",
            value: settings.listen.clone(),
            problem: error.to_string(),
        };
        let listener = TcpListener::bind(&settings.listen).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let has_dashboard = page.is_built();
        let monitor = Arc::new(Monitor::new(tokens, settings.limits));
        let site = Site { monitor: Arc::clone(&monitor), page, max_event_bytes: settings.max_event_bytes };
        Ok(Application { listener, address, monitor, routes: routes(site), has_dashboard })
    }

    /// The address it listens on: with port 0 the one that was found.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether there is a page to be seen at `/`.
    pub(crate) fn has_dashboard(&self) -> bool {
        self.has_dashboard
    }

    #[cfg(test)]
    pub(crate) fn monitor(&self) -> Arc<Monitor> {
        Arc::clone(&self.monitor)
    }

    /// Serves until `signal` comes, then ends what is open: clients are told, answers under way are finished.
    ///
    /// # Cancel safety
    /// Dropping the future ends the application at once.
    pub(crate) async fn serve_until(self, signal: impl Future<Output = ()>) {
        let stop = watch::Sender::new(false);
        let accepting = accept(self.listener, self.routes, stop.subscribe());
        let ending = async {
            signal.await;
            info!("stopping");
            stop.send_replace(true);
            self.monitor.io().close().await;
        };
        let deadline = {
            let mut stop = stop.subscribe();
            async move {
                stopped(&mut stop).await;
                tokio::time::sleep(CLOSE_PATIENCE).await;
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(accepting, ending) } => {}
            () = deadline => warn!("some connections did not end in time"),
            () = self.monitor.expire() => {}
        }
        info!("stopped");
    }
}

/// Accepts until told to stop, then waits for the connections. Dropped, it cuts them.
async fn accept(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let stop_of_connections = stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    without_delay(&stream);
                    connections.spawn(serve(stream, routes.clone(), stop_of_connections.clone()));
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

fn without_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY could not be set");
    }
}

/// Serves one connection; one whose next request does not come is closed.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| routes.clone().call(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "an HTTP connection ended with an error");
    }
}

/// Resolves when the application is told to stop (or is gone).
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// The page; an empty one where nobody asked for a folder by name, for the rest works without it.
fn page(dashboard: &Dashboard) -> Result<Page, ConfigError> {
    Page::read(&dashboard.folder).or_else(|error| {
        if dashboard.is_default {
            warn!(folder = %dashboard.folder.display(), %error, "there is no dashboard: run `make dashboard`");
            return Ok(Page::default());
        }
        let value = dashboard.folder.display().to_string();
        Err(ConfigError::Unusable { setting: "dashboard", value, problem: error.to_string() })
    })
}

const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long a connection may be silent before its first and between its requests, and how long their headers may take.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What a connection answers to these bytes until it ends. Its clock runs when nothing else does.
    async fn answered(request: &str) -> String {
        let (mut client, server) = duplex(1 << 16);
        let stop = watch::Sender::new(false);
        let routes = Router::new().route("/", axum::routing::get(async || "page"));
        let served = tokio::spawn(serve(server, routes, stop.subscribe()));
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_more_is_closed() {
        for (request, answer) in [
            ("", ""),
            ("GET / HTTP/1.1\r\nhost: a\r\n", ""),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /", "HTTP/1.1 200 OK"),
        ] {
            let started = tokio::time::Instant::now();
            let got = answered(request).await;
            assert!(got.starts_with(answer), "{request}: {got}");
            assert_eq!(got.is_empty(), answer.is_empty(), "{request}: {got}");
            assert!(started.elapsed() >= HEADER_READ_TIMEOUT, "{request}");
        }
    }
}
