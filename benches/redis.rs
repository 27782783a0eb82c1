//! What a node of a cluster pays for each message that others publish to a room: nobody of the room is here, one is, or
//! 100 are. Server CPU, against Node's server in the same run, over the same Redis.

mod load;
#[path = "../tests/common/redis_server.rs"]
mod redis_server;

use std::process::{Command, Stdio};
use std::time::Duration;

use ferrio::proto::cluster::{Body, EventPacket, Form, Message, Opts, classic, sharded};
use ferrio::proto::socketio::Payload;
use ferrio::{RedisAdapter, RedisConfig, ServerBuilder, ShardedRedisAdapter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use load::client::{Client, connect_all};
use load::{Cost, Load, Server};
use redis_server::RedisServer;

const MEMBERS: usize = 100;

const LOADS: [(Load, usize); 3] = [
    (Load { name: "empty", burst: 1_000, rounds: 200, size: 128 }, 0),
    (Load { name: "one", burst: 100, rounds: 300, size: 128 }, 1),
    (Load { name: "all", burst: 10, rounds: 200, size: 128 }, MEMBERS),
];

/// As the contract app `conformance` names them.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Classic,
    Sharded,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Classic => "redis",
            Kind::Sharded => "redis-sharded",
        }
    }

    /// The command that publishes an event to a room, as another server does.
    fn command(self, room: &str, event: &str, args: &impl serde::Serialize) -> Vec<u8> {
        let data = Payload::event(event, args).expect("an event");
        let opts = Opts { rooms: vec![room.into()], ..Opts::default() };
        let (command, channel, message) = match self {
            Kind::Classic => {
                let packet = EventPacket::new(Some("/".into()), data);
                let broadcast = classic::Broadcast { uid: Some("sender".into()), packet, opts };
                let channels = classic::Channels::new("socket.io", "/");
                ("PUBLISH", channels.broadcast(&broadcast.opts), broadcast.encode())
            }
            Kind::Sharded => {
                let packet = EventPacket::new(None, data);
                let uid = "0123456789abcdef";
                let body = Body::Broadcast { packet, request_id: None, opts };
                let channel = sharded::Channels::new("socket.io", "/", uid)
                    .request(sharded::SubscriptionMode::Dynamic, &body);
                let message = Message { uid: Some(uid.into()), namespace: Some("/".into()), body };
                ("SPUBLISH", channel, message.encode(Form::Json))
            }
        };
        let mut bytes = b"*3\r\n".to_vec();
        for part in [command.as_bytes(), channel.as_bytes(), &message] {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}

/// Who publishes: a plain connection to Redis.
struct Publisher {
    kind: Kind,
    redis: TcpStream,
}

impl Publisher {
    async fn connect(kind: Kind, redis: &RedisServer) -> Publisher {
        let redis = TcpStream::connect(("127.0.0.1", redis.port())).await.expect("Redis accepts");
        redis.set_nodelay(true).expect("a TCP option");
        Publisher { kind, redis }
    }

    /// Sends so many commands and waits for their answers, one line each.
    async fn send(&mut self, commands: &[u8], count: usize) {
        self.redis.write_all(commands).await.expect("Redis reads");
        let (mut lines, mut buffer) = (0, [0; 4096]);
        while lines < count {
            let len = self.redis.read(&mut buffer).await.expect("Redis answers");
            assert!(len > 0 && !buffer[..len].contains(&b'-'), "{}", String::from_utf8_lossy(&buffer[..len]));
            lines += buffer[..len].iter().filter(|&&byte| byte == b'\n').count();
        }
    }

    async fn publish(&mut self, room: &str, event: &str, number: usize) {
        let command = self.kind.command(room, event, &number);
        self.send(&command, 1).await;
    }

    /// Publishes until it is heard: what was subscribed for the room works.
    async fn until_heard(&mut self, room: &str, member: &mut Client) {
        loop {
            self.publish(room, "warm", 0).await;
            if timeout(Duration::from_millis(100), read_until(member, r#"42["warm""#)).await.is_ok() {
                return;
            }
        }
    }
}

/// Reads up to a message with this beginning; what else a server says is not counted.
async fn read_until(client: &mut Client, beginning: &str) {
    while !client.next().await.starts_with(beginning) {}
}

async fn join(client: &mut Client, room: &str) {
    client.send(&format!(r#"420["join","{room}"]"#)).await;
    read_until(client, "430").await;
}

/// What each published message costs the server.
async fn measure(
    server: &mut Server,
    publisher: &mut Publisher,
    watcher: &mut Client,
    members: &mut [Client],
    load: Load,
) -> Cost {
    let payload = "x".repeat(load.size);
    let burst: Vec<u8> = (0..load.burst)
        .flat_map(|number| publisher.kind.command(load.name, "cast", &(number, &payload)))
        .collect();
    let start = server.begin();
    for round in 0..load.rounds {
        publisher.send(&burst, load.burst).await;
        publisher.publish("watcher", load.name, round).await;
        for member in members.iter_mut() {
            for _ in 0..load.burst {
                read_until(member, r#"42["cast""#).await;
            }
        }
        // It was published last, so the server has dealt with all that came before.
        read_until(watcher, &format!(r#"42["{}",{round}]"#, load.name)).await;
    }
    server.cost(&start, load.rounds * load.burst)
}

async fn run(kind: Kind, redis: &RedisServer, mut server: Server) -> Vec<Cost> {
    let mut publisher = Publisher::connect(kind, redis).await;
    let mut watcher = Client::connect(server.port).await;
    join(&mut watcher, "watcher").await;
    publisher.until_heard("watcher", &mut watcher).await;
    let mut members = connect_all(server.port, MEMBERS).await;
    join(&mut members[0], "one").await;
    publisher.until_heard("one", &mut members[0]).await;
    for member in &mut members {
        join(member, "all").await;
    }
    publisher.until_heard("all", &mut members[0]).await;
    let mut costs = Vec::new();
    for (load, count) in LOADS {
        let members = &mut members[..count];
        costs.push(measure(&mut server, &mut publisher, &mut watcher, members, load).await);
    }
    costs
}

fn main() {
    load::serve_if_asked_with(join_cluster);
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    if version.is_err() {
        eprintln!("nothing is measured: redis-server is missing (scripts/tools.sh redis)");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

/// In the server's process.
async fn join_cluster(builder: ServerBuilder) -> ServerBuilder {
    let variable = |name| std::env::var(name).expect("the variables are set");
    let config = RedisConfig::from_url(&variable("REDIS_URL")).expect("a URL");
    match variable("ADAPTER").as_str() {
        "redis" => builder.adapter(RedisAdapter::new(config).connect().await.expect("Redis is there")),
        _ => builder.adapter(ShardedRedisAdapter::new(config).connect().await.expect("Redis is there")),
    }
}

async fn compare() {
    let redis = RedisServer::start();
    println!("messages of others to a room, CPU of this server per message that was published");
    println!("{:<30} {:>8} {:>8} {:>12} {:>8}", "load", "CPU µs", "allocs", "node CPU µs", "ratio");
    for kind in [Kind::Classic, Kind::Sharded] {
        let options = vec![("ADAPTER", kind.name()), ("REDIS_URL", &*redis.url().leak())].leak();
        let ferrio = run(kind, &redis, Server::ferrio(options)).await;
        let node = match Server::node("conformance", options) {
            Some(server) => Some(run(kind, &redis, server).await),
            None => None,
        };
        for (index, ((load, members), cost)) in LOADS.iter().zip(&ferrio).enumerate() {
            let name = format!("{}, {members} here, {} B", kind.name(), load.size);
            let node = node.as_ref().map(|costs| costs[index].cpu);
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            println!(
                "{name:<30} {:>8.2} {:>8} {:>12} {:>8}",
                cost.cpu,
                number(cost.allocations),
                number(node),
                node.map_or("-".to_owned(), |node| format!("{:.1} x", node / cost.cpu)),
            );
        }
    }
}
