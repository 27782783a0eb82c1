//! 10 000 sessions are opened over polling and upgraded; half of them are abandoned, in every phase. When their timeouts
//! are over nothing of them may be left: no session, no socket, no task, no TCP connection, no memory. It fails if
//! something is. Node's server gets the same treatment in the same run, for the resident memory.

mod load;

use std::fmt;
use std::io::{Error, Result};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use load::raw::{Raw, Requests, packets};
use load::{Counts, Options, Server};

const SESSIONS: usize = 10_000;
/// Sessions that are open at once, where file descriptors allow it: each has up to three at either end.
const WAVE: usize = 2_000;
/// Sessions that are on the way to their phase at the same time; as many more may be on the way to their end.
const BUSY: usize = 100;
/// From the begin of a wave to the moment at which sessions go on, or are abandoned. Until then they collect in their
/// phases. Shorter than every timeout, so that those that go on properly can.
const GATHER: Duration = Duration::from_secs(1);

/// Short, so that who is abandoned is found soon; long enough that a busy machine can go on with the others in time.
const OPTIONS: Options = &[("PING_INTERVAL", "3000"), ("PING_TIMEOUT", "1000"), ("UPGRADE_TIMEOUT", "3000")];
/// Longer than ping interval and ping timeout together. Node's server cannot be asked whether it is done.
const ABANDONED_AFTER: Duration = Duration::from_secs(5);
/// Something is left for good if it is there so long after all timeouts.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the live heap may have grown by: tables and run queues keep the capacity of the busiest moment, and double when
/// they grow. It is 50 bytes for each abandoned session, and the least that one could leave is more.
const HEAP_ALLOWANCE: f64 = 256.0 * 1024.0;

/// Where a session is, in the order of a proper one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The handshake is answered.
    Opened,
    /// A GET waits for packets.
    Polling,
    /// Half of a POST is sent.
    Posting,
    /// The WebSocket that wants to take over is there.
    Connected,
    /// `2probe` is answered by `3probe`.
    Probed,
    /// `5` is sent.
    Upgraded,
    /// Two namespaces and a room are joined.
    Joined,
}

const PHASES: [Phase; 7] = [
    Phase::Opened,
    Phase::Polling,
    Phase::Posting,
    Phase::Connected,
    Phase::Probed,
    Phase::Upgraded,
    Phase::Joined,
];

/// How a session ends once it has come to its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It goes on properly, through all phases, and says goodbye.
    Proper,
    /// Its TCP connections are closed.
    Closed,
    /// Its TCP connections are reset.
    Reset,
    /// Its TCP connections stay, and nothing comes any more.
    Silent,
}

/// Half of the sessions are abandoned.
const ENDINGS: [Ending; 6] =
    [Ending::Proper, Ending::Closed, Ending::Proper, Ending::Reset, Ending::Proper, Ending::Silent];

/// A client, by hand.
struct Session {
    port: u16,
    requests: Requests,
    get: Raw,
    post: Option<Raw>,
    websocket: Option<Raw>,
}

