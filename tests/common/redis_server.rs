//! RedisServer: real Redis servers on free ports of 127.0.0.1, to be killed, paused and started again.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part, and fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server with a folder of its own. Dropped, it is killed and the folder removed.
pub(crate) struct RedisServer {
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    cli_arguments: Vec<String>,
    child: Child,
}

impl RedisServer {
    pub(crate) fn start() -> RedisServer {
        RedisServer::with(&[], &[], &[])
    }

    /// Starts one with further arguments and files in its folder; `cli_arguments` let `redis-cli` in. In both kinds of
    /// arguments `{folder}` and `{port}` stand for its own, `{free}` for a further free port.
    pub(crate) fn with(arguments: &[&str], cli_arguments: &[&str], files: &[(&str, &str)]) -> RedisServer {
        // Somebody else may take the port between our asking for it and the server's.
        for _ in 0..5 {
            let (folder, port, free) = (new_folder(), free_port(), free_port());
            for (name, content) in files {
                fs::write(folder.join(name), content).unwrap();
            }
            let filled = |argument: &&str| {
                let argument = argument.replace("{folder}", folder.to_str().unwrap());
                argument.replace("{port}", &port.to_string()).replace("{free}", &free.to_string())
            };
            let own = ["--port", "{port}", "--bind", "127.0.0.1", "--dir", "{folder}", "--save", ""];
            // Sentinel takes a file first.
            let (first, rest) = match arguments.split_first() {
                Some((file, rest)) if !file.starts_with("--") => (Some(file), rest),
                _ => (None, arguments),
            };
            let own = if first.is_some() { &own[..4] } else { &own[..] };
            let arguments: Vec<_> = first.into_iter().chain(own).chain(rest).map(filled).collect();
            let cli_arguments = if cli_arguments.is_empty() { &["-p", "{port}"][..] } else { cli_arguments };
            let cli_arguments = cli_arguments.iter().map(filled).collect();
            let child = launch(&arguments);
            let mut server = RedisServer { folder, port, arguments, cli_arguments, child };
            if server.comes_up() {
                return server;
            }
        }
        panic!("redis-server does not come up");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints for a command.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").args(&self.cli_arguments).args(command).output();
        let output = output.expect("redis-cli runs (scripts/tools.sh redis)");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// How many clients are connected, `redis-cli` itself left out.
    pub(crate) fn clients(&self) -> usize {
        self.cli(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains("cmd=client")).count()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port.
    pub(crate) fn restart(&mut self) {
        self.child = launch(&self.arguments);
        assert!(self.comes_up(), "redis-server comes up again on port {}", self.port);
    }

    /// Stops it as it is: connections stay, and nothing is answered (SIGSTOP).
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Whether it answers before it ends.
    fn comes_up(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            if self.cli(&["PING"]) == "PONG" {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Three masters that share the slots.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) fn start() -> RedisCluster {
        let arguments =
            ["--cluster-enabled", "yes", "--cluster-port", "{free}", "--cluster-node-timeout", "2000"];
        let nodes: Vec<_> = (0..3).map(|_| RedisServer::with(&arguments, &[], &[])).collect();
        let ranges = [("0", "5461"), ("5462", "10922"), ("10923", "16383")];
        for (index, (node, (first, last))) in nodes.iter().zip(ranges).enumerate() {
            assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
            assert_eq!(node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]), "OK");
        }
        for node in &nodes[1..] {
            let port = node.arguments.iter().position(|argument| argument == "--cluster-port").unwrap();
            let bus = node.arguments[port + 1].clone();
            assert_eq!(nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus]), "OK");
        }
        let cluster = RedisCluster { nodes };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !cluster.nodes.iter().all(RedisCluster::is_complete) {
            assert!(Instant::now() < deadline, "the cluster comes together");
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster
    }

    fn is_complete(node: &RedisServer) -> bool {
        let info = node.cli(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok")
            && info.contains("cluster_size:3")
            && info.contains("cluster_known_nodes:3")
    }

    /// Names all nodes.
    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis://{}", nodes.join(","))
    }

    pub(crate) fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["CLUSTER", "MYID"])
    }

    /// Gives a slot to another node.
    pub(crate) fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (slot, from_id, to_id) = (slot.to_string(), self.id(from), self.id(to));
        let set = |node: usize, arguments: &[&str]| {
            let command = [&["CLUSTER", "SETSLOT", &slot], arguments].concat();
            assert_eq!(self.nodes[node].cli(&command), "OK");
        };
        set(to, &["IMPORTING", &from_id]);
        set(from, &["MIGRATING", &to_id]);
        for node in [to, from, 3 - to - from] {
            set(node, &["NODE", &to_id]);
        }
    }
}

fn launch(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server runs (scripts/tools.sh redis)")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ferrio-redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}
