//! A test client by WebSocket: hyper serves one end of a pipe, and this is the other one.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::TestError;
use super::builder::Head;
use super::link::{CLOSED, Outgoing, Router};
use crate::proto::engineio::{Message, Packet};
use crate::proto::frame::{self, Opcode, split_frame};
use crate::server::Server;

/// Opens a session; gives the tasks that serve, read and write.
pub(super) async fn open(
    io: &Server,
    head: &Head,
    router: &Arc<Router>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
) -> Result<JoinSet<()>, TestError> {
    let (client, host) = tokio::io::duplex(PIPE_BYTES);
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(io.clone(), head, host));
    let (reader, mut writer) = tokio::io::split(client);
    let mut reader = Reader { pipe: reader, buffer: BytesMut::new() };
    // What cannot be written shows by what is read.
    drop(writer.write_all(&handshake(head)).await);
    let (status, headers) = reader.answer_head().await;
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(TestError::Refused { status, body: reader.answer_body(&headers).await });
    }
    let router = Arc::clone(router);
    tasks.spawn(async move {
        let why = reader.read(&router).await;
        router.end(&why);
    });
    tasks.spawn(async move {
        while let Some(outgoing) = outgoing.recv().await {
            // Of a connection that has ended the reader tells.
            drop(write(&mut writer, outgoing).await);
        }
    });
    Ok(tasks)
}

/// Serves one connection, until it is upgraded or closed.
fn serve(io: Server, head: &Head, host: DuplexStream) -> impl Future<Output = ()> + use<> {
    let peer = head.peer;
    let service = service_fn(move |request| {
        let io = io.clone();
        async move { Ok::<_, Infallible>(io.engine().handle(request, peer).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(host), service);
    async move {
        // An error of hyper is the end of the pipe, which its other end sees.
        drop(connection.with_upgrades().await);
    }
}

/// The request for a WebSocket.
fn handshake(head: &Head) -> Vec<u8> {
    let own = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (SEC_WEBSOCKET_KEY, HeaderValue::from_static(KEY)),
    ];
    let mut bytes = format!("GET {} HTTP/1.1\r\n", head.target).into_bytes();
    let headers = head.headers.iter().chain(own.iter().map(|(name, value)| (name, value)));
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The client's side of what the server writes.
struct Reader {
    pipe: ReadHalf<DuplexStream>,
    buffer: BytesMut,
}

impl Reader {
    /// Reads the head of the answer. A connection that is cut is as none that is answered: a bad request.
    async fn answer_head(&mut self) -> (StatusCode, HeaderMap) {
        let end = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if !self.fill().await {
                return (StatusCode::BAD_REQUEST, HeaderMap::new());
            }
        };
        let head = self.buffer.split_to(end + 4);
        let mut lines = head[..].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        // "HTTP/1.1 101 Switching Protocols"
        let status = lines.next().and_then(|line| StatusCode::from_bytes(line.get(9..12)?).ok());
        let headers = lines.filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            Some((HeaderName::from_bytes(&line[..colon]).ok()?, value))
        });
        (status.unwrap_or(StatusCode::BAD_REQUEST), headers.collect())
    }

    async fn answer_body(&mut self, headers: &HeaderMap) -> String {
        let len = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok()).unwrap_or(0);
        while self.buffer.len() < len && self.fill().await {}
        String::from_utf8_lossy(&self.buffer[..len.min(self.buffer.len())]).into_owned()
    }

    /// Reads until the session ends; gives the reason.
    async fn read(mut self, router: &Arc<Router>) -> String {
        let mut decoder = router.decoder();
        loop {
            while let Some((opcode, payload, rest)) = split_frame(&self.buffer) {
                let packet = match opcode {
                    Opcode::Text => {
                        let text = String::from_utf8_lossy(payload).into_owned().into();
                        Packet::decode(&text).map_err(|error| format!("a frame is no packet: {error}"))
                    }
                    Opcode::Binary => Ok(Packet::Message(Message::Binary(payload.to_vec().into()))),
                    Opcode::Close => Err(CLOSED.to_owned()),
                    Opcode::Pong => Ok(Packet::Noop("".into())),
                };
                let len = self.buffer.len() - rest.len();
                self.buffer.advance(len);
                if let Err(why) = packet.and_then(|packet| router.receive(packet, &mut decoder)) {
                    return why;
                }
            }
            if !self.fill().await {
                return CLOSED.to_owned();
            }
        }
    }

    /// Reads on; `false` at the end.
    async fn fill(&mut self) -> bool {
        self.pipe.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0)
    }
}

async fn write(pipe: &mut WriteHalf<DuplexStream>, outgoing: Outgoing) -> io::Result<()> {
    match outgoing {
        Outgoing::Message(message) => {
            let mut bytes = Vec::with_capacity(message.len() + MASK.len());
            let mut frames = &message.ws4()[..];
            while let Some((opcode, payload, rest)) = split_frame(frames) {
                push_masked(&mut bytes, opcode, payload);
                frames = rest;
            }
            pipe.write_all(&bytes).await
        }
        Outgoing::Close => {
            let mut bytes = Vec::new();
            push_masked(&mut bytes, Opcode::Close, &[]);
            pipe.write_all(&bytes).await
        }
        Outgoing::Flush(written) => {
            // Whoever waited may have stopped waiting.
            let _ = written.send(());
            Ok(())
        }
    }
}

/// A client has to mask its frames; what for is no matter within a process, so the mask is one that changes nothing.
fn push_masked(into: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let mut header = [0; frame::MAX_HEADER_LEN];
    let start = frame::write_header_before(&mut header, opcode, payload.len());
    header[start + 1] |= MASKED;
    for part in [&header[start..], &MASK, payload] {
        into.extend_from_slice(part);
    }
}

/// "Defines whether the 'Payload data' is masked" (RFC 6455, section 5.2)
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0; 4];
/// Any will do: nobody checks the answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// About what the kernel takes for a TCP connection.
const PIPE_BYTES: usize = 64 * 1024;
