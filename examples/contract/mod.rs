//! What the contract apps share: their environment, Node's server options by name, and the hooks that JSON can name.
#![allow(dead_code, unused_imports, reason = "each app uses its part")]

mod hooks;
mod options;

use std::env;
use std::time::Duration;

use serde_json::{Map, Value};

pub use hooks::{Hooks, Log};
pub use options::{read_options, recovery, serves_client};

/// The variable's text; an empty one counts as unset.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

/// A variable that holds a number.
pub fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>, String> {
    let Some(text) = variable(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{name} is {text:?}, accepted is a number"))
}

/// A variable that holds milliseconds.
pub fn milliseconds(name: &str) -> Result<Option<Duration>, String> {
    Ok(number(name)?.map(Duration::from_millis))
}

/// A variable that holds a JSON object; without it, an empty one.
pub fn object(name: &str) -> Result<Map<String, Value>, String> {
    let Some(text) = variable(name) else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|error| format!("{name} is no JSON object: {error}"))
}

/// Resolves at SIGTERM or ctrl-c.
pub async fn stopped() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("the process can listen to SIGTERM");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
