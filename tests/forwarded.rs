//! Behind a reverse proxy: whom `handshake.address` and `handshake.secure` speak of.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/raw_client.rs"]
mod raw_client;

use ferrio::{Event, ForwardedHeader, HandlerError, Listening, Server, ServerBuilder};
use raw_client::{RawClient, sid};
use tokio::io::AsyncWriteExt;

async fn listen(builder: ServerBuilder) -> Listening {
    let io = builder.build().unwrap();
    io.on("who", async |event: Event| {
        let socket = event.socket().clone();
        Ok::<_, HandlerError>(event.ack(&(socket.handshake().address(), socket.handshake().secure()))?)
    });
    io.listen("127.0.0.1:0").await.unwrap()
}

/// What the server thinks of a session that is opened by polling with these headers.
async fn by_polling(listening: &Listening, headers: &str) -> String {
    let mut client = RawClient::connect(listening.local_addr()).await;
    let open = "/socket.io/?EIO=4&transport=polling";
    let request = format!("GET {open} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    client.stream.write_all(request.as_bytes()).await.unwrap();
    let target = format!("{open}&sid={}", sid(&client.answer().await.body));
    // It is the handshake that counts, not what comes after it.
    assert_eq!(client.post(&target, "40\u{1e}420[\"who\"]").await.body, "ok");
    let body = client.get(&target).await.body;
    body.split_once("\u{1e}430").unwrap().1.to_owned()
}

/// The same over a WebSocket.
async fn by_websocket(listening: &Listening, headers: &str) -> String {
    let mut client = RawClient::connect(listening.local_addr()).await;
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {headers}\r\n"
    );
    client.stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(client.answer().await.status, 101);
    client.next_text().await;
    client.text("40").await;
    client.next_text().await;
    client.text("420[\"who\"]").await;
    client.next_text().await.strip_prefix("430").unwrap().to_owned()
}

async fn check(listening: &Listening, headers: &str, expected: &str) {
    assert_eq!(by_polling(listening, headers).await, expected);
    assert_eq!(by_websocket(listening, headers).await, expected);
}

const X_FORWARDED: &str =
    "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\n";

#[tokio::test]
async fn nobody_is_believed_by_default() {
    check(&listen(Server::builder()).await, X_FORWARDED, r#"["127.0.0.1",false]"#).await;
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_not_believed() {
    let listening = listen(Server::builder().trusted_proxies(["10.0.0.0/8"])).await;
    check(&listening, X_FORWARDED, r#"["127.0.0.1",false]"#).await;
}

#[tokio::test]
async fn a_trusted_proxy_tells_address_and_protocol() {
    let listening = listen(Server::builder().trusted_proxies(["127.0.0.1", "10.0.0.0/8"])).await;
    check(&listening, X_FORWARDED, r#"["203.0.113.7",true]"#).await;
    check(&listening, "X-Forwarded-For: [2001:db8::17]:4711\r\n", r#"["2001:db8::17",false]"#).await;
    check(&listening, "Forwarded: for=203.0.113.8\r\n", r#"["127.0.0.1",false]"#).await;
    check(&listening, "", r#"["127.0.0.1",false]"#).await;
}

#[tokio::test]
async fn the_standard_header_can_be_chosen() {
    let builder =
        Server::builder().trusted_proxies(["127.0.0.0/8"]).forwarded_header(ForwardedHeader::Forwarded);
    let listening = listen(builder).await;
    let forwarded = "Forwarded: for=6.6.6.6, for=\"[2001:db8::17]:4711\";proto=https\r\n";
    check(&listening, forwarded, r#"["2001:db8::17",true]"#).await;
    check(&listening, X_FORWARDED, r#"["127.0.0.1",false]"#).await;
}

#[test]
fn a_proxy_that_is_no_address_is_refused() {
    let error = Server::builder().trusted_proxies(["10.0.0.0/8", "my-proxy"]).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "option trusted_proxies is \"my-proxy\", accepted is addresses (\"192.0.2.1\", \"2001:db8::1\") and ranges \
         (\"192.0.2.0/24\", \"2001:db8::/32\")"
    );
}
