//! The whole application: bound, then served until a signal.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

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
        let monitor = Arc::new(Monitor::new(tokens, settings.limits));
        let site = Site { monitor: Arc::clone(&monitor), page, max_event_bytes: settings.max_event_bytes };
        Ok(Application { listener, address, monitor, routes: routes(site) })
    }

    /// The address it listens on: with port 0 the one that was found.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
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
        let mut stopped = stop.subscribe();
        let accepting = axum::serve(self.listener, self.routes)
            .with_graceful_shutdown(async move { drop(stopped.wait_for(|stop| *stop).await) });
        let ending = async {
            signal.await;
            info!("stopping");
            stop.send_replace(true);
            self.monitor.io().close().await;
        };
        let deadline = {
            let mut stopped = stop.subscribe();
            async move {
                let _ = stopped.wait_for(|stop| *stop).await;
                tokio::time::sleep(CLOSE_PATIENCE).await;
            }
        };
        tokio::select! {
            (served, ()) = async { tokio::join!(accepting, ending) } => {
                if let Err(error) = served { warn!(%error, "serving ended early") }
            }
            () = deadline => warn!("some connections did not end in time"),
            () = self.monitor.expire() => {}
        }
        info!("stopped");
    }
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
