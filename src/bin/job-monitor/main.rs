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
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use application::Application;
use auth::{Claims, Scope, Secret, Tokens};
use config::{Action, ConfigError, Invocation, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let invocation = match Invocation::load(std::env::args_os(), environment) {
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
    tracing_subscriber::fmt()
        .with_env_filter(&settings.log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
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
    print(&announcement(application.address(), printed.as_ref()));
    application.serve_until(signal()).await;
    ExitCode::SUCCESS
}

fn print_token(settings: &Settings, subject: &str, jobs: Scope, publish: Scope) -> ExitCode {
    let Some(secret) = &settings.jwt_secret else {
        return failed(&"a token needs the server's secret: set jwt-secret (JOB_MONITOR_JWT_SECRET)");
    };
    let claims = Claims::new(subject, settings.token_lifetime, jobs, publish);
    print(&format!("{}\n", Tokens::new(secret).issue(&claims)));
    ExitCode::SUCCESS
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
fn announcement(address: SocketAddr, printed: Option<&PrintedTokens>) -> String {
    let reachable = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    };
    let Some(PrintedTokens { viewer, publisher }) = printed else {
        return format!(
            "Job monitor on {address}\n\n  Dashboard        http://{reachable}/\n\n\
             It asks for a token; `job-monitor token` prints one.\n"
        );
    };
    // In the fragment the token stays in the browser: paths and queries end up in logs.
    format!(
        "Job monitor on {address}\n\n  Dashboard        http://{reachable}/#token={viewer}\n  \
         Viewer token     {viewer}\n  Publisher token  {publisher}\n\n\
         No secret is configured: these tokens end with this process.\n"
    )
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
