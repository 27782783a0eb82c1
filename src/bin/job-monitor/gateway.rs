//! The Socket.IO side: who may connect, a room for each job, snapshots for those who come later.
//!
//! | room | hears |
//! |---|---|
//! | `job:<id>` | `event`: every event of the job |
//! | `overview` | `job`: every job in short, whenever it changes; `forgotten` |
//! | `overview:<id>` | the same of one job, for tokens that may not watch all |

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ferrio::{ConnectError, Event, Server, Socket};
use serde::{Deserialize, Serialize};
use tracing::{debug, error};

use crate::auth::{Claims, MAX_TOKEN_BYTES, Scope, TokenRefused, Tokens, now_seconds};
use crate::jobs::{JobEvent, JobId, JobStore, Limits, Summary};

/// The jobs and those who watch them.
#[derive(Debug)]
pub(crate) struct Monitor {
    io: Server,
    shared: Arc<Shared>,
}

/// What handlers reach through `event.state()`.
struct Shared {
    tokens: Tokens,
    /// Held while an event is taken in *and* emitted, and while a snapshot is taken *and* its room joined. So the
    /// events of a job leave in the order in which they came, and between snapshot and room none is lost or doubled.
    jobs: Mutex<JobStore>,
}

impl Monitor {
    pub(crate) fn new(tokens: Tokens, limits: Limits) -> Monitor {
        let shared = Arc::new(Shared { tokens, jobs: Mutex::new(JobStore::new(limits)) });
        let io = Server::builder()
            .max_http_buffer_size(MAX_MESSAGE_BYTES)
            .max_send_queue(NEWS_QUEUE_BYTES + limits.largest_answers())
            .state(Arc::clone(&shared))
            .build()
            .expect("the options are constants, and accepted");
        io.use_(authenticate);
        io.on("subscribe", subscribe);
        io.on("unsubscribe", unsubscribe);
        io.on("watch", watch);
        io.on("unwatch", unwatch);
        Monitor { io, shared }
    }

