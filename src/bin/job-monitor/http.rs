//! The HTTP side: events are posted here, and the page is served.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use serde::Serialize;

use crate::auth::{Claims, MAX_TOKEN_BYTES, TokenRefused};
use crate::dashboard::Page;
use crate::gateway::Monitor;
use crate::jobs::{InvalidField, JobEvent, JobId, shown};

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) page: Page,
    pub(crate) max_event_bytes: usize,
}

/// The routes; everything else is a file of the page or nothing.
pub(crate) fn routes(site: Site) -> Router {
    let socket_io = site.monitor.io().service();
    Router::new()
        .route("/health", get(health))
        .route("/jobs", get(jobs))
        .route("/jobs/{job_id}/events", post(ingest))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(page_file)
        .with_state(Arc::new(site))
        .route_service("/socket.io/", socket_io)
}

/// Why a request is not served, as `{error, …}` with its status.
#[derive(Debug)]
enum Refusal {
    BodyTooLarge {
        limit: usize,
    },
    BodyTooSlow,
    BodyUnreadable,
    InvalidField(InvalidField),
    MayNotPublish(JobId),
    MethodNotAllowed {
        accepted: &'static str,
    },
    /// What stands in the path in the place of a job's id; `None` if it is no text.
    NoJobId(Option<String>),
    NotBearer,
    NotFound,
    NotJson,
    Token(TokenRefused),
}

/// The body of every refusal.
#[derive(Debug, Serialize)]
struct Problem {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<String>,
}

async fn health() -> Response {
    json(StatusCode::OK, br#"{"ok":true}"#.to_vec())
}

async fn jobs(State(site): State<Arc<Site>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let claims = bearer(&site, &headers)?;
    let body = site.monitor.list(&claims.jobs).expect("summaries are numbers and texts, which serialise");
    Ok(json(StatusCode::OK, body))
}

async fn ingest(
    State(site): State<Arc<Site>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let claims = bearer(&site, request.headers())?;
    let id = match id {
        Ok(Path(text)) => JobId::parse(&text).map_err(|_| Refusal::NoJobId(Some(text)))?,
        Err(_) => return Err(Refusal::NoJobId(None)),
    };
    if !claims.publish.allows(&id) {
        return Err(Refusal::MayNotPublish(id));
    }
    if !is_json(request.headers()) {
        return Err(Refusal::NotJson);
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, read(request.into_body(), site.max_event_bytes))
        .await
        .map_err(|_| Refusal::BodyTooSlow)??;
    let event = JobEvent::parse(id, &body).map_err(Refusal::InvalidField)?;
    site.monitor.publish(event);
    Ok(json(StatusCode::ACCEPTED, br#"{"ok":true}"#.to_vec()))
}

async fn page_file(State(site): State<Arc<Site>>, request: Request) -> Result<Response, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::NotFound);
    }
    site.page.file(request.uri().path()).ok_or(Refusal::NotFound)
}

async fn method_not_allowed(request: Request) -> Refusal {
    // Of the routes only the one below /jobs takes something in.
    let accepted = if request.uri().path().starts_with("/jobs/") { "POST" } else { "GET or HEAD" };
    Refusal::MethodNotAllowed { accepted }
}

fn bearer(site: &Site, headers: &HeaderMap) -> Result<Claims, Refusal> {
    let header = headers.get(header::AUTHORIZATION).ok_or(Refusal::Token(TokenRefused::Missing))?;
    let token = header.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    site.monitor.tokens().verify(token.ok_or(Refusal::NotBearer)?).map_err(Refusal::Token)
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type
        .split(';')
        .next()
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads a whole body of at most `limit` bytes. A somewhat larger one is read to its end and thrown away: a client
/// that still writes would not see the answer.
async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyUnreadable)?.into_data() else { continue };
        length += data.len();
        if length <= limit {
            bytes.extend_from_slice(&data);
        } else if length > limit + MAX_THROWN_AWAY_BYTES {
            break;
        }
    }
    if length > limit { Err(Refusal::BodyTooLarge { limit }) } else { Ok(bytes) }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyUnreadable | Refusal::InvalidField(_) | Refusal::NoJobId(_) => {
                StatusCode::BAD_REQUEST
            }
            Refusal::MayNotPublish(_) => StatusCode::FORBIDDEN,
            Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::NotBearer | Refusal::Token(_) => StatusCode::UNAUTHORIZED,
        }
    }

    fn problem(self) -> Problem {
        let (error, accepted) = match self {
            Refusal::BodyTooLarge { limit } => {
                ("the event is too large".to_owned(), Some(format!("at most {limit} bytes")))
            }
            Refusal::BodyTooSlow => ("the body did not come in time".to_owned(), None),
            Refusal::BodyUnreadable => ("the body could not be read".to_owned(), None),
            Refusal::InvalidField(invalid) => {
                let error = invalid.to_string();
                return Problem { error, field: Some(invalid.field), accepted: Some(invalid.accepted) };
            }
            Refusal::MayNotPublish(id) => (format!("this token may not publish for the job {id}"), None),
            Refusal::MethodNotAllowed { accepted } => {
                ("this method is not allowed here".to_owned(), Some(accepted.to_owned()))
            }
            Refusal::NoJobId(found) => {
                let found = found.map_or_else(|| "no text".to_owned(), |text| shown(&text));
                let (field, accepted) = (Some("jobId".to_owned()), JobId::ACCEPTED.to_owned());
                let error = format!("the path's job id is {found}; accepted: {accepted}");
                return Problem { error, field, accepted: Some(accepted) };
            }
            Refusal::NotBearer => {
                ("this kind of authorization is not accepted".to_owned(), Some(AUTHORIZATION.to_owned()))
            }
            Refusal::NotFound => (
                "there is nothing here".to_owned(),
                Some("POST /jobs/{jobId}/events, GET /jobs, GET /health, and the dashboard at /".to_owned()),
            ),
            Refusal::NotJson => {
                ("the content type is not accepted".to_owned(), Some("application/json".to_owned()))
            }
            Refusal::Token(TokenRefused::TooLong) => {
                (TokenRefused::TooLong.to_string(), Some(format!("at most {MAX_TOKEN_BYTES} bytes")))
            }
            Refusal::Token(refused) => (refused.to_string(), Some(AUTHORIZATION.to_owned())),
        };
        Problem { error, field: None, accepted }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, is_token) = (self.status(), matches!(self, Refusal::NotBearer | Refusal::Token(_)));
        let body = serde_json::to_vec(&self.problem()).expect("texts serialise");
        let mut response = json(status, body);
        if is_token {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

const AUTHORIZATION: &str = "Authorization: Bearer, and a token";
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_THROWN_AWAY_BYTES: usize = 1 << 20;
