//! The whole application on a free port, with real HTTP requests and real WebSockets.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::application::Application;
use crate::auth::{Claims, Scope, Secret, Tokens, now_seconds};
use crate::config::{ConfigError, Invocation, Settings};
use crate::gateway::Monitor;
use crate::jobs::JobId;

const SECRET: &str = "a secret that only these tests know";

/// A running application; [`Running::stop`] ends it.
struct Running {
    address: SocketAddr,
    tokens: Tokens,
    monitor: Arc<Monitor>,
    http: Client,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Running {
    async fn start() -> Running {
        Running::start_with(&[]).await
    }

    async fn start_with(flags: &[&str]) -> Running {
        let application = bind(flags).await.unwrap();
        let (address, monitor) = (application.address(), application.monitor());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(application.serve_until(async { drop(stopped.await) }));
        Running { address, tokens: tokens(), monitor, http: Client::new(), stop, served }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.served).await.expect("it ends in time").unwrap();
    }

    fn token(&self, jobs: Scope, publish: Scope) -> String {
        self.tokens.issue(&Claims::new("test", Duration::from_secs(60), jobs, publish))
    }

    fn viewer(&self) -> String {
        self.token(Scope::All, Scope::none())
    }

    fn publisher(&self) -> String {
        self.token(Scope::none(), Scope::All)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A POST of an event that is right in all; tests change what they are about.
    fn ingest(&self, id: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(&format!("/jobs/{id}/events"))).bearer_auth(self.publisher()).json(body)
    }

    async fn post(&self, id: &str, kind: &str, data: &Value) {
        let body = json!({ "type": kind, "jobId": id, "timestamp": 1_790_000_000_000u64, "data": data });
        let answer = self.ingest(id, &body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "ok": true }));
    }

    async fn connect(&self, token: &str) -> Peer {
        let mut peer = self.open(&json!({ "token": token })).await;
        assert!(peer.text().await.starts_with("40{\"sid\":"));
        peer
    }

    /// A WebSocket that has asked for the namespace `/` with this auth.
    async fn open(&self, auth: &Value) -> Peer {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut peer = Peer { socket, acks: 0 };
        assert!(peer.text().await.starts_with("0{"));
        peer.send(format!("40{auth}")).await;
        peer
    }
}

/// A client that speaks Socket.IO by hand.
struct Peer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    acks: u32,
}

