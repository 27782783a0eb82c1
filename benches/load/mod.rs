//! What the load benches share: servers as child processes, measured from outside, and what they cost for a message.
#![allow(dead_code, reason = "each bench uses its part")]

pub mod client;
pub mod raw;

use std::alloc::System;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use ferrio::{Event, HandlerError, ServerBuilder};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A server under load, in a process of its own.
pub struct Server {
    pub port: u16,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Whether it tells [`Counts`].
    counts: bool,
}

/// What a process has used so far, as the operating system sees it.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu_microseconds: f64,
    pub resident_kib: f64,
    pub writes: f64,
}

/// What ferrio's process knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Allocations so far; growing is one.
    pub allocations: f64,
    /// Bytes allocated now.
    pub live_bytes: f64,
    /// Engine.IO sessions that are open now.
    pub sessions: f64,
    /// Sockets that are in a namespace now.
    pub sockets: f64,
    /// Tokio tasks that are alive now.
    pub tasks: f64,
    /// `Stats::task_runs`: how often the tasks of connections have run.
    pub task_runs: f64,
}

/// Options of a server, by the names of the contract app `conformance`, in milliseconds.
pub type Options = &'static [(&'static str, &'static str)];

impl Server {
    /// This program again, as the server.
    pub fn ferrio(options: Options) -> Server {
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg(SERVE).envs(options.iter().copied());
        Server::start(command, true)
    }

