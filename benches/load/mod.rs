//! What the load benches share: servers as child processes, measured from outside, and many simple clients.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ferrio::{Event, HandlerError};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A server under load, in a process of its own.
pub struct Server {
    pub name: &'static str,
    pub port: u16,
    child: Child,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu_microseconds: f64,
    pub resident_kib: f64,
    pub writes: f64,
}

impl Server {
    /// This program again, as the server.
    pub fn ferrio() -> Server {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg(SERVE);
        Server::start("ferrio", command)
    }

    /// Node's own server, where its packages are installed.
    pub fn node() -> Option<Server> {
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/reference/bench_server.mjs");
        if !app.with_file_name("../node_modules").exists() {
            eprintln!("no ratio: Node's server is not installed (cd protocol-tests && npm ci)");
            return None;
        }
        let mut command = Command::new("node");
        command.arg(app).args(["--port", "0"]);
        Some(Server::start("node", command))
    }

    fn start(name: &'static str, mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let port = loop {
            let line = lines.next().expect("the server says where it listens").expect("it speaks UTF-8");
            if let Some((_, port)) = line.split_once("listening on ") {
                break port.trim().parse().expect("a port");
            }
        };
        Server { name, port, child }
    }

    pub fn usage(&self) -> Usage {
        let read = |file| std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        let number_after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0.0)
        };
        Usage {
            // A tick is 10 ms on Linux.
            cpu_microseconds: (ticks(11) + ticks(12)) * 10_000.0,
            resident_kib: number_after(&read("status"), "VmRSS:"),
            writes: number_after(&read("io"), "syscw:"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVE: &str = "--serve-as-ferrio";

/// In the server's process, runs the server (the contract app `bench_server` with one thread, which also tells how
/// often it has allocated) and never returns.
pub fn serve_if_asked(allocations: fn() -> usize) {
    if !std::env::args().any(|argument| argument == SERVE) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let io = ferrio::Server::new();
        io.on("join", async |event: Event| {
            event.socket().join(event.args::<String>()?);
            Ok::<_, HandlerError>(event.ack(&())?)
        });
        io.on("cast", async |event: Event| {
            let room: String = event.args()?;
            let args = event.raw_args().skip(1);
            Ok::<_, HandlerError>(event.socket().namespace().to(room).emit("cast", &args)?)
        });
        io.on("allocations", move |event: Event| async move { Ok::<_, HandlerError>(event.ack(&allocations())?) });
        let listening = io.listen("127.0.0.1:0").await.expect("a free port");
        println!("listening on {}", listening.local_addr().port());
        listening.run_until(std::future::pending::<()>()).await;
    });
}

/// A client that is connected to the namespace `/`.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub async fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP option");
        let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("a WebSocket");
        let mut client = Client { socket };
        client.next().await;
        client.send("40").await;
        client.next().await;
        client
    }

    pub async fn join(&mut self, room: &str) {
        self.send(&format!(r#"420["join","{room}"]"#)).await;
        self.next().await;
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the server reads");
    }

    /// Queues without flushing, so that several leave together.
    pub async fn feed(&mut self, text: &str) {
        self.socket.feed(Message::text(text)).await.expect("the server reads");
    }

    pub async fn flush(&mut self) {
        self.socket.flush().await.expect("the server reads");
    }

    /// The next message; heartbeats are answered on the way.
    pub async fn next(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(60), self.socket.next()).await;
            match message.expect("the server answers in a minute").expect("it is there").expect("it speaks WebSocket") {
                Message::Text(text) if text.as_str() == "2" => self.send("3").await,
                Message::Text(text) => return text.as_str().to_owned(),
                _ => {}
            }
        }
    }
}

/// So many clients, connected one after the other.
pub async fn connect_all(port: u16, count: usize) -> Vec<Client> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(Client::connect(port).await);
    }
    clients
}