impl Peer {
    async fn send(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next packet, pings answered on the way.
    async fn text(&mut self) -> String {
        self.try_text().await.expect("the connection is open")
    }

    /// The same, or nothing at the end of the connection.
    async fn try_text(&mut self) -> Option<String> {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something comes in time");
            match message {
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3".to_owned()).await,
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Emits and waits for the answer, which is the next packet.
    async fn ask(&mut self, arguments: &Value) -> Value {
        self.acks += 1;
        self.send(format!("42{}{arguments}", self.acks)).await;
        let text = self.text().await;
        let answer: Value =
            serde_json::from_str(text.strip_prefix(&format!("43{}", self.acks)).expect(&text)).unwrap();
        answer[0].clone()
    }

    /// The next event: its name and its argument.
    async fn event(&mut self) -> (String, Value) {
        let text = self.text().await;
        serde_json::from_str(text.strip_prefix("42").expect(&text)).unwrap()
    }

    async fn expect(&mut self, name: &str) -> Value {
        let (got, argument) = self.event().await;
        assert_eq!(got, name, "{argument}");
        argument
    }

    async fn subscribe(&mut self, id: &str) -> Value {
        assert_eq!(self.ask(&json!(["subscribe", id])).await, json!({ "ok": true }));
        self.expect("snapshot").await
    }
}

fn settings(flags: &[&str]) -> Settings {
    let environment = [("JOB_MONITOR_LISTEN", "127.0.0.1:0"), ("JOB_MONITOR_JWT_SECRET", SECRET)];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    let arguments = ["job-monitor"].iter().chain(flags).map(OsString::from);
    Invocation::load(arguments, environment).unwrap().settings
}

async fn bind(flags: &[&str]) -> Result<Application, ConfigError> {
    Application::bind(&settings(flags), tokens()).await
}

fn tokens() -> Tokens {
    Tokens::new(&Secret::new(SECRET.as_bytes()).unwrap())
}

fn only(ids: &[impl AsRef<str>]) -> Scope {
    Scope::Only(ids.iter().map(|id| JobId::parse(id.as_ref()).unwrap()).collect::<BTreeSet<_>>())
}

fn progress(page: u64) -> Value {
    json!({ "itemsScraped": page, "pagesScraped": page, "currentPage": page, "totalPages": 100, "elapsedTime": 1.5 })
}

const PATIENCE: Duration = Duration::from_secs(20); // of one expectation: only a test that fails waits so long

#[tokio::test]
async fn a_subscriber_hears_every_event_in_order_as_it_was_posted() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.viewer()).await;
    assert_eq!(peer.subscribe("7").await, json!({ "jobId": "7", "job": null, "events": [] }));
    for page in 0..100 {
        running.post("7", "job_progress", &progress(page)).await;
    }
    for page in 0..100 {
        let expected = json!({
            "type": "job_progress", "jobId": "7", "timestamp": 1_790_000_000_000u64, "data": progress(page),
        });
        assert_eq!(peer.expect("event").await, expected);
    }
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn whoever_comes_later_gets_a_snapshot_and_then_what_is_new() {
    let running = Running::start_with(&["--events-kept", "2"]).await;
    running.post("7", "job_started", &json!({ "name": "Shop" })).await;
    running.post("7", "item_scraped", &json!({ "price": 1.5 })).await;
    running.post("7", "job_progress", &progress(3)).await;
    let mut peer = running.connect(&running.viewer()).await;
    let snapshot = peer.subscribe("7").await;
    assert_eq!(snapshot["job"]["name"], "Shop");
    assert_eq!(snapshot["job"]["currentPage"], 3);
    let kinds: Vec<&Value> =
        snapshot["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["item_scraped", "job_progress"]);
    running.post("7", "job_completed", &json!({})).await;
    assert_eq!(peer.expect("event").await["type"], "job_completed");
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn whoever_unsubscribed_hears_no_more() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.viewer()).await;
    peer.subscribe("7").await;
    peer.subscribe("8").await;
    assert_eq!(peer.ask(&json!(["unsubscribe", "7"])).await, json!({ "ok": true }));
    running.post("7", "job_started", &json!({})).await;
    running.post("8", "job_started", &json!({})).await;
    assert_eq!(peer.expect("event").await["jobId"], "8");
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_request_without_an_ack_works_too() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.viewer()).await;
    peer.send(r#"42["subscribe","7"]"#.to_owned()).await;
    peer.expect("snapshot").await;
    running.post("7", "job_started", &json!({})).await;
    peer.expect("event").await;
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn without_a_good_token_nobody_connects() {
    let running = Running::start().await;
    let foreign = Tokens::new(&Secret::random().unwrap());
    let foreign = foreign.issue(&Claims::new("x", Duration::from_secs(60), Scope::All, Scope::All));
    let past = Claims { exp: 1, ..Claims::new("x", Duration::ZERO, Scope::All, Scope::All) };
    for auth in [
        json!({}),
        json!({ "token": null }),
        json!({ "token": 7 }),
        json!({ "token": "" }),
        json!({ "token": "wrong" }),
        json!({ "token": foreign }),
        json!({ "token": running.tokens.issue(&past) }),
    ] {
        let mut peer = running.open(&auth).await;
        assert_eq!(peer.text().await, r#"44{"message":"Authentication failed"}"#, "{auth}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.viewer()).await;
    running.monitor.end_expired(now_seconds());
    assert_eq!(peer.subscribe("7").await["jobId"], "7");
    running.monitor.end_expired(now_seconds() + 3600);
    assert_eq!(peer.text().await, "41");
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_bad_job_id_is_answered_with_what_is_accepted() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.viewer()).await;
    for event in ["subscribe", "unsubscribe"] {
        for id in [json!(""), json!("a b"), json!("x".repeat(129)), json!(7), json!(null), json!({})] {
            let answer = peer.ask(&json!([event, id])).await;
            assert_eq!(answer["ok"], false, "{id}");
            assert!(answer["error"].as_str().unwrap().contains(JobId::ACCEPTED), "{answer}");
        }
        assert_eq!(peer.ask(&json!([event])).await["ok"], false);
    }
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_token_watches_only_the_jobs_of_its_scope() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.token(only(&["mine"]), Scope::none())).await;
    let answer = peer.ask(&json!(["subscribe", "yours"])).await;
    assert_eq!(answer, json!({ "ok": false, "error": "this token may not watch the job yours" }));
    running.post("yours", "job_started", &json!({})).await;
    assert_eq!(peer.ask(&json!(["watch"])).await, json!({ "ok": true }));
    assert_eq!(peer.expect("jobs").await, json!({ "jobs": [] }));
    running.post("yours", "job_progress", &progress(1)).await;
    running.post("mine", "job_started", &json!({})).await;
    assert_eq!(peer.expect("job").await["jobId"], "mine");
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_watcher_hears_of_every_change_once_and_of_what_is_forgotten() {
    let running = Running::start_with(&["--jobs-kept", "1"]).await;
    running.post("a", "job_started", &json!({})).await;
    let mut peer = running.connect(&running.viewer()).await;
    assert_eq!(peer.ask(&json!(["watch"])).await, json!({ "ok": true }));
    assert_eq!(peer.expect("jobs").await["jobs"][0]["jobId"], "a");
    running.post("a", "job_progress", &progress(5)).await;
    assert_eq!(peer.expect("job").await["currentPage"], 5);
    running.post("b", "job_started", &json!({})).await;
    assert_eq!(peer.expect("job").await["jobId"], "b");
    assert_eq!(peer.expect("forgotten").await, "a");
    assert_eq!(peer.ask(&json!(["unwatch"])).await, json!({ "ok": true }));
    running.post("b", "job_completed", &json!({})).await;
    peer.subscribe("b").await;
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_list_of_jobs_needs_a_token_and_shows_its_scope() {
    let running = Running::start().await;
    running.post("a", "job_started", &json!({})).await;
    running.post("b", "job_started", &json!({})).await;
    let list = async |token: &str| {
        running
            .http
            .get(running.url("/jobs"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()
    };
    assert_eq!(list(&running.viewer()).await["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(list(&running.token(only(&["b"]), Scope::none())).await["jobs"][0]["jobId"], "b");
    let answer = running.http.get(running.url("/jobs")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    running.stop().await;
}

/// Sends, and compares the status and the fields of the JSON body that `expected` names.
async fn check_refused(request: RequestBuilder, status: StatusCode, expected: &Value) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let body: Value = answer.json().await.unwrap();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&body[name], value, "{body}");
    }
}

#[tokio::test]
async fn a_malformed_event_is_answered_with_the_field_and_what_is_accepted() {
    let running = Running::start().await;
    let event = json!({ "type": "job_progress", "jobId": "7", "timestamp": 1, "data": progress(1) });
    let changed = |path: &str, value: Value| {
        let mut event = event.clone();
        *event.pointer_mut(path).unwrap() = value;
        event
    };
    for (body, field, accepted) in [
        (
            changed("/type", json!("x")),
            "type",
            "job_started, job_progress, job_completed, job_failed, item_scraped or error",
        ),
        (changed("/jobId", json!("8")), "jobId", "7, as in the path, or no such field"),
        (
            changed("/data/currentPage", json!(-1)),
            "data.currentPage",
            "a whole number from 0 to 9007199254740991",
        ),
        (json!([]), "body", "a JSON object {type, jobId, timestamp, data}"),
    ] {
        let expected = json!({ "field": field, "accepted": accepted });
        check_refused(running.ingest("7", &body), StatusCode::BAD_REQUEST, &expected).await;
    }
    for (path, found) in [("a%20b", "\"a b\""), ("a%ff", "no text")] {
        let error = format!("the path's job id is {found}; accepted: {}", JobId::ACCEPTED);
        let expected = json!({ "error": error, "field": "jobId", "accepted": JobId::ACCEPTED });
        check_refused(running.ingest(path, &event), StatusCode::BAD_REQUEST, &expected).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn an_event_needs_a_token_that_may_publish_for_its_job() {
    let running = Running::start().await;
    let event = json!({ "type": "job_started", "timestamp": 1 });
    let url = running.url("/jobs/7/events");
    let post = || running.http.post(&url).json(&event);
    let missing = json!({ "error": "a token is missing" });
    check_refused(post(), StatusCode::UNAUTHORIZED, &missing).await;
    let bearer = json!({
        "error": "this kind of authorization is not accepted", "accepted": "Authorization: Bearer, and a token",
    });
    check_refused(post().basic_auth("a", Some("b")), StatusCode::UNAUTHORIZED, &bearer).await;
    check_refused(post().header("authorization", running.publisher()), StatusCode::UNAUTHORIZED, &bearer)
        .await;
    let long = json!({ "error": "the token is too long", "accepted": "at most 65536 bytes" });
    check_refused(post().bearer_auth("x".repeat(65_537)), StatusCode::UNAUTHORIZED, &long).await;
    let invalid = json!({ "error": "the token is not valid" });
    check_refused(post().bearer_auth("wrong"), StatusCode::UNAUTHORIZED, &invalid).await;
    let expired = Claims { exp: 1, ..Claims::new("x", Duration::ZERO, Scope::All, Scope::All) };
    let expired = post().bearer_auth(running.tokens.issue(&expired));
    check_refused(expired, StatusCode::UNAUTHORIZED, &json!({ "error": "the token has expired" })).await;
    let forbidden = json!({ "error": "this token may not publish for the job 7" });
    check_refused(post().bearer_auth(running.viewer()), StatusCode::FORBIDDEN, &forbidden).await;
    let other = running.token(Scope::All, only(&["8"]));
    check_refused(post().bearer_auth(other), StatusCode::FORBIDDEN, &forbidden).await;
    let own = running.token(Scope::none(), only(&["7"]));
    assert_eq!(post().bearer_auth(own).send().await.unwrap().status(), StatusCode::ACCEPTED);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_small_json_body_is_refused() {
    let running = Running::start_with(&["--max-event-bytes", "256"]).await;
    let event = json!({ "type": "job_started", "timestamp": 1 });
    let typed = |content_type: &str| {
        let request = running.http.post(running.url("/jobs/7/events")).bearer_auth(running.publisher());
        request.header("content-type", content_type).body(event.to_string())
    };
    let expected = json!({ "accepted": "application/json" });
    check_refused(typed("text/plain"), StatusCode::UNSUPPORTED_MEDIA_TYPE, &expected).await;
    check_refused(typed(""), StatusCode::UNSUPPORTED_MEDIA_TYPE, &expected).await;
    let with_charset = typed("Application/JSON; charset=utf-8").send().await.unwrap();
    assert_eq!(with_charset.status(), StatusCode::ACCEPTED);
    for size in [300, 500_000] {
        let large = json!({ "type": "job_started", "timestamp": 1, "data": { "text": "x".repeat(size) } });
        let expected = json!({ "accepted": "at most 256 bytes" });
        check_refused(running.ingest("7", &large), StatusCode::PAYLOAD_TOO_LARGE, &expected).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_json() {
    let running = Running::start().await;
    let token = running.publisher();
    for path in ["/nowhere", "/jobs/7", "/jobs/7/events/8", "/../Cargo.toml"] {
        check_refused(running.http.get(running.url(path)), StatusCode::NOT_FOUND, &json!({})).await;
        check_refused(
            running.http.post(running.url(path)).bearer_auth(&token),
            StatusCode::NOT_FOUND,
            &json!({}),
        )
        .await;
    }
    for (method, path, allow, accepted) in [
        ("GET", "/jobs/7/events", "POST", "POST"),
        ("DELETE", "/jobs", "GET,HEAD", "GET or HEAD"),
        ("POST", "/health", "GET,HEAD", "GET or HEAD"),
    ] {
        let request = running.http.request(method.parse().unwrap(), running.url(path));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], allow);
        let expected = json!({ "error": "this method is not allowed here", "accepted": accepted });
        assert_eq!(answer.json::<Value>().await.unwrap(), expected);
    }
    let health = running.http.get(running.url("/health")).send().await.unwrap();
    assert_eq!(health.json::<Value>().await.unwrap(), json!({ "ok": true }));
    running.stop().await;
}

#[tokio::test]
async fn a_list_and_a_snapshot_write_figures_alike() {
    let running = Running::start().await;
    let mut figures = progress(1);
    figures["elapsedTime"] = json!(2002);
    running.post("7", "job_progress", &figures).await;
    let list = running.http.get(running.url("/jobs")).bearer_auth(running.viewer()).send().await.unwrap();
    assert!(list.text().await.unwrap().contains("\"elapsedTime\":2002,"));
    let mut peer = running.connect(&running.viewer()).await;
    assert_eq!(peer.subscribe("7").await["job"]["elapsedTime"], json!(2002));
    drop(peer);
    running.stop().await;
}

/// The largest that the limits allow must fit into what may wait for a client.
#[tokio::test]
async fn the_largest_snapshots_arrive() {
    let running =
        Running::start_with(&["--event-bytes-kept", "16777216", "--max-event-bytes", "1048576"]).await;
    let text = "x".repeat(1_040_000);
    for _ in 0..16 {
        for id in ["7", "8"] {
            running.post(id, "item_scraped", &json!({ "text": text })).await;
        }
    }
    let mut peer = running.connect(&running.viewer()).await;
    // Both are asked for before anything is read.
    peer.send(r#"42["subscribe","7"]"#.to_owned()).await;
    peer.send(r#"42["subscribe","8"]"#.to_owned()).await;
    for id in ["7", "8"] {
        let snapshot = peer.expect("snapshot").await;
        assert_eq!(snapshot["jobId"], id);
        assert_eq!(snapshot["events"].as_array().unwrap().len(), 16);
    }
    drop(peer);
    running.stop().await;
}

#[tokio::test]
async fn a_long_token_connects() {
    let running = Running::start().await;
    let ids = (0..400).map(|number| JobId::parse(&format!("{number:0>100}")).unwrap()).collect();
    let token = running.token(Scope::Only(ids), Scope::none());
    assert!(token.len() > 50_000);
    let mut peer = running.connect(&token).await;
    assert_eq!(peer.subscribe(&"0".repeat(100)).await["job"], Value::Null);
    drop(peer);
    running.stop().await;
}

#[test]
fn a_token_that_nobody_would_accept_is_not_printed() {
    let settings = settings(&[]);
    let many = |count: usize| only(&(0..count).map(|number| format!("{number:0>100}")).collect::<Vec<_>>());
    assert!(crate::token(&settings, "x", many(400), Scope::none()).is_ok());
    let problem = crate::token(&settings, "x", many(800), Scope::none()).unwrap_err();
    assert!(problem.contains("; accepted: at most 65536"), "{problem}");
}

#[test]
fn what_is_printed_says_whether_there_is_a_dashboard() {
    let address = SocketAddr::from(([0, 0, 0, 0], 4000));
    let printed = crate::PrintedTokens { viewer: "v".to_owned(), publisher: "p".to_owned() };
    let text = crate::announcement(address, true, Some(&printed));
    assert!(
        text.contains("\n  Dashboard        http://127.0.0.1:4000/#token=v\n  Viewer token     v\n"),
        "{text}"
    );
    assert!(
        crate::announcement(address, true, None).contains("\n  Dashboard        http://127.0.0.1:4000/\n\n")
    );
    for printed in [None, Some(&printed)] {
        let text = crate::announcement(address, false, printed);
        assert!(text.contains("\n  Dashboard        (not built: make dashboard)\n"), "{text}");
    }
}

#[tokio::test]
async fn the_end_tells_the_clients() {
    let running = Running::start().await;
    let mut peer = running.connect(&running.viewer()).await;
    let reading = async {
        let mut last = None;
        while let Some(text) = peer.try_text().await {
            last = Some(text);
        }
        last
    };
    let ((), last) = tokio::join!(running.stop(), reading);
    assert!(matches!(last.as_deref(), None | Some("41" | "1")), "{last:?}");
}

#[tokio::test]
async fn an_unusable_setting_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let error = bind(&["--listen", &taken]).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("setting listen is \"{taken}\": ")), "{error}");
    let error = bind(&["--dashboard", "/nowhere"]).await.unwrap_err().to_string();
    assert!(error.starts_with("setting dashboard is \"/nowhere\": "), "{error}");
    assert!(error.contains("; accepted: a folder that holds an index.html"), "{error}");
}
