//! 1 000 idle connections: memory per connection and CPU to open one, against Node's server in the same run.

mod load;

use load::Server;
use load::client::connect_all;

const CONNECTIONS: usize = 1_000;

struct Cost {
    kib: f64,
    microseconds: f64,
}

async fn run(server: &Server) -> Cost {
    // What a process allocates once is not the connections'.
    let warm = connect_all(server.port, 50).await;
    let before = server.usage();
    let clients = connect_all(server.port, CONNECTIONS).await;
    let after = server.usage();
    drop((warm, clients));
    Cost {
        kib: (after.resident_kib - before.resident_kib) / CONNECTIONS as f64,
        microseconds: (after.cpu_microseconds - before.cpu_microseconds) / CONNECTIONS as f64,
    }
}

fn main() {
    load::serve_if_asked();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(compare());
}

async fn compare() {
    let ferrio = run(&Server::ferrio(&[])).await;
    println!("{CONNECTIONS} connections (WebSocket, joined to /)");
    println!(
        "ferrio  {:>7.2} KiB per idle connection  {:>7.0} µs CPU to open",
        ferrio.kib, ferrio.microseconds
    );
    if let Some(server) = Server::node("bench_server", &[]) {
        let node = run(&server).await;
        println!(
            "node    {:>7.2} KiB per idle connection  {:>7.0} µs CPU to open",
            node.kib, node.microseconds
        );
        println!(
            "ratio   {:>7.1} x                        {:>7.1} x",
            node.kib / ferrio.kib,
            node.microseconds / ferrio.microseconds
        );
    }
}
