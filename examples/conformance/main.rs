//! Contract app: the Socket.IO server that the protocol tests talk to, configured by the environment.
//!
//! `APP=captures` is the smaller server that the recorded transcripts were made against.

#[path = "../contract/mod.rs"]
mod contract;
mod control;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::serve::ListenerExt;

use ferrio::engine::{Cors, CorsOrigin, EngineConfig};
use ferrio::{
    ClusterParser, ConnectError, Event, HandlerError, JsonClusterParser, LinkError, Map, MsgpackParser,
    ParserError, RedisAdapter, RedisConfig, RedisStreamsAdapter, Server, ServerBuilder, ShardedRedisAdapter,
    Socket, SubscriptionMode, Value,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::net::TcpListener;

/// What handlers need to know of the process.
#[derive(Debug)]
struct App {
    node: String,
    adapter: String,
}

type HandlerResult = Result<(), HandlerError>;

#[derive(Serialize)]
struct Welcome<'a> {
    id: &'a str,
    node: &'a str,
    nsp: &'a str,
    recovered: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Given { ok: bool, answer: Value },
    Missing { ok: bool, error: &'static str },
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
}

#[derive(Serialize)]
struct Code {
    code: u32,
}

async fn welcome(socket: Socket) -> HandlerResult {
    let welcome = Welcome {
        id: socket.id().as_str(),
        node: &socket.state::<App>().node,
        nsp: socket.namespace().name(),
        recovered: socket.recovered(),
    };
    Ok(socket.emit("welcome", &welcome)?)
}

async fn echo(event: Event) -> HandlerResult {
    let args = event.raw_args();
    if event.wants_ack() {
        return Ok(event.ack(&args)?);
    }
    Ok(event.socket().emit("echo", &args)?)
}

async fn ask(event: Event) -> HandlerResult {
    let question: Value = event.args()?;
    let socket = event.socket().clone();
    let asked = socket.timeout(Duration::from_secs(1)).emit_with_ack::<Value>("question", &question);
    let answer = match asked.await {
        Ok(answer) => Answer::Given { ok: true, answer },
        Err(_) => Answer::Missing { ok: false, error: "timeout" },
    };
    Ok(event.ack(&answer)?)
}

fn sorted_rooms(socket: &Socket) -> Vec<String> {
    let mut rooms: Vec<String> = socket.rooms().iter().map(|room| room.to_string()).collect();
    rooms.sort();
    rooms
}

/// The answer is the list itself: one argument, not an argument list.
async fn join(event: Event) -> HandlerResult {
    let room: String = event.args()?;
    event.socket().join(room);
    rooms(event).await
}

async fn leave(event: Event) -> HandlerResult {
    let room: String = event.args()?;
    event.socket().leave(room);
    rooms(event).await
}

async fn rooms(event: Event) -> HandlerResult {
    let rooms = sorted_rooms(event.socket());
    Ok(event.ack(&rooms)?)
}

async fn cast(event: Event) -> HandlerResult {
    let (room, name): (Option<String>, String) = event.args()?;
    let args = event.raw_args().skip(2);
    let socket = event.socket();
    match room {
        Some(room) => socket.to(room).emit(&name, &args)?,
        None => socket.broadcast().emit(&name, &args)?,
    }
    Ok(event.ack(&true)?)
}

async fn set_data(event: Event) -> HandlerResult {
    let Value::Object(entries) = event.args::<Value>()? else { return Ok(event.ack(&false)?) };
    for (name, value) in entries.iter() {
        event.socket().data().insert(name, value)?;
    }
    Ok(event.ack(&true)?)
}

async fn handshake(event: Event) -> HandlerResult {
    let socket = event.socket().clone();
    Ok(event.ack(socket.handshake())?)
}

async fn burst(event: Event) -> HandlerResult {
    let count: u64 = event.args()?;
    let count = count.min(LARGEST_BURST);
    // A client that does not read is closed after some of them.
    for number in (0..count).take_while(|_| !event.socket().conn().is_closed()) {
        event.socket().emit("burst", &number)?;
    }
    Ok(event.ack(&count)?)
}

/// A client cannot ask for more than this at once.
const LARGEST_BURST: u64 = 1_000_000;

async fn blob(event: Event) -> HandlerResult {
    let length: usize = event.args()?;
    Ok(event.ack(&ByteBuf::from(vec![7; length.min(LARGEST_BLOB)]))?)
}

/// A client cannot ask for more than this at once.
const LARGEST_BLOB: usize = 64 * 1024 * 1024;

async fn transport(event: Event) -> HandlerResult {
    let transport = event.socket().conn().transport().as_str();
    Ok(event.ack(transport)?)
}

async fn bye(event: Event) -> HandlerResult {
    let close: Option<Value> = event.args()?;
    match close {
        Some(Value::Bool(true)) => event.socket().close_connection(),
        Some(Value::Number(number)) if number.as_f64() != 0.0 => event.socket().close_connection(),
        _ => event.socket().disconnect(),
    }
    Ok(())
}

async fn check_token(socket: Socket) -> Result<(), ConnectError> {
    let auth = socket.handshake().auth::<Token>().ok().and_then(|auth| auth.token);
    let token = auth.or_else(|| socket.handshake().query().get("token").cloned());
    if token.as_deref() == Some("secret") {
        return Ok(());
    }
    Err(ConnectError::new("bad token").with_data(&Code { code: 4001 }))
}

/// The events that every client may send, on a namespace or on the parent of many.
macro_rules! serve_clients {
    ($namespace:expr) => {
        let namespace = $namespace;
        namespace.on_connect(welcome);
        namespace.on("echo", echo);
        namespace.on("ask", ask);
        namespace.on("join", join);
        namespace.on("leave", leave);
        namespace.on("rooms", rooms);
        namespace.on("cast", cast);
        namespace.on("setdata", set_data);
        namespace.on("handshake", handshake);
        namespace.on("burst", burst);
        namespace.on("blob", blob);
        namespace.on("transport", transport);
        namespace.on("bye", bye);
    };
}

fn serve_conformance(io: &Server) -> Result<(), String> {
    for name in ["/", "/chat", "/auth"] {
        serve_clients!(io.of(name));
    }
    io.of("/auth").use_(check_token);
    serve_clients!(io.of_pattern("^/dyn-[0-9]+$").map_err(|error| error.to_string())?);
    let notes = Arc::new(control::Notes::default());
    for name in ["/", "/chat"] {
        control::listen_to_other_servers(&io.of(name), &notes);
    }
    control::serve(io, notes);
    Ok(())
}

/// What the recorded transcripts were made against.
fn serve_captures(io: &Server) {
    for name in ["/", "/admin"] {
        let namespace = io.of(name);
        namespace.on("echo", echo);
        namespace.on("bye", bye);
    }
    #[derive(Serialize)]
    struct Reason {
        c: u32,
    }
    io.of("/deny")
        .use_(async |_socket: Socket| Err::<(), _>(ConnectError::new("denied").with_data(&Reason { c: 1 })));
}

/// JSON that begins with a `~`, and in which bytes are `{"$bytes":"<hexadecimal digits>"}`.
#[derive(Debug)]
struct TaggedJson;

impl ClusterParser for TaggedJson {
    fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError> {
        let mut message = message.clone();
        each(&mut message, &|value| {
            if let Value::Binary(bytes) = value {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                *value = Map::from_iter([("$bytes", digits)]).into();
            }
        });
        Ok([b"~", &*JsonClusterParser.encode(&message)?].concat())
    }

    fn decode(&self, message: &[u8]) -> Result<Value, ParserError> {
        let json = message.strip_prefix(b"~").ok_or_else(|| ParserError::new("no tag"))?;
        let mut message = JsonClusterParser.decode(json)?;
        each(&mut message, &|value| {
            if let Some(digits) = value.get("$bytes").and_then(Value::as_str) {
                let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
                *value = Value::Binary((0..digits.len()).step_by(2).map_while(byte).collect());
            }
        });
        Ok(message)
    }
}

/// Does this to a value and to all values in it.
fn each(value: &mut Value, change: &impl Fn(&mut Value)) {
    change(value);
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| each(element, change)),
        Value::Object(map) => {
            let keys: Vec<String> = map.iter().map(|(key, _)| key.to_owned()).collect();
            for key in keys {
                map.get_mut(&key).into_iter().for_each(|member| each(member, change));
            }
        }
        _ => {}
    }
}

