//! The one order in which a server's clients hear what the stream holds, with the offsets by which they come back.
//!
//! What this server emits itself is delivered when it is read back, in its place between the events of others. Which entry
//! is which emit, the answers to `XADD` say. An emit that is not added in time, or not read back in time, is delivered
//! without an offset, once; if its entry comes after all, nobody waits for it.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};

use super::node::{Node, options};
use super::status::LinkError;
use super::streams_adapter::{Streams, position, receive_message};
use crate::proto::cluster::streams::Offset;
use crate::proto::cluster::{Body, Message};
use crate::server::KeptEvent;
use crate::sync::Mutex;

/// Takes what is emitted and what is read. Its receiver waits for an answer of Redis half a second at the most, so little
/// gathers here.
#[derive(Debug)]
pub(super) struct InOrder(Mutex<mpsc::UnboundedSender<Item>>);

pub(super) enum Item {
    Emitted(Emitted),
    /// An entry of this server, by its id.
    OwnEntry {
        id: Offset,
        text: String,
    },
    Entry {
        id: Offset,
        text: String,
        message: Box<Message>,
    },
}

/// An event of this server, on its way through the stream.
pub(super) struct Emitted {
    kept: KeptEvent,
    /// When it is delivered without an offset.
    due: Instant,
    added: Added,
}

enum Added {
    Waits(BoxFuture<'static, Result<String, LinkError>>),
    /// It is in the stream with this id.
    Is(Offset),
    /// It is not known to be in the stream.
    IsNot,
}

impl InOrder {
    pub(super) fn new() -> (InOrder, mpsc::UnboundedReceiver<Item>) {
        let (sender, items) = mpsc::unbounded_channel();
        (InOrder(Mutex::new(sender)), items)
    }

    /// Emits an event that `add` adds to the stream.
    pub(super) fn emit<F>(&self, kept: KeptEvent, add: impl FnOnce() -> F)
    where
        F: Future<Output = Result<String, LinkError>> + Send + 'static,
    {
        let due = Instant::now() + READ_PATIENCE;
        let unsent = {
            // Under the lock: the emits are here in the order of the stream, and each before its entry.
            let sender = self.0.lock();
            let added = Added::Waits(Box::pin(add()));
            sender.send(Item::Emitted(Emitted { kept, due, added }))
        };
        // The node is gone: the event is delivered without an offset.
        drop(unsent);
    }

    /// Takes an entry of another server that was read.
    pub(super) fn read(&self, id: &str, message: Message) {
        let (text, message) = (id.to_owned(), Box::new(message));
        let item = Offset::parse(id).map(|id| Item::Entry { id, text, message });
        item.map(|item| self.0.lock().send(item));
    }