    /// Node's own server as the contract app `name`, where its packages are installed.
    pub fn node(name: &str, options: Options) -> Option<Server> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests");
        if !folder.join("node_modules").exists() {
            eprintln!("no ratio: Node's server is not installed (cd protocol-tests && npm ci)");
            return None;
        }
        let port = free_port().to_string();
        let mut command = Command::new("node");
        command.arg(folder.join(format!("reference/{name}.mjs")));
        // One app is told its port by an argument, the other by a variable.
        command.args(["--port", &port]).env("PORT", &port).envs(options.iter().copied());
        Some(Server::start(command, false))
    }

    fn start(mut command: Command, counts: bool) -> Server {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let input = child.stdin.take().expect("its input is piped");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let port = loop {
            let line = output.next().expect("the server says where it listens").expect("it speaks UTF-8");
            if let Some((_, port)) = line.split_once("listening on ") {
                break port.trim().parse().expect("a port");
            }
        };
        Server { port, child, input, output, counts }
    }

    pub fn usage(&self) -> Usage {
        let read =
            |file| std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks =
            |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
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

    /// The process's open sockets.
    pub fn connections(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let targets =
            files.into_iter().flatten().filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// What ferrio knows of itself; nothing for Node.
    ///
    /// Asked and answered over the process's own input and output: a connection would count itself.
    pub fn counts(&mut self) -> Option<Counts> {
        if !self.counts {
            return None;
        }
        self.input.write_all(b"\n").expect("the server reads");
        let line = self.output.next().expect("the server answers").expect("it speaks UTF-8");
        let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [allocations, live_bytes, sessions, sockets, tasks, task_runs] = numbers[..] else {
            panic!("six numbers expected, not {line:?}")
        };
        Some(Counts { allocations, live_bytes, sessions, sockets, tasks, task_runs })
    }

    /// Begins to measure.
    pub fn begin(&mut self) -> Start {
        let counts = self.counts();
        Start { usage: self.usage(), counts }
    }

    /// What each of `delivered` messages has cost since `start`.
    pub fn cost(&mut self, start: &Start, delivered: usize) -> Cost {
        let (usage, counts) = (self.usage(), self.counts());
        let delivered = delivered as f64;
        let per_message = |read: fn(&Counts) -> f64| {
            counts
                .as_ref()
                .zip(start.counts.as_ref())
                .map(|(after, before)| (read(after) - read(before)) / delivered)
        };
        Cost {
            cpu: (usage.cpu_microseconds - start.usage.cpu_microseconds) / delivered,
            writes: (usage.writes - start.usage.writes) / delivered,
            task_runs: per_message(|counts| counts.task_runs),
            allocations: per_message(|counts| counts.allocations),
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

/// How many file descriptors a process may have open.
pub fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

/// What a server had used when a measurement began.
pub struct Start {
    usage: Usage,
    counts: Option<Counts>,
}

/// What a delivered message cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Microseconds of CPU, user and system.
    pub cpu: f64,
    writes: f64,
    task_runs: Option<f64>,
    pub allocations: Option<f64>,
}

/// Messages that arrive together, how often, and how large they are.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub name: &'static str,
    pub burst: usize,
    pub rounds: usize,
    pub size: usize,
}

pub fn print_costs(title: &str, loads: &[Load], ferrio: &[Cost], node: Option<&[Cost]>) {
    println!("{title}, per delivered message");
    println!(
        "{:<18} {:>8} {:>8} {:>10} {:>8} {:>12} {:>12} {:>8}",
        "load", "CPU µs", "writes", "task runs", "allocs", "node CPU µs", "node writes", "CPU"
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for (index, (load, cost)) in loads.iter().zip(ferrio).enumerate() {
        let node = node.map(|costs| costs[index]);
        println!(
            "{:<18} {:>8.2} {:>8.3} {:>10} {:>8} {:>12} {:>12} {:>8}",
            load.name,
            cost.cpu,
            cost.writes,
            number(cost.task_runs),
            number(cost.allocations),
            node.map_or("-".to_owned(), |node| format!("{:.2}", node.cpu)),
            number(node.map(|node| node.writes)),
            node.map_or("-".to_owned(), |node| format!("{:.1} x", node.cpu / cost.cpu)),
        );
    }
}

const SERVE: &str = "--serve-as-ferrio";

/// In the server's process, runs the server with one thread and never returns: the contract app `bench_server`, and of
/// `conformance` the namespace `/chat` and the options.
pub fn serve_if_asked() {
    serve_if_asked_with(async |builder| builder);
}

/// The same, with further options.
pub fn serve_if_asked_with(prepare: impl AsyncFnOnce(ServerBuilder) -> ServerBuilder) {
    if !std::env::args().any(|argument| argument == SERVE) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let io = server(prepare(ferrio::Server::builder()).await);
        let listening = io.listen("127.0.0.1:0").await.expect("a free port");
        println!("listening on {}", listening.local_addr().port());
        let metrics = tokio::runtime::Handle::current().metrics();
        std::thread::spawn(move || tell_counts(&io, &metrics));
        listening.run_until(std::future::pending::<()>()).await;
    });
}

fn server(mut builder: ServerBuilder) -> ferrio::Server {
    let option = |name| {
        let value = std::env::var(name).ok()?;
        Some(Duration::from_millis(value.parse().expect("milliseconds")))
    };
    if let Some(interval) = option("PING_INTERVAL") {
        builder = builder.ping_interval(interval);
    }
    if let Some(timeout) = option("PING_TIMEOUT") {
        builder = builder.ping_timeout(timeout);
    }
    if let Some(timeout) = option("UPGRADE_TIMEOUT") {
        builder = builder.upgrade_timeout(timeout);
    }
    let io = builder.build().expect("the options are accepted");
    io.of("/chat");
    io.on("echo", async |event: Event| event.socket().emit("echo", &event.raw_args()));
    io.on("join", async |event: Event| {
        event.socket().join(event.args::<String>()?);
        Ok::<_, HandlerError>(event.ack(&())?)
    });
    io.on("cast", async |event: Event| {
        let room: String = event.args()?;
        let args = event.raw_args().skip(1);
        Ok::<_, HandlerError>(event.socket().namespace().to(room).emit("cast", &args)?)
    });
    io
}

/// Writes [`Counts`] for each line that comes, until there are no more.
fn tell_counts(io: &ferrio::Server, metrics: &tokio::runtime::RuntimeMetrics) {
    for _ in std::io::stdin().lines() {
        let (heap, stats) = (ALLOCATOR.stats(), io.stats());
        println!(
            "{} {} {} {} {} {}",
            heap.allocations + heap.reallocations,
            heap.bytes_allocated - heap.bytes_deallocated,
            io.clients_count(),
            stats.sockets,
            metrics.num_alive_tasks(),
            stats.task_runs,
        );
    }
    // Whoever asked is gone.
    std::process::exit(0);
}
