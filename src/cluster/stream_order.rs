//! The one order in which a server's clients hear what the stream holds, with the offsets by which they come back.
//!
//! What this server emits itself is delivered when it is read back, in its place between the events of others. Answers to
//! `XADD` come in the order of the emits, and so do the entries: an entry is the oldest emit whose answer has its id. An emit
//! that is not added in time is delivered without an offset, once; if its entry comes after all, nobody waits for it.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::node::{Node, options};
use super::status::LinkError;
use super::streams_adapter::{Streams, position, receive_message};
use crate::proto::cluster::streams::Offset;
use crate::proto::cluster::{Body, EventPacket, Message, Opts};
use crate::sync::Mutex;

/// Takes what is emitted and what is read. Its receiver waits for an answer of Redis half a second at the most, so little
/// gathers here.
#[derive(Debug)]
pub(super) struct InOrder(Mutex<mpsc::UnboundedSender<Item>>);

pub(super) enum Item {
    Emitted(Emitted),
    Read { id: Offset, text: String, is_own: bool, message: Message },
}

/// An event of this server, on its way through the stream.
pub(super) struct Emitted {
    packet: EventPacket,
    opts: Opts,
    added: Added,
}

enum Added {
    Waits(BoxFuture<'static, Result<String, LinkError>>),
    /// It is in the stream with this id.
    Is(Offset),
}

impl InOrder {
    pub(super) fn new() -> (InOrder, mpsc::UnboundedReceiver<Item>) {
        let (sender, items) = mpsc::unbounded_channel();
        (InOrder(Mutex::new(sender)), items)
    }

    /// Emits an event that `add` adds to the stream.
    pub(super) fn emit<F>(&self, body: Body, add: impl FnOnce() -> F)
    where
        F: Future<Output = Result<String, LinkError>> + Send + 'static,
    {
        let Body::Broadcast { packet, opts, .. } = body else { return };
        // Under the lock: the emits are here in the order of the stream, and each before its entry.
        let sender = self.0.lock();
        let added = Added::Waits(Box::pin(add()));
        // The receiver is gone with the node.
        let _ = sender.send(Item::Emitted(Emitted { packet, opts, added }));
    }

    /// Takes an entry that was read.
    pub(super) fn read(&self, id: &str, is_own: bool, message: Message) {
        let (text, Some(id)) = (id.to_owned(), Offset::parse(id)) else { return };
        let _ = self.0.lock().send(Item::Read { id, text, is_own, message });
    }
}

/// The task of a namespace: it ends with the node.
pub(super) async fn deliver_in_order(node: Weak<Node<Streams>>, mut items: mpsc::UnboundedReceiver<Item>) {
    let mut own: VecDeque<Emitted> = VecDeque::new();
    loop {
        let first_waits = own.front().is_some_and(|first| matches!(first.added, Added::Waits(_)));
        tokio::select! {
            biased;
            () = settle_first(&node, &mut own), if first_waits => {}
            item = items.recv() => match item {
                None => return,
                Some(Item::Emitted(emitted)) => own.push_back(emitted),
                Some(Item::Read { id, text, is_own: false, message }) => {
                    let Some(node) = node.upgrade() else { return };
                    deliver_foreign(&node, id, &text, message);
                }
                Some(Item::Read { id, text, is_own: true, .. }) => deliver_own(&node, &mut own, id, &text).await,
            },
        }
    }
}

/// Waits for the answer to the oldest emit; one that was not added is delivered.
async fn settle_first(node: &Weak<Node<Streams>>, own: &mut VecDeque<Emitted>) {
    let Some(Emitted { added, .. }) = own.front_mut() else { return };
    let Added::Waits(waiting) = added else { return };
    match waiting.await.ok().and_then(|id| Offset::parse(&id)) {
        Some(id) => *added = Added::Is(id),
        None => deliver_late(node, own),
    }
}

/// Delivers the emit whose entry was read. Older ones that were added, but not read, come before it.
async fn deliver_own(node: &Weak<Node<Streams>>, own: &mut VecDeque<Emitted>, id: Offset, text: &str) {
    loop {
        settle_first(node, own).await;
        match own.front() {
            Some(Emitted { added: Added::Is(added), .. }) if *added < id => deliver_late(node, own),
            Some(Emitted { added: Added::Is(added), .. }) if *added == id => break,
            Some(Emitted { added: Added::Waits(_), .. }) => {}
            // It was delivered without an offset.
            _ => return,
        }
    }
    if let (Some(emitted), Some(node)) = (own.pop_front(), node.upgrade()) {
        let Emitted { packet, opts, .. } = emitted;
        node.local().broadcast_at(&packet.data, &options(&opts), text, position(id));
    }
}

/// Delivers the oldest emit without an offset.
fn deliver_late(node: &Weak<Node<Streams>>, own: &mut VecDeque<Emitted>) {
    if let (Some(emitted), Some(node)) = (own.pop_front(), node.upgrade()) {
        tracing::debug!("an event is delivered without an offset: the stream did not take it in time");
        node.local().broadcast(&emitted.packet.data, &options(&emitted.opts));
    }
}

fn deliver_foreign(node: &Arc<Node<Streams>>, id: Offset, text: &str, message: Message) {
    match message {
        Message { body: Body::Broadcast { packet, request_id: None, opts }, namespace, .. }
            if packet.id.is_none() && !opts.flags.volatile =>
        {
            if namespace.as_ref() == Some(node.local().namespace()) {
                node.local().broadcast_at(&packet.data, &options(&opts), text, position(id));
            }
        }
        other => receive_message(node, other),
    }
}