    /// Takes an entry of this server that was read.
    pub(super) fn read_own(&self, id: &str) {
        let text = id.to_owned();
        let item = Offset::parse(id).map(|id| Item::OwnEntry { id, text });
        item.map(|item| self.0.lock().send(item));
    }
}

/// The task of a namespace: it ends with the node. What still waits then is delivered without offsets.
pub(super) async fn deliver_in_order(node: Weak<Node<Streams>>, mut items: mpsc::UnboundedReceiver<Item>) {
    let mut own = OwnEvents::default();
    loop {
        let due = own.events.front().map(|first| first.due);
        tokio::select! {
            biased;
            true = own.settle_next() => own.deliver_lost(),
            // Before what is read: there may always be more of it.
            () = consume_budget(), if due.is_some_and(|due| due <= Instant::now()) => own.deliver_first_late(),
            item = items.recv() => match item {
                None => return,
                Some(Item::Emitted(emitted)) => own.events.push_back(emitted),
                Some(Item::OwnEntry { id, text }) => own.deliver(id, &text).await,
                Some(Item::Entry { id, text, message }) => {
                    let Some(node) = node.upgrade() else { return };
                    let deliver = || deliver_foreign(&node, id, &text, *message);
                    if catch_unwind(AssertUnwindSafe(deliver)).is_err() {
                        tracing::error!(id = text, "an entry of another server is not delivered: a panic");
                    }
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => own.deliver_first_late(),
        }
    }
}

impl Emitted {
    fn deliver_late(self) {
        match self.added {
            Added::Is(id) => {
                tracing::debug!(%id, "an event is delivered without an offset: it was not read back in time");
                self.kept.deliver_late(position(id));
            }
            Added::Waits(_) | Added::IsNot => {
                tracing::debug!(
                    "an event is delivered without an offset: the stream did not take it in time"
                );
                drop(self.kept);
            }
        }
    }
}

/// The events of this server that are not delivered yet, in the order of the emits. Dropped, they are.
#[derive(Default)]
struct OwnEvents {
    events: VecDeque<Emitted>,
    /// Of so many, from the first on, it is known whether they are in the stream: who looks for the next answer need not
    /// pass over thousands of them.
    settled: usize,
}

impl OwnEvents {
    /// Waits for the next answer of Redis; `false`: none is to come.
    async fn settle_next(&mut self) -> bool {
        let Some(Emitted { added, .. }) = self.events.get_mut(self.settled) else { return false };
        if let Added::Waits(answer) = added {
            let id = answer.await.ok().and_then(|id| Offset::parse(&id));
            *added = id.map_or(Added::IsNot, Added::Is);
        }
        self.settled += 1;
        true
    }

    fn take_first(&mut self) -> Option<Emitted> {
        self.settled = self.settled.saturating_sub(1);
        self.events.pop_front()
    }

    fn deliver_first_late(&mut self) {
        self.take_first().into_iter().for_each(Emitted::deliver_late);
        self.deliver_lost();
    }

    /// Delivers those that are next and not in the stream.
    fn deliver_lost(&mut self) {
        while self.events.front().is_some_and(|first| matches!(first.added, Added::IsNot)) {
            self.take_first().into_iter().for_each(Emitted::deliver_late);
        }
    }

    /// Delivers the event whose entry was read, unless it has been without an offset.
    async fn deliver(&mut self, id: Offset, text: &str) {
        let is_it = |emitted: &Emitted| matches!(emitted.added, Added::Is(added) if added == id);
        let mut index = 0;
        while !self.events.get(index).is_some_and(is_it) {
            if index < self.settled {
                index += 1;
            } else if !self.settle_next().await {
                return;
            }
        }
        // What was emitted before it and is not to come any more, comes now. (While a slot of a Redis Cluster moves, what
        // was emitted first may be added last.)
        let mut to_come = Vec::new();
        for earlier in (0..index).filter_map(|_| self.take_first()).collect::<Vec<_>>() {
            match earlier.added {
                Added::Is(added) if added > id => to_come.push(earlier),
                _ => earlier.deliver_late(),
            }
        }
        if let Some(Emitted { kept, .. }) = self.take_first() {
            kept.deliver(text, position(id));
        }
        self.settled += to_come.len();
        to_come.into_iter().rev().for_each(|earlier| self.events.push_front(earlier));
        self.deliver_lost();
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

/// How long what this server emits waits to be read back.
const READ_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::server::Server;
    use crate::server::tests::Client;
    use crate::server::tests::kept_events::{Keeper, keeping};

    struct Emits {
        io: Server,
        keeper: Keeper,
        client: Client,
        own: OwnEvents,
    }

    impl Emits {
        async fn new() -> Emits {
            let (keeper, io) = keeping(|builder| builder);
            let (client, _) = Client::connected(&io).await;
            Emits { io, keeper, client, own: OwnEvents::default() }
        }

        /// Emits `n`, to which Redis answers so; `None`: it is not in the stream.
        fn emit(&mut self, number: u32, answer: Option<&str>) {
            let answer = answer.map(ToOwned::to_owned).ok_or(LinkError::TimedOut);
            self.emit_waiting(number, std::future::ready(answer).boxed());
        }

        fn emit_waiting(&mut self, number: u32, answer: BoxFuture<'static, Result<String, LinkError>>) {
            self.io.emit("n", &number).unwrap();
            let kept = self.keeper.take_event();
            self.own.events.push_back(Emitted { kept, due: Instant::now(), added: Added::Waits(answer) });
        }

        async fn settle(&mut self) {
            while self.own.settle_next().await {}
        }

        async fn read(&mut self, id: &str) {
            self.own.deliver(Offset::parse(id).unwrap(), id).await;
        }

        /// What the client has heard since: numbers and offsets.
        async fn heard(&self) -> Vec<String> {
            let heard = self.client.poll().await.replace(r#"42["n","#, "").replace([']', '"'], "");
            heard.split('|').map(ToOwned::to_owned).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_slot_moves_each_is_delivered_in_its_place_though_ids_do_not_rise() {
        let mut emits = Emits::new().await;
        for (number, id) in [(1, "5-0"), (2, "3-0"), (3, "4-0"), (4, "6-0")] {
            emits.emit(number, Some(id));
        }
        emits.read("3-0").await;
        assert_eq!(emits.own.settled, 1);
        emits.read("4-0").await;
        emits.read("5-0").await;
        assert_eq!(emits.own.settled, 0);
        emits.read("6-0").await;
        assert_eq!(emits.heard().await, ["2,3-0", "3,4-0", "1,5-0", "4,6-0"]);
        assert!(emits.own.events.is_empty() && emits.own.settled == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_comes_at_its_turn_without_an_offset() {
        let mut emits = Emits::new().await;
        emits.emit(1, None);
        emits.emit(2, Some("2-0"));
        emits.emit(3, None);
        emits.emit(4, None);
        emits.emit(5, Some("5-0"));
        emits.settle().await;
        emits.own.deliver_lost();
        assert_eq!(emits.heard().await, ["1"]);
        emits.read("2-0").await;
        assert_eq!(emits.heard().await, ["2,2-0", "3", "4"]);
        assert_eq!(emits.own.settled, 1);

        // The entry of this one is never read: that of a later one is.
        emits.emit(6, Some("6-0"));
        emits.read("6-0").await;
        assert_eq!(emits.heard().await, ["5", "6,6-0"]);
        assert!(emits.own.events.is_empty() && emits.own.settled == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_delivered_without_an_offset_and_its_entry_is_for_nobody() {
        let mut emits = Emits::new().await;
        emits.emit(1, Some("1-0"));
        emits.settle().await;
        // Redis has not answered yet.
        emits.emit_waiting(2, std::future::pending().boxed());
        emits.emit(3, Some("3-0"));
        emits.own.deliver_first_late();
        emits.own.deliver_first_late();
        assert_eq!(emits.own.settled, 0);
        emits.read("1-0").await;
        emits.read("2-0").await;
        emits.read("3-0").await;
        assert_eq!(emits.heard().await, ["1", "2", "3,3-0"]);
        assert!(emits.own.events.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_before_its_answer_waits_for_it() {
        let mut emits = Emits::new().await;
        let (answer, answered) = oneshot::channel();
        emits.emit(1, Some("1-0"));
        emits.emit_waiting(2, answered.map(|id| Ok(id.unwrap())).boxed());
        emits.read("1-0").await;
        // In this order: first it is read.
        tokio::join!(emits.read("2-0"), async { answer.send("2-0".to_owned()).unwrap() });
        assert_eq!(emits.heard().await, ["1,1-0", "2,2-0"]);
        assert!(emits.own.events.is_empty() && emits.own.settled == 0);
    }
}
