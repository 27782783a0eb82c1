//! What the contract apps share: their environment, and Node's server options by name.
#![allow(dead_code, unreachable_pub, reason = "each app uses its part")]

use std::env;
use std::time::Duration;

use ferrio::engine::TransportKind;
use serde_json::{Map, Value};

/// The Engine.IO options that a contract app can be started with; `None` leaves the default.
#[derive(Debug, Default)]
pub struct EngineOptions {
    pub ping_interval: Option<Duration>,
    pub ping_timeout: Option<Duration>,
    pub upgrade_timeout: Option<Duration>,
    pub max_http_buffer_size: Option<usize>,
    pub transports: Option<Vec<TransportKind>>,
    pub allow_upgrades: Option<bool>,
    /// Socket.IO's own.
    pub connect_timeout: Option<Duration>,
}

impl EngineOptions {
    /// Reads a JSON object of options under Node's names, as the variable OPTIONS holds it.
    ///
    /// # Errors
    /// An option that this server does not have (yet), or a value it cannot have, by name.
    pub fn read(&mut self, options: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in options {
            let wrong = |accepted: &str| format!("OPTIONS: {name} is {value}, accepted is {accepted}");
            let milliseconds = || {
                let wrong = || wrong("a number of milliseconds");
                value.as_u64().map(Duration::from_millis).ok_or_else(wrong)
            };
            match name.as_str() {
                "pingInterval" => self.ping_interval = Some(milliseconds()?),
                "pingTimeout" => self.ping_timeout = Some(milliseconds()?),
                "upgradeTimeout" => self.upgrade_timeout = Some(milliseconds()?),
                "connectTimeout" => self.connect_timeout = Some(milliseconds()?),
                "maxHttpBufferSize" => {
                    let bytes = value.as_f64().filter(|bytes| *bytes >= 1.0 && bytes.fract() == 0.0);
                    self.max_http_buffer_size = Some(bytes.ok_or_else(|| wrong("a number of bytes"))? as usize);
                }
                "allowUpgrades" => {
                    self.allow_upgrades = Some(value.as_bool().ok_or_else(|| wrong("true or false"))?);
                }
                "transports" => {
                    let names = value.as_array().ok_or_else(|| wrong("a list of names"))?;
                    let transport = |name: &Value| name.as_str().and_then(TransportKind::from_name);
                    let transports: Option<Vec<_>> = names.iter().map(transport).collect();
                    self.transports = Some(transports.ok_or_else(|| wrong("polling and websocket"))?);
                }
                // What is switched off is supported.
                "allowEIO3" | "cors" | "cookie" | "httpCompression" | "perMessageDeflate" | "serveClient"
                    if *value == Value::Bool(false) => {}
                _ => return Err(format!("OPTIONS: {name} is not supported")),
            }
        }
        Ok(())
    }
}

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

/// The variable OPTIONS as an object.
pub fn options() -> Result<Map<String, Value>, String> {
    let Some(text) = variable("OPTIONS") else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|error| format!("OPTIONS is no JSON object: {error}"))
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
