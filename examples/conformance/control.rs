//! The control namespace `/ctl`: tells the server what to do, from outside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrio::{
    AckError, AdapterError, Args, BroadcastOperator, Event, HandlerError, Namespace, Server, ServerSideEvent,
    Socket, Value,
};
use serde::{Deserialize, Serialize};

use super::{App, HandlerResult};

/// One command; each operation reads its part.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Command {
    op: String,
    #[serde(flatten)]
    target: Target,
    event: String,
    args: Vec<Value>,
    join: Names,
    leave: Names,
    close: bool,
    action: String,
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    nsp: Option<String>,
    rooms: Vec<String>,
    except: Vec<String>,
    flags: Flags,
    timeout: Option<u64>,
    sid: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flags {
    local: bool,
    volatile: bool,
    compress: Option<bool>,
}

/// One name or a list of names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Default for Names {
    fn default() -> Names {
        Names::Several(Vec::new())
    }
}

impl Names {
    fn list(self) -> Vec<String> {
        match self {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        }
    }
}

#[derive(Serialize)]
struct Done<T> {
    ok: bool,
    value: T,
}

#[derive(Serialize)]
struct Failed {
    ok: bool,
    error: String,
}

/// What several answered.
#[derive(Serialize)]
struct Responses {
    err: Option<String>,
    responses: Vec<Option<Value>>,
}

/// What `note` told.
#[derive(Serialize)]
struct Note {
    nsp: String,
    args: Vec<Value>,
}

/// What `note` told since it was last asked for.
#[derive(Default)]
pub struct Notes(Mutex<Vec<Note>>);

impl Notes {
    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with the lock"))
    }
}

/// The events that other servers may send.
pub fn listen_to_other_servers(namespace: &Namespace, notes: &Arc<Notes>) {
    let notes = Arc::clone(notes);
    namespace.on_server_side("note", move |event: ServerSideEvent| {
        let note = Note { nsp: event.namespace().name().to_owned(), args: event.values() };
        notes.0.lock().expect("nobody panics with the lock").push(note);
        async {}
    });
    namespace.on_server_side("whoami", async |event: ServerSideEvent| {
        #[derive(Serialize)]
        struct WhoAmI<'a> {
            node: &'a str,
            nsp: &'a str,
            args: Vec<Value>,
        }
        let node = event.state::<App>().node.as_str();
        event.ack(&WhoAmI { node, nsp: event.namespace().name(), args: event.values() })
    });
    namespace.on_server_side("mute", async |_: ServerSideEvent| {});
}

/// Listens to commands.
pub fn serve(io: &Server, notes: Arc<Notes>) {
    io.of("/ctl").on("do", move |event: Event| {
        let notes = Arc::clone(&notes);
        async move {
            match carry_out(&event, &notes).await {
                Ok(()) => Ok(()),
                Err(error) => event.ack(&Failed { ok: false, error: error.to_string() }),
            }
        }
    });
}

