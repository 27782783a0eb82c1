//! Contract app: Engine.IO alone, commanded over a control port.
//!
//! It serves `/engine.io/` on PORT and does nothing by itself. On CONTROL_PORT: `GET /events`, `GET /sessions`,
//! `POST /act`.

#[path = "../contract/mod.rs"]
mod contract;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use ferrio::engine::{
    CloseReason, Connection, Engine, EngineConfig, EngineHandler, Message, Refusal, RequestHead,
};
use ferrio::proto::EncodedMessage;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Remembers what happens, for `GET /events`.
struct Recorder {
    log: Arc<Mutex<Log>>,
    log_upgrades: bool,
}

fn record(log: &Mutex<Log>, event: Value) {
    log.lock().unwrap_or_else(PoisonError::into_inner).events.push(event);
}

#[derive(Default)]
struct Log {
    events: Vec<Value>,
    sessions: Vec<Arc<Connection>>,
}

impl Recorder {
    fn log<R>(&self, change: impl FnOnce(&mut Log) -> R) -> R {
        change(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, event: Value) {
        record(&self.log, event);
    }
}

impl EngineHandler for Recorder {
    type Client = Arc<Connection>;

    fn on_open(&self, connection: &Arc<Connection>, _cx: &mut Context<'_>) -> Arc<Connection> {
        self.log(|log| log.sessions.push(Arc::clone(connection)));
        Arc::clone(connection)
    }

    fn on_message(&self, _client: &mut Arc<Connection>, message: Message, _cx: &mut Context<'_>) {
        self.record(json!({ "message": match message {
            Message::Text(text) if text.is_empty() => Value::Null,
            Message::Text(text) => Value::from(&*text),
            Message::Binary(data) => json!({ "$hex": hex(&data) }),
        }}));
    }

    fn on_close(&self, client: Arc<Connection>, reason: CloseReason) {
        self.log(|log| {
            log.sessions.retain(|connection| !Arc::ptr_eq(connection, &client));
            log.events.push(json!({ "close": reason.to_string() }));
        });
    }

    fn on_upgrading(&self, _client: &mut Arc<Connection>) {
        if self.log_upgrades {
            self.record(json!({ "upgrading": "websocket" }));
        }
    }

    fn on_upgrade(&self, client: &mut Arc<Connection>) {
        if self.log_upgrades {
            self.record(json!({ "upgrade": client.transport().as_str() }));
        }
    }

    fn on_refusal(&self, refusal: &Refusal, _request: &RequestHead) {
        self.record(json!({ "connection_error": {
            "code": refusal.code(),
            "message": refusal.message(),
            "context": refusal.context(),
        }}));
    }
}

async fn events(State(engine): State<App>) -> Json<Vec<Value>> {
    Json(engine.recorder.log(|log| std::mem::take(&mut log.events)))
}

async fn sessions(State(engine): State<App>) -> Json<Vec<String>> {
    Json(
        engine
            .recorder
            .log(|log| log.sessions.iter().map(|session| session.id().expose().to_owned()).collect()),
    )
}

async fn act(State(app): State<App>, Json(commands): Json<Vec<Value>>) -> (StatusCode, String) {
    let session = app.recorder.log(|log| log.sessions.first().cloned());
    for command in commands {
        if command.get("engine_close").is_some() {
            // Without waiting for the goodbyes of the clients.
            app.engine.close(Duration::ZERO).await;
            continue;
        }
        let Some(session) = &session else { return (StatusCode::CONFLICT, "no session is open".to_owned()) };
        let compress = command.get("compress") != Some(&Value::Bool(false));
        let send = |message: EncodedMessage| session.send(Arc::new(message.with_compress(compress)));
        let sent = match (command.get("send"), command.get("close")) {
            (Some(Value::String(text)), _) => send(EncodedMessage::text(&format!("4{text}"))),
            (Some(data), _) => match data.get("$hex").and_then(Value::as_str).and_then(unhex) {
                Some(bytes) => send(EncodedMessage::binary(&bytes)),
                None => return (StatusCode::BAD_REQUEST, format!("send: {data} is neither text nor $hex")),
            },
            (None, Some(_)) => {
                session.close();
                Ok(())
            }
            (None, None) => return (StatusCode::BAD_REQUEST, format!("unknown command {command}")),
        };
        if sent.is_err() {
            // As on Node, what is sent after a close is dropped.
            continue;
        }
    }
    (StatusCode::NO_CONTENT, String::new())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |index| text.get(index..index + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..text.len()).step_by(2).map(byte).collect()
}

#[derive(Clone)]
struct App {
    engine: Engine<Recorder>,
    recorder: Arc<Recorder>,
}

async fn run() -> Result<(), String> {
    let port: u16 = contract::number("PORT")?.unwrap_or(0);
    let control_port: u16 = contract::number("CONTROL_PORT")?.unwrap_or(0);
    let mut config = EngineConfig::default();
    if contract::read_options(&mut config)?.is_some() {
        return Err("OPTIONS: connectTimeout is not supported (it is Socket.IO's)".to_owned());
    }
    let log = Arc::new(Mutex::new(Log::default()));
    let hooks = {
        let log = Arc::clone(&log);
        let record: contract::Log = Arc::new(move |event| record(&log, event));
        contract::Hooks::read(&mut config, &record)?
    };
    let recorder = Arc::new(Recorder { log, log_upgrades: hooks.log_upgrades });
    let engine = Engine::new(config, Arc::clone(&recorder)).map_err(|error| error.to_string())?;
    let failed = |port: u16| move |error| format!("127.0.0.1:{port}: {error}");

    let control = TcpListener::bind(("127.0.0.1", control_port)).await.map_err(failed(control_port))?;
    let routes = Router::new()
        .route("/events", get(events))
        .route("/sessions", get(sessions))
        .route("/act", post(act))
        .layer(DefaultBodyLimit::disable())
        .with_state(App { engine: engine.clone(), recorder });
    let control = tokio::spawn(async move { axum::serve(control, routes).await });

    let listening = engine.listen(("127.0.0.1", port)).await.map_err(failed(port))?;
    println!("engine_conformance listening on {}", listening.local_addr().port());
    listening.run_until(contract::stopped()).await;
    control.abort();
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine_conformance: {error}");
            ExitCode::FAILURE
        }
    }
}
