//! The variable HOOKS: what options cannot say in JSON, because it is a function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ferrio::engine::{EngineConfig, Forbidden, HeadersHook, Hook, HookError, Next, RequestHead};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

/// Where an app remembers what happens.
pub type Log = Arc<dyn Fn(Value) + Send + Sync>;

/// What HOOKS says that the apps carry out themselves.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Log `upgrading` and `upgrade`.
    pub log_upgrades: bool,
    /// Namespaces that refuse everybody: name, message, data.
    pub refuse: Vec<(String, String, Option<Value>)>,
}

impl Hooks {
    /// Reads HOOKS into `config`.
    ///
    /// # Errors
    /// A key or value that is unknown, by name.
    pub fn read(config: &mut EngineConfig, log: &Log) -> Result<Hooks, String> {
        let hooks = super::object("HOOKS")?;
        let mut read = Hooks::default();
        let logs = names(hooks.get("log"));
        for (name, value) in &hooks {
            match name.as_str() {
                "allowRequest" => config.allow_request = Some(allow_request(value)?),
                "generateId" => config.generate_id = Some(generate_id(value)?),
                "initialHeaders" | "headers" | "log" => {}
                "middlewares" => {
                    for middleware in value.as_array().ok_or("HOOKS: middlewares is no list")? {
                        config.middlewares.push(middleware_of(middleware, log)?);
                    }
                }
                "refuse" => read.refuse = refusals(value)?,
                _ => return Err(format!("HOOKS: {name} is not supported")),
            }
        }
        let log_headers = logs.iter().any(|name| name == "headers");
        config.initial_headers =
            headers_hook("initial_headers", hooks.get("initialHeaders"), log_headers, log)?;
        config.headers = headers_hook("headers", hooks.get("headers"), log_headers, log)?;
        read.log_upgrades = logs.iter().any(|name| name == "upgrades");
        Ok(read)
    }
}

fn names(list: Option<&Value>) -> Vec<String> {
    let names = list.and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn allow_request(value: &Value) -> Result<Hook<Result<(), Forbidden>>, String> {
    let result = value.get("result").unwrap_or(value);
    let answer = match result {
        Value::Bool(true) => Ok(()),
        Value::Bool(false) => Err(Forbidden::default()),
        Value::String(text) => Err(Forbidden::new(text.as_str())),
        other => return Err(format!("HOOKS: allowRequest is {other}, accepted is true, false or a text")),
    };
    let delay = value.get("delay").and_then(Value::as_u64).map(Duration::from_millis);
    Ok(Hook::new(move |_request: RequestHead| {
        let answer = answer.clone();
        async move {
            wait(delay).await;
            answer
        }
    }))
}

async fn wait(delay: Option<Duration>) {
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
}

fn generate_id(value: &Value) -> Result<Hook<Result<String, HookError>>, String> {
    let count = Arc::new(AtomicU64::new(0));
    match value.as_str() {
        Some("counter" | "promise") => Ok(Hook::new(move |_request: RequestHead| {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            async move { Ok(format!("custom-{number}")) }
        })),
        Some("reject") => Ok(Hook::new(async |_request: RequestHead| Err(HookError::from("no id")))),
        _ => Err(format!("HOOKS: generateId is {value}, accepted is counter, promise or reject")),
    }
}

fn headers_hook(
    event: &'static str,
    values: Option<&Value>,
    logs: bool,
    log: &Log,
) -> Result<Option<HeadersHook>, String> {
    if values.is_none() && !logs {
        return Ok(None);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in values.and_then(Value::as_object).into_iter().flatten() {
        add_header(&mut headers, name, value)?;
    }
    let log = Arc::clone(log);
    Ok(Some(HeadersHook::new(move |answer, request| {
        if logs {
            log(json!({ event: request.method().as_str() }));
        }
        for (name, value) in &headers {
            answer.append(name, value.clone());
        }
    })))
}

fn add_header(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), String> {
    let wrong = || format!("HOOKS: {name}: {value} is no header");
    let name = HeaderName::try_from(name).map_err(|_| wrong())?;
    let values = match value {
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    };
    for value in values {
        let text = value.as_str().ok_or_else(wrong)?;
        headers.append(&name, HeaderValue::from_str(text).map_err(|_| wrong())?);
    }
    Ok(())
}

fn middleware_of(what: &Value, log: &Log) -> Result<Hook<Result<Next, HookError>>, String> {
    let wrong = || format!("HOOKS: middlewares: {what} is not supported");
    let (kind, value) = what.as_object().and_then(|what| what.iter().next()).ok_or_else(wrong)?;
    match (kind.as_str(), value) {
        ("header" | "lateHeader", Value::Array(pair)) => {
            let (Some(Value::String(name)), Some(value)) = (pair.first(), pair.get(1)) else {
                return Err(wrong());
            };
            let mut headers = HeaderMap::new();
            add_header(&mut headers, name, value)?;
            Ok(Hook::new(move |_request: RequestHead| {
                let headers = headers.clone();
                async move { Ok(Next::with_headers(headers)) }
            }))
        }
        ("log", Value::String(text)) => {
            let (log, text) = (Arc::clone(log), text.clone());
            Ok(Hook::new(move |_request: RequestHead| {
                log(json!({ "middleware": text }));
                async { Ok(Next::pass()) }
            }))
        }
        ("delay", Value::Number(number)) => {
            let delay = number.as_u64().map(Duration::from_millis);
            Ok(Hook::new(move |_request: RequestHead| async move {
                wait(delay).await;
                Ok(Next::pass())
            }))
        }
        ("end", Value::Number(number)) => {
            let status = number.as_u64().and_then(|status| u16::try_from(status).ok());
            let status = status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(wrong)?;
            Ok(Hook::new(move |_request: RequestHead| async move {
                let mut response = Response::new("");
                *response.status_mut() = status;
                Ok(Next::end(response))
            }))
        }
        ("fail", Value::String(text)) => {
            let text = text.clone();
            Ok(Hook::new(move |_request: RequestHead| {
                let error = HookError::from(text.as_str());
                async move { Err(error) }
            }))
        }
        // Rust throws by a panic.
        ("throw", Value::String(text)) => {
            let text = text.clone();
            Ok(Hook::new(move |_request: RequestHead| {
                let text = text.clone();
                async move { panic!("{text}") }
            }))
        }
        _ => Err(wrong()),
    }
}

fn refusals(value: &Value) -> Result<Vec<(String, String, Option<Value>)>, String> {
    let namespaces: &Map<String, Value> = value.as_object().ok_or("HOOKS: refuse is no object")?;
    let refusal = |(name, refusal): (&String, &Value)| {
        let message = refusal.get("message").and_then(Value::as_str);
        let message = message.ok_or_else(|| format!("HOOKS: refuse: {name} has no message"))?;
        Ok((name.clone(), message.to_owned(), refusal.get("data").cloned()))
    };
    namespaces.iter().map(refusal).collect()
}
