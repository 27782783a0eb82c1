//! TLS: what ALPN chooses, certificates that are wrong or renewed, and handshakes that do not end.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/http2_client.rs"]
mod http2_client;
#[path = "common/raw_client.rs"]
mod raw_client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferrio::{Event, HandlerError, Listening, Server, Tls, TlsError};
use futures_util::{SinkExt, StreamExt};
use http2_client::Http2Client;
use raw_client::{RawClient, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A certificate for `localhost`, signed by itself, and its key.
struct Certificate {
    chain: String,
    key: String,
}

impl Certificate {
    fn new() -> Certificate {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Certificate { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn tls(&self) -> Tls {
        Tls::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    /// Connects, trusting this certificate alone.
    async fn connect(&self, address: SocketAddr, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        soon(TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream)).await
    }
}

async fn listen(tls: &Tls) -> Listening {
    let io = Server::new();
    io.on("secure", async |event: Event| {
        let secure = event.socket().handshake().secure();
        Ok::<_, HandlerError>(event.ack(&secure)?)
    });
    io.listen_tls("127.0.0.1:0", tls.clone()).await.unwrap()
}

/// Joins the main namespace, and checks that the server knows of the TLS.
async fn check<S: AsyncRead + AsyncWrite + Unpin>(mut websocket: WebSocketStream<S>) {
    let mut say = async |packet: &'static str, expected: &str| {
        if !packet.is_empty() {
            websocket.send(Message::text(packet)).await.unwrap();
        }
        let answer = soon(websocket.next()).await.unwrap().unwrap().into_text().unwrap();
        assert!(answer.starts_with(expected), "{answer}");
    };
    say("", "0{").await;
    say("40", "40{").await;
    say(r#"420["secure"]"#, "430[true]").await;
}

#[tokio::test]
async fn http2_is_chosen_where_the_client_has_it() {
    let certificate = Certificate::new();
    let listening = listen(&certificate.tls()).await;
    let stream = certificate.connect(listening.local_addr(), &["http/1.1", "h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let client = Http2Client::over(stream, "https://localhost").await;
    assert_eq!(client.get("/socket.io/?EIO=4&transport=polling").await.status, http::StatusCode::OK);
    check(client.websocket(WEBSOCKET).await).await;
}

#[tokio::test]
async fn http1_is_spoken_otherwise() {
    let certificate = Certificate::new();
    let listening = listen(&certificate.tls()).await;
    for (offered, chosen) in [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let stream = certificate.connect(listening.local_addr(), offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        let url = format!("ws://localhost{WEBSOCKET}");
        let (websocket, answer) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        assert_eq!(answer.status(), http::StatusCode::SWITCHING_PROTOCOLS);
        check(websocket).await;
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_disturbs_no_other() {
    let certificate = Certificate::new();
    let listening = listen(&certificate.tls()).await;
    let mut plain = RawClient::connect(listening.local_addr()).await;
    plain.request("GET", WEBSOCKET, "").await;
    plain.ended().await;
    assert!(certificate.connect(listening.local_addr(), &["h2"]).await.is_ok());
    // A protocol that the server does not have ends the handshake, as RFC 7301 wants it.
    assert!(certificate.connect(listening.local_addr(), &["gopher"]).await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let tls = old.tls();
    let listening = listen(&tls).await;
    let stream = old.connect(listening.local_addr(), &["h2"]).await.unwrap();
    let client = Http2Client::over(stream, "https://localhost").await;
    assert_eq!(tls.replace(old.chain.as_bytes(), new.key.as_bytes()), Err(TlsError::KeyMismatch));
    assert!(old.connect(listening.local_addr(), &["h2"]).await.is_ok());
    tls.replace(new.chain.as_bytes(), new.key.as_bytes()).unwrap();
    assert!(old.connect(listening.local_addr(), &["h2"]).await.is_err());
    assert!(new.connect(listening.local_addr(), &["h2"]).await.is_ok());
    client.get("/").await;
    check(client.websocket(WEBSOCKET).await).await;
}

/// Time is virtual: it goes on only when all wait for it.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_does_not_hold_up_the_shutdown() {
    let listening = listen(&Certificate::new().tls()).await;
    let mut silent = TcpStream::connect(listening.local_addr()).await.unwrap();
    let mut slow = TcpStream::connect(listening.local_addr()).await.unwrap();
    // The head of a record that never comes.
    slow.write_all(&[22, 3, 1, 1, 0]).await.unwrap();
    let start = Instant::now();
    listening.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    for stream in [&mut silent, &mut slow] {
        // The end, or a reset because of what was not read.
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_given_up() {
    let listening = listen(&Certificate::new().tls()).await;
    let mut silent = TcpStream::connect(listening.local_addr()).await.unwrap();
    // Ten seconds of virtual time.
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test]
async fn shutting_down_ends_connections_over_tls() {
    let certificate = Certificate::new();
    let listening = listen(&certificate.tls()).await;
    let stream = certificate.connect(listening.local_addr(), &["h2"]).await.unwrap();
    let client = Http2Client::over(stream, "https://localhost").await;
    client.get("/").await;
    let mut websocket = client.websocket(WEBSOCKET).await;
    let shutdown = tokio::spawn(listening.shutdown());
    while soon(websocket.next()).await.is_some() {}
    drop(websocket);
    soon(shutdown).await.unwrap();
    soon(client.connection).await.unwrap().unwrap();
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let check = |chain: &str, key: &str, expected: &str| {
        let error = Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let Certificate { chain, key } = &certificate;
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    check("", key, "the chain has no certificate");
    check(key, chain, "the chain has no certificate");
    check(chain, "", "there is no private key");
    check(chain, chain, "there is no private key");
    check(chain, &encrypted, "an encrypted one cannot be used");
    check(chain, &other.key, "does not match the first certificate");
    check(&format!("{}{chain}", other.chain), key, "does not match the first certificate");
    check(not_a_certificate, key, "the certificate cannot be read: ");
    check(chain, not_a_key, "the private key cannot be read: ");
    check(&chain.replace("-----END", "-----FIN"), key, "the chain is not PEM: ");
    check(&chain.replace("MII", "!!!"), key, "the chain is not PEM: ");
    check(chain, &key.replace("-----END", "-----FIN"), "the key is not PEM: ");
}

#[test]
fn neither_a_certificate_nor_its_errors_show_the_key() {
    assert_eq!(format!("{:?}", Certificate::new().tls()), "Tls");
}
