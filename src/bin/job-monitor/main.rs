//! The job monitor: jobs post their events over HTTP, browsers watch them live through Socket.IO.
//!
//! It is a crate of its own and sees only what the library makes public. `docs/job-monitor.md` says how it is used.

mod application;
mod auth;
mod config;
mod dashboard;
mod gateway;
mod http;
mod jobs;
mod log;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use application::Application;
use auth::{Claims, MAX_TOKEN_BYTES, Scope, Secret, Tokens};
use config::{Action, ConfigError, Invocation, Settings};
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> ExitCode {
    let invocation = match Invocation::load(std::env::args_os(), std::env::vars_os()) {
        Ok(invocation) => invocation,
        Err(ConfigError::CommandLine(error)) => error.exit(),
        Err(error) => return failed(&error),
    };
    match invocation.action {
        Action::Serve => serve(&invocation.settings).await,
        Action::Token { subject, jobs, publish } => {
            print_token(&invocation.settings, &subject, jobs, publish)
        }
    }
}

async fn serve(settings: &Settings) -> ExitCode {
    let filter = log::filter(&settings.log).expect("the settings were checked");
    log::subscriber(filter, std::io::stderr().is_terminal(), std::io::stderr).init();
    let secret = match settings.jwt_secret.clone().map_or_else(Secret::random, Ok) {
        Ok(secret) => secret,
        Err(error) => return failed(&format!("no secret could be made: {error}")),
    };
    let tokens = Tokens::new(&secret);
    let printed = settings.jwt_secret.is_none().then(|| PrintedTokens::new(&tokens, settings.token_lifetime));
    let application = match Application::bind(settings, tokens).await {
        Ok(application) => application,
        Err(error) => return failed(&error),
    };
    print(&announcement(application.address(), application.has_dashboard(), printed.as_ref()));
    application.serve_until(signal()).await;
    ExitCode::SUCCESS
}

fn print_token(settings: &Settings, subject: &str, jobs: Scope, publish: Scope) -> ExitCode {
    match token(settings, subject, jobs, publish) {
        Ok(token) => {
            print(&format!("{token}\n"));
            ExitCode::SUCCESS
        }
        Err(problem) => failed(&problem),
    }
}

fn token(settings: &Settings, subject: &str, jobs: Scope, publish: Scope) -> Result<String, String> {
    let secret = settings
        .jwt_secret
        .as_ref()
        .ok_or("a token needs the server's secret: set jwt-secret (JOB_MONITOR_JWT_SECRET)")?;
    let claims = Claims::new(subject, settings.token_lifetime, jobs, publish);
    let token = Tokens::new(secret).issue(&claims);
    if token.len() > MAX_TOKEN_BYTES {
        let length = token.len();
        return Err(format!(
            "the token would have {length} bytes; accepted: at most {MAX_TOKEN_BYTES}, so name fewer jobs"
        ));
    }
    Ok(token)
}

/// Tokens for whoever started the program; they end with its secret.
#[derive(Debug)]
struct PrintedTokens {
    viewer: String,
    publisher: String,
}

impl PrintedTokens {
    fn new(tokens: &Tokens, lifetime: Duration) -> PrintedTokens {
        let issue = |subject, jobs, publish| tokens.issue(&Claims::new(subject, lifetime, jobs, publish));
        PrintedTokens {
            viewer: issue("viewer", Scope::All, Scope::none()),
            publisher: issue("publisher", Scope::none(), Scope::All),
        }
    }
}

/// What stands on standard output; scripts read it, so its labels stay.
fn announcement(address: SocketAddr, has_dashboard: bool, printed: Option<&PrintedTokens>) -> String {
    let reachable = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    };
    let dashboard = match printed {
        _ if !has_dashboard => "(not built: make dashboard)".to_owned(),
        // In the fragment the token stays in the browser: paths and queries end up in logs.
        Some(PrintedTokens { viewer, .. }) => format!("http://{reachable}/#token={viewer}"),
        None => format!("http://{reachable}/"),
    };
    let tokens = match printed {
        Some(PrintedTokens { viewer, publisher }) => format!(
            "  Viewer token     {viewer}\n  Publisher token  {publisher}\n\n\
             No secret is configured: these tokens end with this process.\n"
        ),
        None => "\nWatching and posting need tokens; `job-monitor token` prints one.\n".to_owned(),
    };
    format!("Job monitor on {address}\n\n  Dashboard        {dashboard}\n{tokens}")
}

fn print(text: &str) {
    // Nobody has to listen: a closed standard output is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
}

fn failed(error: &dyn Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "job-monitor: {error}");
    ExitCode::from(2)
}

/// Resolves at Ctrl-C or, on Unix, SIGTERM.
async fn signal() {
    #[cfg(unix)]
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminated) => drop(terminated.recv().await),
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be heard");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