/// Joins the cluster that the variables describe.
async fn join_cluster(builder: ServerBuilder) -> Result<ServerBuilder, String> {
    let adapter = contract::variable("ADAPTER").unwrap_or("none".into());
    if adapter == "none" {
        return Ok(builder);
    }
    let url = contract::variable("REDIS_URL").ok_or("REDIS_URL is not set")?;
    // Several URLs, separated by commas, are the nodes of a cluster.
    let url = url.replace(",redis://", ",").replace(",rediss://", ",");
    let config = RedisConfig::from_url(&url).map_err(|error| format!("REDIS_URL: {error}"))?;
    let failed = |error: LinkError| format!("{url}: {error}");
    let is_set = |name: &str| contract::variable(name).as_deref() == Some("1");
    Ok(match adapter.as_str() {
        "redis" => {
            let mut adapter =
                RedisAdapter::new(config).publish_on_specific_response_channel(is_set("SPECIFIC_RESPONSE"));
            if let Some(timeout) = contract::milliseconds("REQUEST_TIMEOUT")? {
                adapter = adapter.requests_timeout(timeout);
            }
            adapter = match contract::variable("REDIS_PARSER").as_deref() {
                None => adapter,
                Some("json") => adapter.parser(JsonClusterParser),
                Some("tagged-json") => adapter.parser(TaggedJson),
                Some(other) => return Err(format!("REDIS_PARSER={other}: accepted is json, tagged-json")),
            };
            builder.adapter(adapter.connect().await.map_err(failed)?)
        }
        "redis-sharded" => {
            let mode = match contract::variable("SHARDED_MODE").as_deref() {
                None | Some("dynamic") => SubscriptionMode::Dynamic,
                Some("dynamic-private") => SubscriptionMode::DynamicPrivate,
                Some("static") => SubscriptionMode::Static,
                Some(other) => {
                    return Err(format!(
                        "SHARDED_MODE={other}: accepted is dynamic, dynamic-private, static"
                    ));
                }
            };
            let adapter = ShardedRedisAdapter::new(config).subscription_mode(mode);
            builder.adapter(adapter.connect().await.map_err(failed)?)
        }
        "redis-streams" => {
            let adapter = RedisStreamsAdapter::new(config)
                .stream_count(contract::number("STREAM_COUNT")?.unwrap_or(1))
                .use_sharded_pub_sub(is_set("STREAM_SHARDED_PUBSUB"));
            builder.adapter(adapter.connect().await.map_err(failed)?)
        }
        other => {
            return Err(format!("ADAPTER={other}: accepted is none, redis, redis-sharded, redis-streams"));
        }
    })
}

