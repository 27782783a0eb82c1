//! The variable OPTIONS: Engine.IO's options in JSON under Node's names.

use std::time::Duration;

use ferrio::ConnectionStateRecovery;
use ferrio::engine::{
    CookieOptions, Cors, CorsOrigin, EngineConfig, HttpCompression, MaxWindowBits, Message, OriginMatcher,
    PerMessageDeflate, SameSite, TransportKind,
};
use http::{Method, StatusCode};
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

    fn number<T: TryFrom<u64>>(&self) -> Result<T, String> {
        let number = self.value.as_u64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a whole number"))
    }

    fn seconds(&self) -> Result<Duration, String> {
        self.number().map(Duration::from_secs)
    }

    /// A list of names, or one text with commas.
    fn names(&self) -> Result<Vec<String>, String> {
        match self.value {
            Value::String(text) => Ok(text.split(',').map(|name| name.trim().to_owned()).collect()),
            Value::Array(names) => {
                let names = names.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<_>>().ok_or_else(|| self.wrong("a list of texts"))
            }
            _ => Err(self.wrong("a text or a list of texts")),
        }
    }

    fn text_or_false(&self) -> Result<Option<String>, String> {
        match self.value {
            Value::Bool(false) => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(self.wrong("a text or false")),
        }
    }

    /// `{"$regex": "…"}` stands for a regular expression.
    fn pattern(&self) -> Result<&str, String> {
        let pattern = self.value.get("$regex").and_then(Value::as_str);
        pattern.ok_or_else(|| self.wrong("a text or a $regex"))
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
            "cookie" => config.cookie = cookie(&option)?,
            "cors" => config.cors = cors(&option)?,
            "httpCompression" => config.http_compression = http_compression(&option)?,
            "perMessageDeflate" => config.per_message_deflate = per_message_deflate(&option)?,
            // The app's own: see `serves_client` and `recovery`.
            "serveClient" => drop(option.bool()?),
            "connectionStateRecovery" => {
                recovery()?;
            }
            _ => return Err(format!("OPTIONS: {name} is not supported")),
        }
    }
    Ok(connect_timeout)
}

/// Whether OPTIONS lets the client's files be served: as on Node, unless it says no.
pub fn serves_client() -> Result<bool, String> {
    Ok(super::object("OPTIONS")?.get("serveClient") != Some(&Value::Bool(false)))
}

/// `true`, or an object over the defaults; a field of `false` switches its part off.
/// Connection state recovery, if OPTIONS or the variable RECOVERY asks for it.
pub fn recovery() -> Result<Option<ConnectionStateRecovery>, String> {
    let options = super::object("OPTIONS")?;
    let Some(value) = options.get("connectionStateRecovery") else {
        let wanted = super::variable("RECOVERY").as_deref() == Some("1");
        return Ok(wanted.then(ConnectionStateRecovery::default));
    };
    let mut recovery = ConnectionStateRecovery::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        let option = Named { name, value };
        match name.as_str() {
            "maxDisconnectionDuration" => recovery.max_disconnection_duration = option.milliseconds()?,
            "skipMiddlewares" => recovery.skip_middlewares = option.bool()?,
            _ => return Err(format!("OPTIONS: connectionStateRecovery.{name} is not supported")),
        }
    }
    Ok(Some(recovery))
}

fn cookie(option: &Named<'_>) -> Result<Option<CookieOptions>, String> {
    let fields = match option.value {
        Value::Bool(false) => return Ok(None),
        Value::Bool(true) => &Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(option.wrong("true, false or an object")),
    };
    let mut cookie = CookieOptions::default();
    for (name, value) in fields {
        let field = Named { name: &format!("cookie.{name}"), value };
        match name.as_str() {
            "name" => field.text()?.clone_into(&mut cookie.name),
            "path" => cookie.path = field.text_or_false()?,
            "domain" => cookie.domain = field.text_or_false()?,
            // As in JavaScript, everything that is not false counts as true.
            "httpOnly" => cookie.http_only = *value != Value::Bool(false),
            "secure" => cookie.secure = field.bool()?,
            "maxAge" => cookie.max_age = Some(field.seconds()?),
            "sameSite" => {
                cookie.same_site = match value.as_str() {
                    Some("lax") => Some(SameSite::Lax),
                    Some("strict") => Some(SameSite::Strict),
                    Some("none") => Some(SameSite::None),
                    None if *value == Value::Bool(false) => None,
                    _ => return Err(field.wrong("lax, strict, none or false")),
                }
            }
            _ => return Err(format!("OPTIONS: cookie.{name} is not supported")),
        }
    }
    Ok(Some(cookie))
}

