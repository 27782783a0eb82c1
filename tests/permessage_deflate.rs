//! permessage-deflate over real sockets: what is agreed upon, and what is on the wire then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;

use ferrio::engine::{CloseReason, Connection, Engine, EngineConfig, EngineHandler, Message};
use ferrio::proto::EncodedMessage;
use ferrio::{Listening, PerMessageDeflate, Server, Socket};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A client that speaks permessage-deflate, frame by frame.
struct Client {
    stream: TcpStream,
    compress: Compress,
    decompress: Decompress,
    head: String,
}

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(std::time::Duration::from_secs(10), future).await.expect("it happens within ten seconds")
}

impl Client {
    async fn connect(address: SocketAddr, target: &str, offer: &str) -> Client {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let compress = Compress::new(Compression::default(), false);
        Client { stream, compress, decompress: Decompress::new(false), head }
    }

    fn answered(&self, line: &str) -> bool {
        self.head.lines().any(|other| other.eq_ignore_ascii_case(line))
    }

    async fn frame(&mut self, first_byte: u8, payload: &[u8]) {
        let mut frame = vec![first_byte, 0x80 | 126];
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend([9, 8, 7, 6]);
        frame.extend(payload.iter().zip([9, 8, 7, 6].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await.unwrap();
    }

    fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut deflated = Vec::with_capacity(payload.len() + 100);
        self.compress.compress_vec(payload, &mut deflated, FlushCompress::Sync).unwrap();
        deflated.truncate(deflated.len() - 4);
        deflated
    }

    async fn text(&mut self, text: &str) {
        let deflated = self.deflate(text.as_bytes());
        self.frame(0xC1, &deflated).await;
    }

    /// The next frame: its first byte and its payload as it is on the wire.
    async fn raw(&mut self) -> (u8, Vec<u8>) {
        let first_byte = soon(self.stream.read_u8()).await.unwrap();
        let len = match soon(self.stream.read_u8()).await.unwrap() {
            126 => usize::from(soon(self.stream.read_u16()).await.unwrap()),
            127 => soon(self.stream.read_u64()).await.unwrap() as usize,
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        soon(self.stream.read_exact(&mut payload)).await.unwrap();
        (first_byte, payload)
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut inflated = Vec::with_capacity(1 << 20);
        let payload = [payload, &[0, 0, 0xff, 0xff]].concat();
        self.decompress.decompress_vec(&payload, &mut inflated, FlushDecompress::Sync).unwrap();
        inflated
    }

    /// The next message, which is compressed.
    async fn compressed(&mut self) -> String {
        let (first_byte, payload) = self.raw().await;
        assert_eq!(first_byte, 0xC1, "{payload:x?}");
        String::from_utf8(self.inflate(&payload)).unwrap()
    }

    /// The next message, which is not compressed.
    async fn plain(&mut self) -> String {
        let (first_byte, payload) = self.raw().await;
        assert_eq!(first_byte, 0x81, "{payload:x?}");
        String::from_utf8(payload).unwrap()
    }

    async fn ended(&mut self) {
        let mut rest = Vec::new();
        soon(self.stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
    }
}

const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// Sends every message back and tells how connections end.
struct Echo(mpsc::UnboundedSender<CloseReason>);

impl EngineHandler for Echo {
    type Client = Arc<Connection>;

    fn on_open(&self, connection: &Arc<Connection>, _cx: &mut Context<'_>) -> Arc<Connection> {
        Arc::clone(connection)
    }

    fn on_message(&self, client: &mut Arc<Connection>, message: Message, _cx: &mut Context<'_>) {
        let message = match message {
            Message::Text(text) => EncodedMessage::text(&format!("4{text}")),
            Message::Binary(data) => EncodedMessage::binary(&data),
        };
        client.send(Arc::new(message.with_compress(false))).unwrap();
    }

    fn on_close(&self, _client: Arc<Connection>, reason: CloseReason) {
        // A test that has ended does not listen any more.
        let _ = self.0.send(reason);
    }
}

async fn echo(
    change: impl FnOnce(&mut EngineConfig),
) -> (Engine<Echo>, Listening, mpsc::UnboundedReceiver<CloseReason>) {
    let (sender, ends) = mpsc::unbounded_channel();
    let mut config = EngineConfig::default();
    config.per_message_deflate = Some(PerMessageDeflate::default());
    change(&mut config);
    let engine = Engine::new(config, Arc::new(Echo(sender))).unwrap();
    let listening = engine.listen("127.0.0.1:0").await.unwrap();
    (engine, listening, ends)
}

const TARGET: &str = "/engine.io/?EIO=4&transport=websocket";

#[tokio::test]
async fn all_is_compressed_both_ways_even_what_asks_for_no_compression() {
    let (_engine, listening, _ends) = echo(|_| ()).await;
    let mut client = Client::connect(listening.local_addr(), TARGET, OFFER).await;
    let extensions = client.head.find("ermessage-deflate\r\n").unwrap();
    assert!(client.head.to_ascii_lowercase().find("sec-websocket-protocol").unwrap() < extensions);
    assert!(client.compressed().await.starts_with("0{"));
    for text in ["4hello", "4hello", "4", &format!("4{}", "abc ".repeat(10_000))] {
        client.text(text).await;
        assert_eq!(client.compressed().await, text);
    }
    // A message in the clear, fragments, a ping between them, binary.
    client.frame(0x81, b"4in the clear").await;
    assert_eq!(client.compressed().await, "4in the clear");
    let deflated = client.deflate(b"4in pieces");
    client.frame(0x41, &deflated[..4]).await;
    client.frame(0x89, b"ping").await;
    client.frame(0x80, &deflated[4..]).await;
    assert_eq!(client.raw().await, (0x8A, b"ping".to_vec()));
    assert_eq!(client.compressed().await, "4in pieces");
    let deflated = client.deflate(&[1, 2, 3]);
    client.frame(0xC2, &deflated).await;
    let (first_byte, payload) = client.raw().await;
    assert_eq!((first_byte, client.inflate(&payload)), (0xC2, vec![1, 2, 3]));
    // Close frames are not compressed.
    client.frame(0x88, &[]).await;
    assert_eq!(client.raw().await, (0x88, vec![]));
    client.ended().await;
}

#[tokio::test]
async fn binary_as_base64_is_compressed_as_well() {
    let (_engine, listening, _ends) = echo(|_| ()).await;
    let mut client = Client::connect(listening.local_addr(), &format!("{TARGET}&b64=1"), OFFER).await;
    assert!(client.compressed().await.starts_with("0{"));
    client.frame(0x82, &[1, 2, 3]).await;
    assert_eq!(client.compressed().await, "bAQID");
}

#[tokio::test]
async fn without_takeover_only_large_packets_are_compressed() {
    let (_engine, listening, _ends) = echo(|_| ()).await;
    let offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let mut client = Client::connect(listening.local_addr(), TARGET, offer).await;
    assert!(client.answered(&format!("Sec-WebSocket-Extensions: {offer}")));
    assert!(client.plain().await.starts_with("0{"));
    let (small, large) = (format!("4{}", "x".repeat(1022)), format!("4{}", "x".repeat(1023)));
    for _ in 0..2 {
        client.compress.reset();
        client.text(&small).await;
        assert_eq!(client.plain().await, small);
        client.compress.reset();
        client.text(&large).await;
        client.decompress.reset(false);
        assert_eq!(client.compressed().await, large);
    }
}

#[tokio::test]
async fn a_client_that_does_not_offer_it_is_served_without() {
    let (_engine, listening, _ends) = echo(|_| ()).await;
    let mut client = Client::connect(listening.local_addr(), TARGET, "foo").await;
    assert!(!client.head.to_ascii_lowercase().contains("sec-websocket-extensions"));
    assert!(client.plain().await.starts_with("0{"));
    client.text("4x").await;
    assert_eq!(client.raw().await, (0x88, 1002_u16.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn without_the_option_offers_are_not_read() {
    let (_engine, listening, _ends) = echo(|config| config.per_message_deflate = None).await;
    let mut client = Client::connect(listening.local_addr(), TARGET, "permessage-deflate; foo;;").await;
    assert!(client.head.starts_with("HTTP/1.1 101"));
    assert!(client.plain().await.starts_with("0{"));
}

#[tokio::test]
async fn an_unacceptable_offer_is_refused() {
    let (_engine, listening, _ends) = echo(|_| ()).await;
    let mut client = Client::connect(listening.local_addr(), TARGET, "permessage-deflate; foo").await;
    assert!(client.head.starts_with("HTTP/1.1 400"));
    let mut body = String::new();
    soon(client.stream.read_to_string(&mut body)).await.unwrap();
    assert_eq!(body, "Invalid or unacceptable Sec-WebSocket-Extensions header");
}

#[tokio::test]
async fn what_is_corrupt_or_too_large_is_a_transport_error() {
    let (_engine, listening, mut ends) = echo(|config| config.max_http_buffer_size = 50_000).await;
    let bomb = {
        let mut deflated = Vec::with_capacity(100_000);
        let mut compress = Compress::new(Compression::default(), false);
        compress.compress_vec(&vec![b'4'; 20_000_000], &mut deflated, FlushCompress::Sync).unwrap();
        deflated.truncate(deflated.len() - 4);
        deflated
    };
    assert!(bomb.len() < 50_000);
    for (payload, code) in [(&[0xff; 4][..], 1007_u16), (&bomb, 1009)] {
        let mut client = Client::connect(listening.local_addr(), TARGET, OFFER).await;
        assert!(client.compressed().await.starts_with("0{"));
        client.frame(0xC1, payload).await;
        assert_eq!(client.raw().await, (0x88, code.to_be_bytes().to_vec()));
        client.ended().await;
        assert_eq!(soon(ends.recv()).await, Some(CloseReason::TransportError));
    }
}

#[tokio::test]
async fn an_upgraded_session_is_compressed_from_its_probe_on() {
    let (_engine, listening, _ends) = echo(|_| ()).await;
    let mut polling = TcpStream::connect(listening.local_addr()).await.unwrap();
    let request = "GET /engine.io/?EIO=4&transport=polling HTTP/1.0\r\nHost: localhost\r\n\r\n";
    polling.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(polling.read_to_string(&mut answer)).await.unwrap();
    let sid = answer.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap();
    let mut client = Client::connect(listening.local_addr(), &format!("{TARGET}&sid={sid}"), OFFER).await;
    client.text("2probe").await;
    assert_eq!(client.compressed().await, "3probe");
    client.text("5").await;
    client.text("4hello").await;
    assert_eq!(client.compressed().await, "4hello");
}

#[tokio::test]
async fn a_broadcast_reaches_those_with_and_those_without_compression() {
    let mut options = PerMessageDeflate::default();
    options.server_no_context_takeover = Some(true);
    let io = Server::builder().per_message_deflate(options).build().unwrap();
    let (sender, mut connected) = mpsc::unbounded_channel();
    io.on_connect(move |_: Socket| {
        sender.send(()).unwrap();
        async {}
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut clients = Vec::new();
    for offer in [OFFER, OFFER, "foo"] {
        let mut client = Client::connect(listening.local_addr(), target, offer).await;
        assert!(client.plain().await.starts_with("0{"));
        client.frame(0x81, b"40").await;
        assert!(client.plain().await.starts_with("40{"));
        soon(connected.recv()).await.unwrap();
        clients.push(client);
    }
    let news = "news ".repeat(1000);
    io.emit("news", &news).unwrap();
    let expected = format!(r#"42["news","{news}"]"#);
    assert_eq!(clients[2].plain().await, expected);
    let raw = clients[0].raw().await;
    assert!(raw.1.len() < 100);
    assert_eq!(clients[1].raw().await, raw);
    assert_eq!(clients[0].inflate(&raw.1), expected.as_bytes());
}
