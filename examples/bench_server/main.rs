//! Contract app: the server that load is put on: `bench_server --port PORT [--threads N]`.

#[path = "../contract/mod.rs"]
mod contract;

use std::process::ExitCode;

use ferrio::{Event, HandlerError, Server};

type HandlerResult = Result<(), HandlerError>;

async fn echo(event: Event) -> HandlerResult {
    Ok(event.socket().emit("echo", &event.raw_args())?)
}

async fn ackme(event: Event) -> HandlerResult {
    let args = event.raw_args();
    Ok(event.ack(&args)?)
}

async fn join(event: Event) -> HandlerResult {
    let room: String = event.args()?;
    event.socket().join(room);
    Ok(event.ack(&())?)
}

async fn leave(event: Event) -> HandlerResult {
    let room: String = event.args()?;
    event.socket().leave(room);
    Ok(())
}

/// To everybody in the room, the sender included if it is a member.
async fn cast(event: Event) -> HandlerResult {
    let room: String = event.args()?;
    let args = event.raw_args().skip(1);
    Ok(event.socket().namespace().to(room).emit("cast", &args)?)
}

async fn run(port: u16) -> Result<(), String> {
    let io = Server::new();
    io.on("echo", echo);
    io.on("ackme", ackme);
    io.on("join", join);
    io.on("leave", leave);
    io.on("cast", cast);
    let listening = io.listen(("127.0.0.1", port)).await.map_err(|error| format!("127.0.0.1:{port}: {error}"))?;
    println!("bench_server listening on {}", listening.local_addr().port());
    listening.run_until(contract::stopped()).await;
    Ok(())
}

fn arguments() -> Result<(u16, usize), String> {
    let (mut port, mut threads) = (0, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let wrong = |_| format!("{name} is {value:?}, accepted is a number");
        match name.as_str() {
            "--port" => port = value.parse().map_err(wrong)?,
            "--threads" => threads = value.parse().map_err(wrong)?,
            _ => return Err(format!("unknown argument {name}, accepted are --port and --threads")),
        }
    }
    Ok((port, threads))
}

fn main() -> ExitCode {
    let result = arguments().and_then(|(port, threads)| {
        let mut runtime = match threads {
            0 | 1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        if threads > 1 {
            runtime.worker_threads(threads);
        }
        runtime.enable_all().build().map_err(|error| error.to_string())?.block_on(run(port))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_server: {error}");
            ExitCode::FAILURE
        }
    }
}
