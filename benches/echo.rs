//! Every client gets back what it sends: server CPU and write calls per echoed message, against Node's server in the
//! same run; and how often ferrio's tasks ran and allocated for it. One run for what came is the least there can be:
//! more would mean that the handler's emit woke the task that it ran on.

mod load;

use load::client::{Client, connect_all};
use load::{Cost, Load, Server};

const CLIENTS: usize = 100;

const LOADS: [Load; 3] = [
    Load { name: "sparse 1 x 128 B", burst: 1, rounds: 500, size: 128 },
    Load { name: "burst 16 x 128 B", burst: 16, rounds: 100, size: 128 },
    Load { name: "burst 16 x 4 KiB", burst: 16, rounds: 50, size: 4096 },
];

async fn measure(server: &mut Server, clients: &mut [Client], load: Load) -> Cost {
    let payload = "x".repeat(load.size);
    let start = server.begin();
    for _ in 0..load.rounds {
        for client in clients.iter_mut() {
            for number in 0..load.burst {
                client.feed(&format!(r#"42["echo",{number},"{payload}"]"#)).await;
            }
            client.flush().await;
        }
        for client in clients.iter_mut() {
            for _ in 0..load.burst {
                client.next().await;
            }
        }
    }
    server.cost(&start, load.rounds * load.burst * clients.len())
}

async fn run(mut server: Server) -> Vec<Cost> {
    let mut clients = connect_all(server.port, CLIENTS).await;
    let mut costs = Vec::new();
    for load in LOADS {
        costs.push(measure(&mut server, &mut clients, load).await);
    }
    costs
}

fn main() {
    load::serve_if_asked();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let ferrio = run(Server::ferrio(&[])).await;
    let node = match Server::node("bench_server", &[]) {
        Some(server) => Some(run(server).await),
        None => None,
    };
    load::print_costs(&format!("echo to {CLIENTS}"), &LOADS, &ferrio, node.as_deref());
}