async fn carry_out(event: &Event, notes: &Notes) -> HandlerResult {
    let mut command: Command = event.args()?;
    let io = event.server().ok_or("the server is gone")?;
    let namespace = io.of(command.target.nsp.as_deref().unwrap_or("/"));
    let args = Args(std::mem::take(&mut command.args));
    match command.op.as_str() {
        "info" => {
            let App { node, adapter } = event.state();
            done(event, Info { node, adapter, pid: std::process::id() })
        }
        "emit" => {
            command.target.operator(&namespace)?.emit(&command.event, &args)?;
            done(event, true)
        }
        "emitAck" => {
            let acks = command.target.operator(&namespace)?.emit_with_ack(&command.event, &args);
            done(
                event,
                match acks.await {
                    Ok(responses) => Responses { err: None, responses },
                    Err(error) => Responses { err: Some(error.to_string()), responses: error.responses },
                },
            )
        }
        "join" => {
            command.target.operator(&namespace)?.sockets_join(command.join.list());
            done(event, true)
        }
        "leave" => {
            command.target.operator(&namespace)?.sockets_leave(command.leave.list());
            done(event, true)
        }
        "disconnect" => {
            command.target.operator(&namespace)?.disconnect_sockets(command.close);
            done(event, true)
        }
        "fetch" => {
            #[derive(Serialize)]
            struct Found<'a> {
                id: &'a str,
                rooms: Vec<&'a str>,
                data: &'a ferrio::Map,
                handshake: Value,
            }
            let sockets = command.target.operator(&namespace)?.fetch_sockets().await?;
            let described = sockets.iter().map(|socket| {
                let mut rooms: Vec<&str> = socket.rooms().iter().map(|room| room.as_str()).collect();
                rooms.sort_unstable();
                Found { id: socket.id().as_str(), rooms, data: socket.data(), handshake: socket.handshake() }
            });
            done(event, described.collect::<Vec<_>>())
        }
        "local" => done(event, namespace.sockets().iter().map(Socket::id).collect::<Vec<_>>()),
        "sse" => {
            namespace.server_side_emit(&command.event, &args)?;
            done(event, true)
        }
        "sseAck" => done(
            event,
            match namespace.server_side_emit_with_ack(&command.event, &args).await {
                Ok(responses) => Responses { err: None, responses },
                Err(error) => Responses { err: Some(error.to_string()), responses: error.responses },
            },
        ),
        "noted" => done(event, notes.take()),
        "remote" => remote(event, &namespace, command, &args).await,
        "serverCount" => done(event, namespace.server_count().await?),
        "allRooms" => match namespace.all_rooms().await {
            Ok(gathered) => done(event, gathered.items),
            Err(AdapterError::Unsupported) => Err("unsupported".into()),
            Err(error) => Err(error.into()),
        },
        _ => Err("unsupported".into()),
    }
}

#[derive(Serialize)]
struct Info<'a> {
    node: &'a str,
    adapter: &'a str,
    pid: u32,
}

/// One socket, found as those of other servers are.
async fn remote(event: &Event, namespace: &Namespace, command: Command, args: &Args) -> HandlerResult {
    let found = namespace.in_(command.id).fetch_sockets().await?;
    let socket = found.first().ok_or("no such socket")?;
    match command.action.as_str() {
        "emit" => socket.emit(&command.event, args)?,
        "emitAck" => {
            let timeout = Duration::from_millis(command.target.timeout.unwrap_or(SINGLE_ANSWER_TIMEOUT));
            let answer: Result<Option<Value>, AckError> =
                socket.timeout(timeout).emit_with_ack(&command.event, args).await;
            return done(event, answer?);
        }
        "join" => socket.join(command.join.list()),
        "leave" => socket.leave(command.leave.list()),
        "disconnect" if command.close => socket.close_connection(),
        "disconnect" => socket.disconnect(),
        _ => return Err("unsupported".into()),
    }
    done(event, true)
}

/// How long a single answer is waited for when the command does not say, in milliseconds.
const SINGLE_ANSWER_TIMEOUT: u64 = 5000;

fn done(event: &Event, value: impl Serialize) -> HandlerResult {
    Ok(event.ack(&Done { ok: true, value })?)
}

impl Target {
    fn operator(&self, namespace: &Namespace) -> Result<BroadcastOperator, HandlerError> {
        let mut operator = match &self.sid {
            Some(id) => namespace.socket(id).ok_or("no such socket")?.except(&self.except),
            None => namespace.except(&self.except),
        };
        operator = operator.to(&self.rooms);
        if self.flags.local {
            operator = operator.local();
        }
        if self.flags.volatile {
            operator = operator.volatile();
        }
        if let Some(compress) = self.flags.compress {
            operator = operator.compress(compress);
        }
        Ok(match self.timeout {
            Some(timeout) => operator.timeout(Duration::from_millis(timeout)),
            None => operator,
        })
    }
}