/// Text that is sent in two halves.
const CONNECT: (&str, &str) = (r#"40{"token""#, r#":"a text of some length"}"#);

impl Session {
    /// Goes on into [`Phase::Opened`].
    async fn open(port: u16) -> Result<Session> {
        let mut get = Raw::connect(port).await?;
        get.write(Requests::opening(port).get()).await?;
        let requests = Requests::of_session(port, &get.response().await?)?;
        Ok(Session { port, requests, get, post: None, websocket: None })
    }

    /// Goes on into `phase`, from the one before it.
    async fn enter(&mut self, phase: Phase) -> Result<()> {
        match phase {
            Phase::Opened => Ok(()),
            Phase::Polling => self.get.write(self.requests.get()).await,
            Phase::Posting => {
                let whole = self.requests.post(&[CONNECT.0, CONNECT.1].concat());
                let half = whole.strip_suffix(CONNECT.1).expect("it ends so");
                let mut post = Raw::connect(self.port).await?;
                post.write(half).await?;
                self.post = Some(post);
                Ok(())
            }
            Phase::Connected => {
                self.post().write(CONNECT.1).await?;
                self.post().response().await?;
                self.poll_for("40").await?;
                self.get.write(self.requests.get()).await?;
                let mut websocket = Raw::connect(self.port).await?;
                websocket.write(self.requests.websocket()).await?;
                websocket.response().await?;
                self.websocket = Some(websocket);
                Ok(())
            }
            Phase::Probed => {
                self.websocket().send("2probe").await?;
                self.read_for("3probe").await
            }
            Phase::Upgraded => {
                self.poll_for("6").await?;
                self.websocket().send("5").await
            }
            Phase::Joined => {
                self.websocket().send("40/chat,").await?;
                self.read_for("40/chat,").await?;
                self.websocket().send(r#"420["join","room"]"#).await?;
                self.read_for("430").await
            }
        }
    }

    async fn leave(&mut self) -> Result<()> {
        self.websocket().send("41/chat,").await?;
        self.websocket().send("41").await?;
        self.websocket().close().await
    }

    /// Reads answers of polls until a packet begins with `start`; heartbeats are answered on the way.
    async fn poll_for(&mut self, start: &str) -> Result<()> {
        loop {
            let body = self.get.response().await?;
            if packets(&body).any(|packet| packet == "2") {
                let pong = self.requests.post("3");
                self.post().write(pong).await?;
                self.post().response().await?;
            }
            if packets(&body).any(|packet| packet.starts_with(start)) {
                return Ok(());
            }
            self.get.write(self.requests.get()).await?;
        }
    }

    /// Reads messages of the WebSocket until one begins with `start`; heartbeats are answered on the way.
    async fn read_for(&mut self, start: &str) -> Result<()> {
        loop {
            match self.websocket().message().await? {
                Some(text) if text == "2" => self.websocket().send("3").await?,
                Some(text) if text.starts_with(start) => return Ok(()),
                Some(_) => {}
                None => return Err(Error::other("closed by the server")),
            }
        }
    }

    fn post(&mut self) -> &mut Raw {
        self.post.as_mut().expect("it is there since Posting")
    }

    fn websocket(&mut self) -> &mut Raw {
        self.websocket.as_mut().expect("it is there since Connected")
    }

    fn reset(self) {
        for raw in [Some(self.get), self.post, self.websocket].into_iter().flatten() {
            raw.reset_on_drop();
        }
    }
}

/// Keeps the load within what two cores can do in time. Those in a phase must not wait behind those not yet opened.
struct Turns {
    first: Semaphore,
    second: Semaphore,
}

impl Turns {
    fn new() -> Turns {
        Turns { first: Semaphore::new(BUSY), second: Semaphore::new(BUSY) }
    }
}

/// One session from its begin to its end; given back if it is abandoned silently.
async fn conduct(
    port: u16,
    chosen: Phase,
    ending: Ending,
    gather: Instant,
    turns: Arc<Turns>,
) -> Result<Option<Session>> {
    let mut turn = turns.first.acquire().await.expect("it is never closed");
    let mut session = Session::open(port).await?;
    for phase in PHASES {
        in_time(phase, session.enter(phase)).await?;
        if phase != chosen {
            continue;
        }
        drop(turn);
        sleep_until(gather).await;
        turn = turns.second.acquire().await.expect("it is never closed");
        match ending {
            Ending::Proper => {}
            Ending::Closed => return Ok(None),
            Ending::Reset => {
                session.reset();
                return Ok(None);
            }
            Ending::Silent => return Ok(Some(session)),
        }
    }
    in_time("the goodbye", session.leave()).await?;
    Ok(None)
}

/// Gives errors the name of the step, which may not take too long.
async fn in_time(step: impl fmt::Debug, work: impl Future<Output = Result<()>>) -> Result<()> {
    let result = timeout(PATIENCE, work).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
    result.map_err(|error| Error::new(error.kind(), format!("{step:?}: {error}")))
}

/// What a server holds at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Holdings {
    counts: Option<Counts>,
    connections: usize,
    resident_kib: f64,
}

impl Holdings {
    fn of(server: &mut Server) -> Holdings {
        Holdings {
            counts: server.counts(),
            connections: server.connections(),
            resident_kib: server.usage().resident_kib,
        }
    }

    /// The larger of each.
    fn max(self, other: Holdings) -> Holdings {
        let counts = self.counts.zip(other.counts).map(|(one, other)| Counts {
            live_bytes: one.live_bytes.max(other.live_bytes),
            sessions: one.sessions.max(other.sessions),
            sockets: one.sockets.max(other.sockets),
            tasks: one.tasks.max(other.tasks),
            ..other
        });
        Holdings {
            counts: counts.or(self.counts).or(other.counts),
            connections: self.connections.max(other.connections),
            resident_kib: self.resident_kib.max(other.resident_kib),
        }
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |read: fn(&Counts) -> f64| match &self.counts {
            Some(counts) => format!("{:.0}", read(counts)),
            None => "-".to_owned(),
        };
        write!(
            f,
            "{:>9} {:>8} {:>8} {:>8} {:>14} {:>13.1}",
            count(|counts| counts.sessions),
            count(|counts| counts.sockets),
            count(|counts| counts.tasks),
            self.connections,
            count(|counts| counts.live_bytes / 1024.0),
            self.resident_kib / 1024.0,
        )
    }
}

/// Measures a server before, during and after.
struct Trial {
    server: Server,
    cold: Holdings,
    peak: Holdings,
    /// Sessions that wanted to go on properly, and could not.
    failures: Vec<Error>,
    /// Sessions that were there longer than their timeouts allow.
    overdue: bool,
}

impl Trial {
    fn new(mut server: Server) -> Trial {
        let cold = Holdings::of(&mut server);
        Trial { server, cold, peak: Holdings::default(), failures: Vec::new(), overdue: false }
    }

    /// Opens so many sessions, and returns when nothing more of them is to be expected.
    async fn wave(&mut self, first: usize, size: usize) {
        let (gather, turns) = (Instant::now() + GATHER, Arc::new(Turns::new()));
        let tasks: Vec<_> = (first..first + size)
            .map(|number| {
                let phase = PHASES[number % PHASES.len()];
                let ending = ENDINGS[number / PHASES.len() % ENDINGS.len()];
                tokio::spawn(conduct(self.server.port, phase, ending, gather, Arc::clone(&turns)))
            })
            .collect();
        sleep_until(gather).await;
        self.peak = self.peak.max(Holdings::of(&mut self.server));
        let mut silent = Vec::new();
        for task in tasks {
            match task.await.expect("it does not panic") {
                Ok(session) => silent.extend(session),
                Err(error) => self.failures.push(error),
            }
        }
        // The server finds out on its own about those who are silent, and then their TCP connections end as well.
        match self.server.counts() {
            Some(_) => self.overdue |= !self.wait(|now, _| now.sessions == 0.0).await,
            None => sleep(ABANDONED_AFTER).await,
        }
        drop(silent);
        let left = |trial: &mut Trial| trial.server.connections() > trial.cold.connections;
        let _ = timeout(PATIENCE, async {
            while left(self) {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        self.wait(|now, cold| now.tasks <= cold.tasks).await;
    }

    /// Waits until the counts are as they should be; `false` if that takes too long.
    async fn wait(&mut self, done: impl Fn(&Counts, &Counts) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while let Some((now, cold)) = self.server.counts().zip(self.cold.counts) {
            if done(&now, &cold) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// Prints what `server` held, and gives what is wrong.
async fn run(name: &str, server: Server, wave: usize) -> Vec<String> {
    let mut trial = Trial::new(server);
    trial.wave(0, wave).await;
    let base = Holdings::of(&mut trial.server);
    for first in (0..SESSIONS).step_by(wave) {
        trial.wave(first, wave.min(SESSIONS - first)).await;
    }
    let end = Holdings::of(&mut trial.server);
    for (when, holdings) in [("cold", trial.cold), ("base", base), ("peak", trial.peak), ("end", end)] {
        println!("{name:<8} {when:<6} {holdings}");
    }
    let mut wrong = Vec::new();
    if let Some(error) = trial.failures.first() {
        wrong.push(format!(
            "{} proper sessions failed (is the machine too busy?), the first with: {error}",
            trial.failures.len()
        ));
    }
    if trial.overdue {
        wrong.push("sessions outlived their timeouts".to_owned());
    }
    if end.connections > trial.cold.connections {
        wrong.push(format!("{} TCP connections are left", end.connections - trial.cold.connections));
    }
    if let Some(((end, base), cold)) = end.counts.zip(base.counts).zip(trial.cold.counts) {
        if (end.sessions, end.sockets) != (0.0, 0.0) || end.tasks > cold.tasks {
            wrong.push("sessions, sockets or tasks are left".to_owned());
        }
        let growth = end.live_bytes - base.live_bytes;
        println!(
            "{name:<8} live heap at the end: {growth:+.0} bytes against base, {HEAP_ALLOWANCE:.0} allowed"
        );
        if growth > HEAP_ALLOWANCE {
            wrong.push("memory is left".to_owned());
        }
    }
    wrong
}

fn main() -> ExitCode {
    load::serve_if_asked();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let wrong = runtime.block_on(compare());
    for wrong in &wrong {
        eprintln!("ferrio: {wrong}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn compare() -> Vec<String> {
    let wave = WAVE.min(load::open_files() / 4);
    println!("{SESSIONS} sessions in waves of {wave}, half of them abandoned, after a first wave (base)");
    println!(
        "{:<8} {:<6} {:>9} {:>8} {:>8} {:>8} {:>14} {:>13}",
        "server", "", "sessions", "sockets", "tasks", "TCP", "live heap KiB", "resident MiB"
    );
    let wrong = run("ferrio", Server::ferrio(OPTIONS), wave).await;
    if let Some(server) = Server::node("conformance", OPTIONS) {
        for wrong in run("node", server, wave).await {
            eprintln!("node: {wrong}");
        }
    }
    wrong
}
