//! HTTP and WebSocket by hand, to stop where a proper client would not.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One TCP connection to a server.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    pub async fn connect(port: u16) -> Result<Raw> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Raw { stream, received: Vec::new() })
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// The body of the next response, or nothing with a 101; any other status but 200 is an error.
    pub async fn response(&mut self) -> Result<String> {
        let head_length = loop {
            match self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(position) => break position + 4,
                None => self.receive().await?,
            }
        };
        let head = self.take(head_length).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or("");
        if status == "101" {
            return Ok(String::new());
        }
        if status != "200" {
            return Err(Error::other(head));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|length| length.trim().parse().ok());
        let length = length.ok_or_else(|| Error::other("a response without Content-Length"))?;
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(self.take(length))
    }

    /// The text of the next WebSocket message, or `None` if it is a close frame.
    pub async fn message(&mut self) -> Result<Option<String>> {
        self.receive_up_to(2).await?;
        let (code, short) = (self.received[0], usize::from(self.received[1]));
        let (head, length) = match short {
            126 => {
                self.receive_up_to(4).await?;
                (4, usize::from(u16::from_be_bytes([self.received[2], self.received[3]])))
            }
            127 => return Err(Error::other("a message larger than any that is expected")),
            length => (2, length),
        };
        self.receive_up_to(head + length).await?;
        self.take(head);
        let payload = self.take(length);
        Ok((code != FIN | CLOSE).then_some(payload))
    }

    /// Sends a short text as a WebSocket message.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        self.frame(TEXT, text).await
    }

    /// Sends a close frame, and reads until the server ends the connection.
    pub async fn close(&mut self) -> Result<()> {
        self.frame(CLOSE, "").await?;
        loop {
            match self.receive().await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the drop reset the connection instead of ending it.
    pub fn reset_on_drop(&self) {
        // If it is closed already, there is nothing to reset.
        let _ = self.stream.set_zero_linger();
    }

    async fn frame(&mut self, code: u8, payload: &str) -> Result<()> {
        let length = u8::try_from(payload.len()).expect("the text is short");
        assert!(length < 126, "the text is short");
        // The mask is zero: the payload stays as it is.
        let mut frame = vec![FIN | code, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload.as_bytes());
        self.write(frame).await
    }

    async fn receive_up_to(&mut self, length: usize) -> Result<()> {
        while self.received.len() < length {
            self.receive().await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, length: usize) -> String {
        let taken: Vec<u8> = self.received.drain(..length).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }
}

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// The requests of one polling session.
pub struct Requests {
    host: String,
    query: String,
}

impl Requests {
    /// Those that open a session.
    pub fn opening(port: u16) -> Requests {
        Requests { host: format!("127.0.0.1:{port}"), query: "/socket.io/?EIO=4".to_owned() }
    }

    /// Those of the session that `handshake`, the body of an answer, has opened.
    pub fn of_session(port: u16, handshake: &str) -> Result<Requests> {
        let sid = handshake.strip_prefix(r#"0{"sid":""#).and_then(|rest| rest.split('"').next());
        let sid = sid.ok_or_else(|| Error::other(format!("no handshake: {handshake}")))?;
        let mut requests = Requests::opening(port);
        requests.query.push_str("&sid=");
        requests.query.push_str(sid);
        Ok(requests)
    }

    pub fn get(&self) -> String {
        format!("GET {}&transport=polling HTTP/1.1\r\nHost: {}\r\n\r\n", self.query, self.host)
    }

    pub fn post(&self, body: &str) -> String {
        format!(
            "POST {}&transport=polling HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain;charset=UTF-8\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.query,
            self.host,
            body.len()
        )
    }

    pub fn websocket(&self) -> String {
        format!(
            "GET {}&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            self.query, self.host
        )
    }
}

/// The packets of a polling body.
pub fn packets(body: &str) -> impl Iterator<Item = &str> {
    body.split('\x1e')
}
