//! One sender, 1 000 receivers in a room: server CPU and write calls per delivered message, against Node's server
//! in the same run; and ferrio's allocations per delivered message.

mod load;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use load::{Client, Server, connect_all};

const RECEIVERS: usize = 1_000;

/// Messages that arrive together, how often, and how large they are.
const LOADS: [(&str, usize, usize, usize); 3] =
    [("sparse 1 x 128 B", 1, 200, 128), ("burst 16 x 128 B", 16, 50, 128), ("burst 16 x 4 KiB", 16, 20, 4096)];

struct Cost {
    cpu: f64,
    writes: f64,
    allocations: Option<f64>,
}

/// The server's own count, where it has one.
async fn allocations(client: &mut Client) -> Option<f64> {
    client.send(r#"421["allocations"]"#).await;
    let answer = client.next().await;
    answer.strip_prefix("431[")?.strip_suffix(']')?.parse().ok()
}

async fn measure(server: &Server, clients: &mut [Client], load: (&str, usize, usize, usize)) -> Cost {
    let (_, burst, rounds, size) = load;
    let payload = "x".repeat(size);
    let counted = server.name == "ferrio";
    let (sender, receivers) = clients.split_first_mut().expect("there are clients");
    let before_allocations = if counted { allocations(sender).await } else { None };
    let before = server.usage();
    for round in 0..rounds {
        for number in 0..burst {
            sender.feed(&format!(r#"42["cast","r",{},"{payload}"]"#, round * burst + number)).await;
        }
        sender.flush().await;
        for receiver in receivers.iter_mut() {
            for _ in 0..burst {
                receiver.next().await;
            }
        }
    }
    let after = server.usage();
    let delivered = (rounds * burst * receivers.len()) as f64;
    let allocated = if counted { allocations(sender).await } else { None };
    Cost {
        cpu: (after.cpu_microseconds - before.cpu_microseconds) / delivered,
        writes: (after.writes - before.writes) / delivered,
        allocations: allocated.zip(before_allocations).map(|(after, before)| (after - before) / delivered),
    }
}

async fn run(server: &Server) -> Vec<Cost> {
    let mut clients = connect_all(server.port, RECEIVERS + 1).await;
    for client in &mut clients[1..] {
        client.join("r").await;
    }
    let mut costs = Vec::new();
    for load in LOADS {
        costs.push(measure(server, &mut clients, load).await);
    }
    costs
}

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    load::serve_if_asked(|| ALLOCATOR.stats().allocations);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let ferrio = run(&Server::ferrio()).await;
    let node = match Server::node() {
        Some(server) => Some(run(&server).await),
        None => None,
    };
    println!("{RECEIVERS} receivers, per delivered message");
    println!("{:<18} {:>8} {:>9} {:>9} {:>9} {:>11} {:>8}", "load", "server", "CPU µs", "writes", "allocs", "node CPU µs", "ratio");
    for (index, (name, ..)) in LOADS.into_iter().enumerate() {
        let cost = &ferrio[index];
        let node = node.as_ref().map(|costs| costs[index].cpu);
        println!(
            "{name:<18} {:>8} {:>9.2} {:>9.3} {:>9.3} {:>11} {:>8}",
            "ferrio",
            cost.cpu,
            cost.writes,
            cost.allocations.unwrap_or(f64::NAN),
            node.map_or("-".to_owned(), |cpu| format!("{cpu:.2}")),
            node.map_or("-".to_owned(), |cpu| format!("{:.1} x", cpu / cost.cpu)),
        );
    }
}