    pub(crate) fn io(&self) -> &Server {
        &self.io
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    /// Remembers an event and tells everybody who watches its job.
    pub(crate) fn publish(&self, event: JobEvent) {
        let event = Arc::new(event);
        let id = &event.job_id;
        let mut jobs = self.shared.jobs();
        let change = jobs.apply(&event, now_millis());
        let sent = self.io.to(job_room(id)).emit("event", &*event);
        log_failure(sent);
        let sent = self.io.to(overview_rooms(id)).emit("job", &change.summary);
        log_failure(sent);
        if let Some(forgotten) = change.forgotten {
            log_failure(self.io.to(overview_rooms(&forgotten)).emit("forgotten", &forgotten));
        }
    }

    /// The jobs that `scope` allows to see, as JSON text.
    pub(crate) fn list(&self, scope: &Scope) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Overview { jobs: self.shared.jobs().summaries(scope) })
    }

    /// Disconnects, every few seconds, those whose token has ended meanwhile. Never returns.
    ///
    /// # Cancel safety
    /// Dropping the future ends it between two rounds.
    pub(crate) async fn expire(&self) {
        let mut rounds = tokio::time::interval(EXPIRY_ROUND);
        loop {
            rounds.tick().await;
            self.end_expired(now_seconds());
        }
    }

    /// Disconnects those whose token is not valid any more `now`, in seconds since 1970.
    pub(crate) fn end_expired(&self, now: u64) {
        for socket in self.io.of("/").sockets() {
            if socket.extensions().get::<Claims>().is_none_or(|claims| claims.has_expired(now)) {
                debug!(socket = %socket.id(), "the token has expired");
                socket.disconnect();
            }
        }
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, JobStore> {
        // A panic while it was held left at worst one event half told; the store itself stays whole.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The answer to every request of a client: `{ok: true}` or `{ok: false, error}`.
#[derive(Debug, Serialize)]
struct Answer {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A job as it was when somebody subscribed; `job` is null while nothing was posted for it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot<'a> {
    job_id: &'a JobId,
    job: Option<&'a Summary>,
    events: Vec<&'a JobEvent>,
}

#[derive(Debug, Serialize)]
struct Overview<'a> {
    jobs: Vec<&'a Summary>,
}

async fn authenticate(socket: Socket) -> Result<(), ConnectError> {
    #[derive(Deserialize)]
    struct Auth {
        token: String,
    }
    let token = socket.handshake().auth::<Auth>().map(|auth| auth.token).map_err(|_| TokenRefused::Missing);
    match token.and_then(|token| socket.state::<Arc<Shared>>().tokens.verify(&token)) {
        Ok(claims) => {
            debug!(socket = %socket.id(), subject = claims.sub, "connected");
            socket.extensions().insert(claims);
            Ok(())
        }
        Err(refused) => {
            debug!(reason = %refused, "a connection was refused");
            Err(ConnectError::new("Authentication failed"))
        }
    }
}

async fn subscribe(event: Event) {
    let socket = event.socket().clone();
    let id = match requested_job(&event).and_then(|id| allowed(&socket, id)) {
        Ok(id) => id,
        Err(problem) => return answer(&event, Err(problem)),
    };
    let shared = Arc::clone(event.state::<Arc<Shared>>());
    let jobs = shared.jobs();
    socket.join(job_room(&id));
    answer(&event, Ok(()));
    let job = jobs.get(&id);
    let events = job.map(|job| job.events().collect()).unwrap_or_default();
    log_failure(
        socket.emit("snapshot", &Snapshot { job_id: &id, job: job.map(|job| job.summary()), events }),
    );
}

async fn unsubscribe(event: Event) {
    let outcome = requested_job(&event).map(|id| event.socket().leave(job_room(&id)));
    answer(&event, outcome);
}

async fn watch(event: Event) {
    let socket = event.socket().clone();
    let scope = scope(&socket);
    let shared = Arc::clone(event.state::<Arc<Shared>>());
    let jobs = shared.jobs();
    socket.join(watched_rooms(&scope));
    answer(&event, Ok(()));
    log_failure(socket.emit("jobs", &Overview { jobs: jobs.summaries(&scope) }));
}

async fn unwatch(event: Event) {
    let socket = event.socket();
    socket.leave(watched_rooms(&scope(socket)));
    answer(&event, Ok(()));
}

fn requested_job(event: &Event) -> Result<JobId, String> {
    let accepted = || format!("jobId is not accepted; accepted: a text of {}", JobId::ACCEPTED);
    let (text,) = event.args::<(String,)>().map_err(|_| accepted())?;
    JobId::parse(&text).map_err(|_| accepted())
}

fn allowed(socket: &Socket, id: JobId) -> Result<JobId, String> {
    if !scope(socket).allows(&id) {
        return Err(format!("this token may not watch the job {id}"));
    }
    if socket.rooms().len() >= MAX_ROOMS {
        return Err(format!("at most {MAX_ROOMS} subscriptions at a time; unsubscribe from others first"));
    }
    Ok(id)
}

fn scope(socket: &Socket) -> Scope {
    socket.extensions().get::<Claims>().map_or_else(Scope::none, |claims| claims.jobs.clone())
}

fn answer(event: &Event, outcome: Result<(), String>) {
    log_failure(event.ack(&Answer { ok: outcome.is_ok(), error: outcome.err() }));
}

fn log_failure<E: fmt::Display>(sent: Result<(), E>) {
    if let Err(problem) = sent {
        error!(%problem, "a message could not be sent");
    }
}

fn job_room(id: &JobId) -> String {
    format!("job:{id}")
}

/// Where changes of one job are told. A socket in both rooms hears them once.
fn overview_rooms(id: &JobId) -> [String; 2] {
    ["overview".to_owned(), format!("overview:{id}")]
}

/// Where somebody with this scope hears of changes.
fn watched_rooms(scope: &Scope) -> Vec<String> {
    let of = |ids: &BTreeSet<JobId>| ids.iter().map(|id| format!("overview:{id}")).collect();
    match scope {
        Scope::All => vec!["overview".to_owned()],
        Scope::Only(ids) => of(ids),
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Clients send job ids and a token, nothing larger.
const MAX_MESSAGE_BYTES: usize = MAX_TOKEN_BYTES + (1 << 10);
/// What may wait for a slow client beside the answers to its requests; at least sixteen of the largest events.
const NEWS_QUEUE_BYTES: usize = 16 << 20;
const MAX_ROOMS: usize = 1000; // what one page can sensibly show; a room costs memory here
const EXPIRY_ROUND: Duration = Duration::from_secs(10);
