//! The variable OPTIONS: Engine.IO's options in JSON under Node's names.

use std::time::Duration;

use ferrio::engine::{EngineConfig, Message, TransportKind};
use serde_json::{Map, Value};

/// One option, for errors that name it.
struct Named<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Named<'_> {
    fn wrong(&self, accepted: &str) -> String {
        format!("OPTIONS: {} is {}, accepted is {accepted}", self.name, self.value)
    }

    fn bool(&self) -> Result<bool, String> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    fn text(&self) -> Result<&str, String> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    fn milliseconds(&self) -> Result<Duration, String> {
        let wrong = || self.wrong("a number of milliseconds");
        self.value.as_u64().map(Duration::from_millis).ok_or_else(wrong)
    }

    fn bytes(&self) -> Result<usize, String> {
        let bytes = self.value.as_f64().filter(|bytes| *bytes >= 1.0 && bytes.fract() == 0.0);
        bytes.map(|bytes| bytes as usize).ok_or_else(|| self.wrong("a number of bytes"))
    }
}

/// Reads OPTIONS into `config`; gives Socket.IO's own, the `connectTimeout`.
///
/// # Errors
/// An option that this server does not have, or a value it cannot have, by name.
pub fn read_options(config: &mut EngineConfig) -> Result<Option<Duration>, String> {
    let options: Map<String, Value> = super::object("OPTIONS")?;
    let mut connect_timeout = None;
    for (name, value) in &options {
        let option = Named { name, value };
        match name.as_str() {
            "connectTimeout" => connect_timeout = Some(option.milliseconds()?),
            "pingInterval" => config.ping_interval = option.milliseconds()?,
            "pingTimeout" => config.ping_timeout = option.milliseconds()?,
            "upgradeTimeout" => config.upgrade_timeout = option.milliseconds()?,
            "maxHttpBufferSize" => config.max_http_buffer_size = option.bytes()?,
            "allowUpgrades" => config.allow_upgrades = option.bool()?,
            "allowEIO3" => config.allow_eio3 = option.bool()?,
            "addTrailingSlash" => config.add_trailing_slash = option.bool()?,
            "path" => config.path = option.text()?.to_owned(),
            "initialPacket" => config.initial_packet = Some(Message::Text(option.text()?.into())),
            "transports" => {
                let names = value.as_array().ok_or_else(|| option.wrong("a list of names"))?;
                let transport = |name: &Value| name.as_str().and_then(TransportKind::from_name);
                let transports: Option<Vec<_>> = names.iter().map(transport).collect();
                config.transports = transports.ok_or_else(|| option.wrong("polling and websocket"))?;
            }
            // What is switched off is supported.
            "serveClient" if *value == Value::Bool(false) => {}
            _ => return Err(format!("OPTIONS: {name} is not supported")),
        }
    }
    Ok(connect_timeout)
}