fn cors(option: &Named<'_>) -> Result<Option<Cors>, String> {
    let fields = match option.value {
        Value::Bool(false) => return Ok(None),
        Value::Bool(true) => return Ok(Some(Cors::default())),
        Value::Object(fields) => fields,
        _ => return Err(option.wrong("true, false or an object")),
    };
    let mut cors = match fields.get("origin") {
        None => Cors::default(),
        Some(origin) => Cors::new(cors_origin(&Named { name: "cors.origin", value: origin })?),
    };
    for (name, value) in fields {
        let field = Named { name: &format!("cors.{name}"), value };
        cors = match name.as_str() {
            "origin" => cors,
            "methods" => {
                let names = field.names()?;
                let methods = names.iter().map(|name| name.parse()).collect::<Result<Vec<Method>, _>>();
                cors.methods(methods.map_err(|_| field.wrong("methods of HTTP"))?)
            }
            "allowedHeaders" | "headers" => cors.allowed_headers(field.names()?),
            "exposedHeaders" => cors.exposed_headers(field.names()?),
            "credentials" => cors.credentials(field.bool()?),
            "maxAge" => cors.max_age(field.seconds()?),
            "preflightContinue" => cors.preflight_continue(field.bool()?),
            "optionsSuccessStatus" => {
                let status = StatusCode::from_u16(field.number()?);
                cors.options_success_status(status.map_err(|_| field.wrong("a status of HTTP"))?)
            }
            _ => return Err(format!("OPTIONS: cors.{name} is not supported")),
        };
    }
    Ok(Some(cors))
}

fn cors_origin(option: &Named<'_>) -> Result<CorsOrigin, String> {
    Ok(match option.value {
        Value::Bool(true) => CorsOrigin::reflect(),
        Value::Bool(false) => CorsOrigin::disabled(),
        Value::String(text) => CorsOrigin::from(text.as_str()),
        Value::Array(entries) => {
            let entry = |value| origin_matcher(&Named { name: option.name, value });
            CorsOrigin::list(entries.iter().map(entry).collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(_) => CorsOrigin::pattern(option.pattern()?).map_err(|error| error.to_string())?,
        _ => return Err(option.wrong("true, false, a text, a list or a $regex")),
    })
}

fn origin_matcher(option: &Named<'_>) -> Result<OriginMatcher, String> {
    match option.value.as_str() {
        Some(text) => Ok(OriginMatcher::from(text)),
        None => OriginMatcher::pattern(option.pattern()?).map_err(|error| error.to_string()),
    }
}

/// `true` and `{}` lose the threshold, as on Node.
fn http_compression(option: &Named<'_>) -> Result<Option<HttpCompression>, String> {
    let fields = match option.value {
        Value::Bool(false) => return Ok(None),
        Value::Bool(true) => &Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(option.wrong("true, false or an object")),
    };
    let mut compression = HttpCompression::everything();
    for (name, value) in fields {
        let field = Named { name: &format!("httpCompression.{name}"), value };
        match name.as_str() {
            "threshold" => compression.threshold = field.number()?,
            "level" => compression.level = field.number()?,
            _ => return Err(format!("OPTIONS: httpCompression.{name} is not supported")),
        }
    }
    Ok(Some(compression))
}

fn per_message_deflate(option: &Named<'_>) -> Result<Option<PerMessageDeflate>, String> {
    let fields = match option.value {
        Value::Bool(false) => return Ok(None),
        Value::Bool(true) => &Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(option.wrong("true, false or an object")),
    };
    let mut deflate = PerMessageDeflate::default();
    for (name, value) in fields {
        let field = Named { name: &format!("perMessageDeflate.{name}"), value };
        match name.as_str() {
            "threshold" => deflate.threshold = field.number()?,
            "serverNoContextTakeover" => deflate.server_no_context_takeover = Some(field.bool()?),
            "clientNoContextTakeover" => deflate.client_no_context_takeover = field.bool()?,
            "serverMaxWindowBits" => deflate.server_max_window_bits = window_bits(&field)?,
            "clientMaxWindowBits" => deflate.client_max_window_bits = window_bits(&field)?,
            "zlibDeflateOptions" => {
                let level = value.get("level").unwrap_or(&Value::Null);
                deflate.level =
                    Named { name: "perMessageDeflate.zlibDeflateOptions.level", value: level }.number()?;
            }
            _ => return Err(format!("OPTIONS: perMessageDeflate.{name} is not supported")),
        }
    }
    Ok(Some(deflate))
}

fn window_bits(option: &Named<'_>) -> Result<MaxWindowBits, String> {
    match option.value {
        Value::Bool(true) => Ok(MaxWindowBits::AsOffered),
        Value::Bool(false) => Ok(MaxWindowBits::Declined),
        _ => Ok(MaxWindowBits::Bits(option.number()?)),
    }
}
