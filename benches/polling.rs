//! One sender, 300 receivers in a room whose GETs wait: server CPU and write calls per message delivered by long-polling,
//! the GETs that fetch it included, against Node's server in the same run.

mod load;

use std::io::Result;

use load::client::Client;
use load::raw::{Raw, Requests, packets};
use load::{Cost, Load, Server};

const RECEIVERS: usize = 300;

const LOADS: [Load; 3] = [
    Load { name: "sparse 1 x 128 B", burst: 1, rounds: 100, size: 128 },
    Load { name: "burst 16 x 128 B", burst: 16, rounds: 50, size: 128 },
    Load { name: "burst 16 x 4 KiB", burst: 16, rounds: 20, size: 4096 },
];

/// A client over polling whose GET always waits.
struct Receiver {
    requests: Requests,
    get: Raw,
    post: Raw,
}

impl Receiver {
    async fn connect(port: u16) -> Result<Receiver> {
        let (mut get, post) = (Raw::connect(port).await?, Raw::connect(port).await?);
        get.write(Requests::opening(port).get()).await?;
        let requests = Requests::of_session(port, &get.response().await?)?;
        let mut receiver = Receiver { requests, get, post };
        receiver.get.write(receiver.requests.get()).await?;
        receiver.post("40").await?;
        receiver.receive(1, "40").await?;
        receiver.post(r#"420["join","r"]"#).await?;
        receiver.receive(1, "430").await?;
        Ok(receiver)
    }

    async fn post(&mut self, body: &str) -> Result<()> {
        self.post.write(self.requests.post(body)).await?;
        self.post.response().await.map(drop)
    }

    /// Polls until `count` packets that begin with `start` have come; heartbeats are answered on the way.
    async fn receive(&mut self, count: usize, start: &str) -> Result<()> {
        let mut received = 0;
        while received < count {
            let body = self.get.response().await?;
            self.get.write(self.requests.get()).await?;
            received += packets(&body).filter(|packet| packet.starts_with(start)).count();
            if packets(&body).any(|packet| packet == "2") {
                self.post("3").await?;
            }
        }
        Ok(())
    }
}

async fn measure(
    server: &mut Server,
    sender: &mut Client,
    receivers: &mut [Receiver],
    load: Load,
) -> Result<Cost> {
    let payload = "x".repeat(load.size);
    let start = server.begin();
    for _ in 0..load.rounds {
        for number in 0..load.burst {
            sender.feed(&format!(r#"42["cast","r",{number},"{payload}"]"#)).await;
        }
        sender.flush().await;
        for receiver in receivers.iter_mut() {
            receiver.receive(load.burst, r#"42["cast""#).await?;
        }
    }
    Ok(server.cost(&start, load.rounds * load.burst * receivers.len()))
}

async fn run(mut server: Server) -> Result<Vec<Cost>> {
    let mut receivers = Vec::with_capacity(RECEIVERS);
    for _ in 0..RECEIVERS {
        receivers.push(Receiver::connect(server.port).await?);
    }
    let mut costs = Vec::new();
    for load in LOADS {
        // A new one each time: it never reads, so that its heartbeats are not answered.
        let mut sender = Client::connect(server.port).await;
        costs.push(measure(&mut server, &mut sender, &mut receivers, load).await?);
    }
    Ok(costs)
}

fn main() -> Result<()> {
    load::serve_if_asked();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(compare())
}

async fn compare() -> Result<()> {
    let ferrio = run(Server::ferrio(&[])).await?;
    let node = match Server::node("bench_server", &[]) {
        Some(server) => Some(run(server).await?),
        None => None,
    };
    load::print_costs(&format!("broadcast to {RECEIVERS} over polling"), &LOADS, &ferrio, node.as_deref());
    Ok(())
}
