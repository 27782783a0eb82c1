//! RawClient: HTTP/1.1 and WebSocket frames by hand, so that a test says exactly what is on the wire.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One TCP connection.
pub struct RawClient {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A bound on every wait: nothing here takes long unless it is broken.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it happens within ten seconds")
}

impl RawClient {
    pub async fn connect(address: SocketAddr) -> RawClient {
        RawClient { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Sends a request without waiting for its answer.
    pub async fn request(&mut self, method: &str, target: &str, body: &str) {
        let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, "").await;
        self.answer().await
    }

    pub async fn post(&mut self, target: &str, body: &str) -> Answer {
        self.request("POST", target, body).await;
        self.answer().await
    }

    async fn fill(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        let count = soon(self.stream.read(&mut chunk)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..count]);
        count
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert_ne!(self.fill().await, 0, "the server ended the connection without an answer");
        }
    }

    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        let length = length.unwrap_or(0);
        while self.buffer.len() < length {
            assert_ne!(self.fill().await, 0, "the body is cut");
        }
        let body: Vec<u8> = self.buffer.drain(..length).collect();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Performs a WebSocket handshake.
    pub async fn upgrade(&mut self, target: &str) -> Answer {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.answer().await
    }

    /// Sends a masked frame (the mask is zero, so that the payload is readable).
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.unwrap();
    }

    pub async fn text(&mut self, text: &str) {
        self.frame(1, text.as_bytes()).await;
    }

    /// The next frame as opcode and payload; `None` at the end of the stream.
    pub async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((header, length)) = frame_length(&self.buffer)
                && self.buffer.len() >= header + length
            {
                let opcode = self.buffer[0] & 0x0F;
                let frame: Vec<u8> = self.buffer.drain(..header + length).collect();
                return Some((opcode, frame[header..].to_vec()));
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    pub async fn next_text(&mut self) -> String {
        let (opcode, payload) = self.next_frame().await.expect("a frame, not the end");
        assert_eq!(opcode, 1, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// Reads until the server ends the stream.
    pub async fn ended(&mut self) {
        while self.fill().await > 0 {}
    }
}

fn frame_length(buffer: &[u8]) -> Option<(usize, usize)> {
    let length = usize::from(buffer.get(1)? & 0x7F);
    match length {
        126 => Some((4, usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().unwrap())))),
        127 => Some((10, u64::from_be_bytes(buffer.get(2..10)?.try_into().unwrap()) as usize)),
        _ => Some((2, length)),
    }
}

/// The session id in an open packet.
pub fn sid(open: &str) -> String {
    open.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}
