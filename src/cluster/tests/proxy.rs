//! Proxy: stands between the link and Redis, and can make the subscribing connection deaf while it stays open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    /// Subscribing connections made before this many are deaf.
    deaf_before: Arc<AtomicUsize>,
    subscribing: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn start(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (deaf_before, subscribing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (deaf, count) = (Arc::clone(&deaf_before), Arc::clone(&subscribing));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&deaf), Arc::clone(&count)));
            }
        });
        Proxy { address, deaf_before, subscribing, task }
    }

    /// From now on those connections that have subscribed hear nothing.
    pub(super) fn deafen(&self) {
        self.deaf_before.store(self.subscribing.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, deaf: Arc<AtomicUsize>, count: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    let mut number = None;
    loop {
        tokio::select! {
            read = from_client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                if number.is_none() && up[..read].windows(9).any(|word| word == b"SUBSCRIBE") {
                    number = Some(count.fetch_add(1, Ordering::SeqCst));
                }
                if to_server.write_all(&up[..read]).await.is_err() {
                    return;
                }
            }
            read = from_server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                let is_deaf = number.is_some_and(|number| number < deaf.load(Ordering::SeqCst));
                if !is_deaf && to_client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
