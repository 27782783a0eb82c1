//! A client that sends faster than its events are handled, over TCP: it has to wait, and nothing is lost.

#![allow(clippy::unwrap_used)] // a test fails by it

#[path = "common/raw_client.rs"]
mod raw_client;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferrio::{Event, HandlerError, Server};
use raw_client::{RawClient, soon};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

/// An event of 8 KiB as a masked WebSocket frame.
fn frame() -> Vec<u8> {
    let payload = format!("42[\"x\",\"{}\"]", "x".repeat(8 * 1024));
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload.as_bytes());
    frame
}

/// Sends events until the server has stopped reading and the operating system takes no more; then lets the handlers go.
async fn flood(io: Server, gate: Arc<Semaphore>, begun: Arc<AtomicUsize>, begin_at_most: usize) {
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    let mut client = RawClient::connect(listening.local_addr()).await;
    assert_eq!(client.upgrade("/socket.io/?EIO=4&transport=websocket").await.status, 101);
    client.text("40").await;

    let (frame, mut sent, mut events) = (frame(), 0, 0);
    soon(async {
        loop {
            match client.stream.try_write(&frame[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock && io.stats().inbound_paused > 0 => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
            if sent == frame.len() {
                (sent, events) = (0, events + 1);
            }
        }
    })
    .await;
    assert!(begun.load(Ordering::SeqCst) <= begin_at_most);
    gate.add_permits(Semaphore::MAX_PERMITS);
    client.stream.write_all(&frame[sent..]).await.unwrap();
    client.text("421[\"end\"]").await;
    while client.next_text().await != "431[]" {}
    assert_eq!(begun.load(Ordering::SeqCst), events + 1);
}

/// What each handler here does: it waits at the gate.
fn waits(
    gate: &Arc<Semaphore>,
    begun: &Arc<AtomicUsize>,
) -> impl Fn(Event) -> futures_util::future::BoxFuture<'static, Result<(), HandlerError>> + Send + Sync + 'static
{
    let (gate, begun) = (Arc::clone(gate), Arc::clone(begun));
    move |_| {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        Box::pin(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            drop(gate.acquire().await?);
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_while_too_many_handlers_do() {
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::default());
    let io = Server::builder().max_waiting_handlers(100).build().unwrap();
    io.on("x", waits(&gate, &begun));
    io.on("end", async |event: Event| event.ack(&()));
    flood(io, gate, begun, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_while_too_much_stands_in_the_row_of_its_serial_handlers() {
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::default());
    let io = Server::new();
    io.on_serial("x", waits(&gate, &begun));
    io.on_serial("end", async |event: Event| event.ack(&()));
    flood(io, gate, begun, 1).await;
}