async fn build() -> Result<Server, String> {
    let mut config = EngineConfig::default();
    config.path = "/socket.io".to_owned();
    if contract::variable("APP").as_deref() != Some("captures") {
        config.cors = Some(Cors::new(CorsOrigin::reflect()).credentials(true));
    }
    config.allow_eio3 = contract::variable("EIO3").as_deref() == Some("1");
    for (name, option) in [
        ("PING_INTERVAL", &mut config.ping_interval),
        ("PING_TIMEOUT", &mut config.ping_timeout),
        ("UPGRADE_TIMEOUT", &mut config.upgrade_timeout),
    ] {
        *option = contract::milliseconds(name)?.unwrap_or(*option);
    }
    config.max_http_buffer_size = contract::number("MAX_PAYLOAD")?.unwrap_or(config.max_http_buffer_size);
    let connect_timeout = contract::read_options(&mut config)?.or(contract::milliseconds("CONNECT_TIMEOUT")?);
    let serves_client = contract::serves_client()?;
    let nowhere: contract::Log = Arc::new(drop);
    let hooks = contract::Hooks::read(&mut config, &nowhere)?;
    let mut builder = Server::builder().engine(config).state(App {
        node: contract::variable("NODE_NAME").unwrap_or("node".into()),
        adapter: contract::variable("ADAPTER").unwrap_or("none".into()),
    });
    if let Some(timeout) = connect_timeout {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(directory) = contract::variable("CLIENT_DIST").filter(|_| serves_client) {
        builder = builder.serve_client(directory);
    }
    if let Some(recovery) = contract::recovery()? {
        builder = builder.connection_state_recovery(recovery);
    }
    if contract::variable("PARSER").as_deref() == Some("msgpack") {
        builder = builder.parser(MsgpackParser);
    }
    let io = join_cluster(builder).await?.build().map_err(|error| error.to_string())?;
    for (namespace, message, data) in hooks.refuse {
        let mut error = ConnectError::new(message);
        if let Some(data) = data {
            error = error.with_data(&data);
        }
        io.of(&namespace).use_(move |_socket: Socket| {
            let error = error.clone();
            async move { Err::<(), _>(error) }
        });
    }
    Ok(io)
}

async fn run() -> Result<(), String> {
    let io = build().await?;
    match contract::variable("APP").as_deref() {
        None | Some("conformance") => serve_conformance(&io)?,
        Some("captures") => serve_captures(&io),
        Some(other) => {
            return Err(format!("APP={other} is not supported, accepted is conformance, captures"));
        }
    }
    let port: u16 = contract::number("PORT")?.unwrap_or(0);
    let service = io
        .service()
        .peer_address(|parts| parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    let app = Router::new().route("/health", get(async || "ok")).fallback_service(service);
    let failed = |error| format!("127.0.0.1:{port}: {error}");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
    println!("conformance listening on {}", listener.local_addr().map_err(failed)?.port());
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    });
    contract::stopped().await;
    io.close().await;
    server.abort();
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}
