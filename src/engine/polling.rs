//! HTTP long-polling: GET waits for packets, POST brings them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE, USER_AGENT,
};
use http::{Extensions, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use super::connection::{Connection, OpenRequest};
use super::driver::Driver;
use super::hooks::RequestHead;
use super::http_compression::{Encoding, compress};
use super::{Engine, EngineHandler, Refusal, ResponseBody, jsonp, now};
use crate::proto::EncodedMessage;
use crate::proto::engineio::{
    EngineQuery, Payload, PollMethod, Revision, TransportKind, Via, polling_body_v3, polling_body_v4,
};

/// An answer, or why there is none.
pub(crate) type Answer = Result<Response<ResponseBody>, Refusal>;

impl<H: EngineHandler> Engine<H> {
    /// Opens a session over polling; answers with its open packet.
    pub(crate) async fn open_polling(
        &self,
        head: &RequestHead,
        query: &EngineQuery,
        extensions: Extensions,
    ) -> Answer {
        let connection = self.open(TransportKind::Polling, head, query, extensions).await?;
        let mut messages = VecDeque::new();
        {
            let mut state = connection.state();
            let session = &mut state.session;
            // The handshake is the session's first GET: it cannot overlap, and finds the open packet.
            if session.handle_request(now(), PollMethod::Get).is_ok() {
                session.poll_transmit(now(), Via::Polling, &mut messages);
                session.handle_request_end(now(), PollMethod::Get);
            }
            let bytes = messages.iter().map(|message| message.weight()).sum();
            session.handle_transmitted(now(), Via::Polling, bytes);
        }
        tokio::spawn(Driver::polling(Arc::clone(&self.shared), Arc::clone(&connection)));
        // The handler knows of the session before the client does.
        connection.settle().await;
        Ok(self.packets_response(&connection, head, &messages, true).await)
    }

    pub(crate) async fn poll(&self, connection: &Arc<Connection>, head: &RequestHead) -> Answer {
        let Some(request) = begin(connection, PollMethod::Get).await? else {
            return Ok(status(StatusCode::BAD_REQUEST));
        };
        let messages = request.packets().await;
        let answer = match messages {
            Some(messages) => Ok(self.packets_response(connection, head, &messages, false).await),
            None => Err(unknown(connection)),
        };
        request.answered();
        answer
    }

    pub(crate) async fn post<B>(&self, connection: &Arc<Connection>, head: &RequestHead, body: B) -> Answer
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
    {
        let open = match begin(connection, PollMethod::Post).await {
            Ok(Some(open)) => open,
            refused => {
                self.drain_body(body);
                return refused.map(|_| status(StatusCode::BAD_REQUEST));
            }
        };
        let revision = connection.request().revision;
        let is_binary =
            head.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/octet-stream");
        if is_binary && revision == Revision::V4 {
            connection.change(|session| session.handle_invalid_request(now()));
            drop(open);
            self.drain_body(body);
            return Ok(status(StatusCode::BAD_REQUEST));
        }
        let limit = self.shared.config.max_http_buffer_size;
        let body = tokio::select! {
            biased;
            () = open.closed() => return Ok(cut()),
            body = read_body(body, limit) => body,
        };
        match body {
            Ok(body) => {
                match payload(body, connection, is_binary) {
                    Some(payload) => open.process(payload).await,
                    None => open.end(),
                }
                Ok(self.ok_response(head))
            }
            Err(BodyError::Lost) => Ok(cut()),
            Err(BodyError::TooLarge(rest)) => {
                open.end();
                self.drain_body(rest);
                Ok(status(StatusCode::PAYLOAD_TOO_LARGE))
            }
        }
    }

    /// 200 with packets; `initial`: it is the answer to the handshake.
    async fn packets_response(
        &self,
        connection: &Connection,
        head: &RequestHead,
        messages: &VecDeque<Arc<EncodedMessage>>,
        initial: bool,
    ) -> Response<ResponseBody> {
        let (body, content_type) = body(connection, messages);
        let compress = messages.iter().any(|message| message.compress());
        let compression = self.shared.config.http_compression.as_ref().filter(|_| compress);
        let encoding = compression.and_then(|compression| {
            compression.encoding(head.headers(), body.len()).map(|encoding| (encoding, compression.level))
        });
        let mut response = match encoding {
            None => Response::new(ResponseBody::new(body.into())),
            Some((encoding, level)) => {
                let Some(body) = compressed(body, encoding, level).await else { return cut() };
                let mut response = Response::new(ResponseBody::chunked(body));
                response.headers_mut().insert(CONTENT_ENCODING, encoding.header_value());
                response
            }
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(cookie) = self.shared.config.cookie.as_ref().filter(|_| initial) {
            response.headers_mut().append(SET_COOKIE, cookie.header_value(connection.id().expose()));
        }
        self.finish(response, head, initial)
    }

    /// 200 for a POST.
    fn ok_response(&self, head: &RequestHead) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::new(Bytes::from_static(b"ok")));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        self.finish(response, head, false)
    }

    /// The headers that all answers with 200 have.
    fn finish(
        &self,
        mut response: Response<ResponseBody>,
        head: &RequestHead,
        initial: bool,
    ) -> Response<ResponseBody> {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if is_old_explorer(head.headers()) {
            headers.insert("x-xss-protection", HeaderValue::from_static("0"));
        }
        self.call_header_hooks(headers, head, initial);
        response
    }
}

/// The body of an answer with packets, and its content type.
fn body(connection: &Connection, messages: &VecDeque<Arc<EncodedMessage>>) -> (Vec<u8>, &'static str) {
    const TEXT: &str = "text/plain; charset=UTF-8";
    let request = connection.request();
    let messages = messages.iter().map(|message| &**message);
    // A script cannot hold bytes: where Node writes what no client reads, a JSONP client gets base64.
    let base64 = request.base64 || request.jsonp.is_some();
    let (body, is_binary) = match request.revision {
        Revision::V4 => (polling_body_v4(messages), false),
        Revision::V3 => polling_body_v3(messages, base64),
    };
    match &request.jsonp {
        Some(index) => (jsonp::wrap(index, &String::from_utf8_lossy(&body)).into_bytes(), TEXT),
        None if is_binary => (body, "application/octet-stream"),
        None => (body, TEXT),
    }
}

/// Compresses a body; a large one beside the runtime's workers, which have others to serve.
/// `None` while the runtime shuts down.
async fn compressed(body: Vec<u8>, encoding: Encoding, level: u32) -> Option<Bytes> {
    if body.len() < LARGE_BODY {
        return Some(compress(&body, encoding, level).into());
    }
    let compressed = tokio::task::spawn_blocking(move || Bytes::from(compress(&body, encoding, level))).await;
    compressed.ok()
}

/// What takes more than a millisecond or so to compress.
const LARGE_BODY: usize = 64 * 1024;

/// The packets of a POST; `None` if it is a form without the field that carries them.
fn payload(body: Bytes, connection: &Connection, is_binary: bool) -> Option<Payload> {
    let request = connection.request();
    let text = match &request.jsonp {
        // As on Node, a script's form is one whatever it says of itself.
        Some(_) => jsonp::payload_of_form(&lossy_text(&body))?.into(),
        None if is_binary => return Some(Payload::decode_v3_binary(body)),
        None => lossy_text(&body),
    };
    Some(match request.revision {
        Revision::V4 => Payload::decode(text),
        Revision::V3 => Payload::decode_v3_text(text),
    })
}

fn unknown(connection: &Connection) -> Refusal {
    Refusal::UnknownSession { sid: connection.id().expose().to_owned() }
}

/// Begins a GET or POST; `None` when it overlaps with another one.
///
/// When another one is open, its client may just have aborted it, on a TCP connection of its own: Node would have seen
/// that first, so its host gets a moment to notice.
async fn begin(connection: &Arc<Connection>, method: PollMethod) -> Result<Option<OpenRequest>, Refusal> {
    for _ in 0..ABORT_NOTICE_STEPS {
        if !connection.state().session.is_open_request(method) {
            break;
        }
        tokio::time::sleep(ABORT_NOTICE).await;
    }
    if connection.is_closed() {
        connection.settle().await;
        return Err(unknown(connection));
    }
    Ok(connection.begin_request(method).ok())
}

/// Overlapping requests end the session anyway; up to 5 × 2 ms later does no harm.
const ABORT_NOTICE: Duration = Duration::from_millis(2);
const ABORT_NOTICE_STEPS: usize = 5;

enum BodyError<B> {
    /// The client went away.
    Lost,
    /// More than the limit; this is the rest.
    TooLarge(B),
}

/// Reads a body of at most `limit` bytes.
async fn read_body<B: Body + Unpin>(mut body: B, limit: usize) -> Result<Bytes, BodyError<B>> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(BodyError::Lost) };
        let Ok(mut data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > limit {
            return Err(BodyError::TooLarge(body));
        }
        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    Ok(bytes.freeze())
}

/// A body as text; invalid UTF-8 becomes U+FFFD.
fn lossy_text(bytes: &Bytes) -> ByteString {
    let lossy = |_| ByteString::from(String::from_utf8_lossy(bytes).into_owned());
    ByteString::try_from(bytes.clone()).unwrap_or_else(lossy)
}

impl<H: EngineHandler> Engine<H> {
    /// Reads and drops a body that nobody wants, within reason, beside the answer: a client that is still sending would
    /// not see the answer if the connection were closed over it.
    pub(crate) fn drain_body<B>(&self, mut body: B)
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
    {
        if body.is_end_stream() {
            return;
        }
        let (task, closing) = (self.shared.registry.task(), self.shared.registry.closing());
        tokio::spawn(async move {
            let _task = task;
            let drain = async {
                let mut bytes = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    bytes += frame.data_ref().map_or(0, Buf::remaining);
                    if bytes > DRAIN_BYTES {
                        break;
                    }
                }
            };
            tokio::select! {
                _ = tokio::time::timeout(DRAIN_TIME, drain) => {}
                () = closing => {}
            }
        });
    }
}

/// So much may come before the TCP connection is cut.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// The browsers to which Node sends `X-XSS-Protection: 0`.
fn is_old_explorer(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    let contains = |needle: &[u8]| memchr::memmem::find(agent, needle).is_some();
    contains(b";MSIE") || contains(b"Trident/")
}

pub(crate) fn status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    response
}

/// In the extensions of an answer: Node would cut the TCP connection without an answer here. A host that can do so
/// should ([`Engine::listen`] does); the others send the answer, a 400 with `Connection: close`.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

pub(crate) fn cut() -> Response<ResponseBody> {
    let mut response = status(StatusCode::BAD_REQUEST);
    response.extensions_mut().insert(Cut);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}
