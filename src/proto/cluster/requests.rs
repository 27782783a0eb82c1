//! `PendingRequests`: who was asked what, who has answered, and until when.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use bytestring::ByteString;

use super::{RequestId, Sockets};
use crate::proto::socketio::Payload;

/// The questions of one server that are still open. `W` is who waits for the answers.
///
/// ```text
/// fetchSockets, allRooms,      begin(servers known) ──▶ answer × servers ──────────────────────────▶ complete
/// serverSideEmit with ack
/// broadcast with acks          begin ──▶ client_count, answer, server_count, in any order ─────────▶ complete
///                                        once as many counts as servers are there (the own one is among them),
///                                        and as many answers as they add up to
/// any of them                  its deadline passes ────────────────────────────────────────────────▶ degraded
/// ```
/// Each question ends once: complete, late, or withdrawn. What comes afterwards is of an unknown question.
#[derive(Debug)]
pub struct PendingRequests<W> {
    open: HashMap<RequestId, Pending<W>>,
    /// The same, by when they end.
    deadlines: BTreeSet<(Instant, RequestId)>,
}

/// What was asked of the other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Which rooms there are.
    AllRooms {
        /// How many other servers have to answer.
        servers: usize,
    },
    /// To broadcast, and to pass on what clients acknowledge with. How many servers there are is asked meanwhile.
    Broadcast,
    /// Which sockets there are.
    FetchSockets {
        /// How many other servers have to answer.
        servers: usize,
    },
    /// What their listeners say.
    ServerSideEmit {
        /// How many other servers have to answer.
        servers: usize,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Asked::AllRooms`].
    Rooms(Vec<ByteString>),
    /// To [`Asked::FetchSockets`].
    Sockets(Sockets),
    /// To the others: the first argument; none is `undefined`.
    Value(Payload),
}

/// What an answer has changed.
#[derive(Debug)]
pub enum Progress<W> {
    /// All answers are there.
    Complete(W, Outcome),
    /// More are awaited, or this one does not count.
    Pending,
    /// Nobody waits for it: it is late, or for another server.
    Unknown,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The answers in order of arrival.
    pub answers: Vec<Answer>,
    /// How many servers had to answer; of a broadcast, the own one is among them. `None` if that did not become known.
    pub servers: Option<usize>,
    /// How many servers did.
    pub servers_answered: usize,
    /// Of a broadcast: how many clients were asked, as far as servers have said.
    pub clients: u64,
}

impl Outcome {
    /// How many servers did not answer. One at least, if it is not known how many there are.
    pub fn missing_servers(&self) -> usize {
        self.servers.map_or(1, |servers| servers.saturating_sub(self.servers_answered))
    }

    /// Of a broadcast: how many clients that were asked did not acknowledge.
    pub fn missing_clients(&self) -> u64 {
        self.clients.saturating_sub(self.answers.len() as u64)
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing_servers() == 0 && self.missing_clients() == 0
    }
}

#[derive(Debug)]
struct Pending<W> {
    asked: Asked,
    deadline: Instant,
    /// The uids that are known of those that answered: "two answers from one node count as two" on Node.
    answered_by: Vec<ByteString>,
    outcome: Outcome,
    waiter: W,
}

impl<W> PendingRequests<W> {
    /// Makes an empty table.
    pub fn new() -> PendingRequests<W> {
        PendingRequests { open: HashMap::new(), deadlines: BTreeSet::new() }
    }

    /// Begins to wait for answers until `deadline`. Complete at once if nobody has to answer. An open question with the same
    /// id is withdrawn.
    pub fn begin(&mut self, id: &RequestId, asked: Asked, deadline: Instant, waiter: W) -> Progress<W> {
        let servers = match asked {
            Asked::AllRooms { servers }
            | Asked::FetchSockets { servers }
            | Asked::ServerSideEmit { servers } => Some(servers),
            Asked::Broadcast => None,
        };
        let outcome = Outcome { answers: Vec::new(), servers, servers_answered: 0, clients: 0 };
        let pending = Pending { asked, deadline, answered_by: Vec::new(), outcome, waiter };
        self.withdraw(id);
        self.open.insert(id.clone(), pending);
        self.deadlines.insert((deadline, id.clone()));
        self.progress(id)
    }

    /// An answer came; `from` is the uid of who sent it, where it says so. Who answers twice is heard once, but for the
    /// clients of a broadcast.
    pub fn answer(&mut self, id: &RequestId, from: Option<&str>, answer: Answer) -> Progress<W> {
        let Some(pending) = self.open.get_mut(id) else { return Progress::Unknown };
        let fits = matches!(
            (pending.asked, &answer),
            (Asked::AllRooms { .. }, Answer::Rooms(_))
                | (Asked::FetchSockets { .. }, Answer::Sockets(_))
                | (Asked::ServerSideEmit { .. } | Asked::Broadcast, Answer::Value(_))
        );
        if !fits || (pending.asked != Asked::Broadcast && !pending.is_first_of(from)) {
            return Progress::Pending;
        }
        if pending.asked != Asked::Broadcast {
            pending.outcome.servers_answered += 1;
        }
        pending.outcome.answers.push(answer);
        self.progress(id)
    }

    /// A server, the own one too, has said how many clients it asked on behalf of a broadcast.
    pub fn client_count(&mut self, id: &RequestId, from: Option<&str>, clients: u64) -> Progress<W> {
        let Some(pending) = self.open.get_mut(id) else { return Progress::Unknown };
        if pending.asked != Asked::Broadcast || !pending.is_first_of(from) {
            return Progress::Pending;
        }
        pending.outcome.servers_answered += 1;
        pending.outcome.clients = pending.outcome.clients.saturating_add(clients);
        self.progress(id)
    }

    /// It became known how many servers there are, the own one among them, that ask clients on behalf of a broadcast.
    pub fn server_count(&mut self, id: &RequestId, servers: usize) -> Progress<W> {
        let Some(pending) = self.open.get_mut(id) else { return Progress::Unknown };
        if pending.asked == Asked::Broadcast {
            pending.outcome.servers = Some(servers);
        }
        self.progress(id)
    }

    /// Nobody waits any more.
    pub fn withdraw(&mut self, id: &RequestId) -> Option<(W, Outcome)> {
        let pending = self.open.remove(id)?;
        self.deadlines.remove(&(pending.deadline, id.clone()));
        Some((pending.waiter, pending.outcome))
    }

    /// Ends the questions of these waiters, as when the server closes.
    pub fn withdraw_where(&mut self, is_ended: impl Fn(&W) -> bool) -> Vec<(W, Outcome)> {
        let ended = self.open.extract_if(|_, pending| is_ended(&pending.waiter));
        let ended = ended.map(|(id, pending)| {
            self.deadlines.remove(&(pending.deadline, id));
            (pending.waiter, pending.outcome)
        });
        ended.collect()
    }

    /// Ends the questions that are late, and gives what came of them.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(W, Outcome)> {
        let mut late = Vec::new();
        while self.poll_timeout().is_some_and(|deadline| deadline <= now) {
            let Some((_, id)) = self.deadlines.pop_first() else { break };
            late.extend(self.open.remove(&id).map(|pending| (pending.waiter, pending.outcome)));
        }
        late
    }

    /// When the next question will be late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether this is an open question: a request with its id is one's own.
    pub fn contains(&self, id: &RequestId) -> bool {
        self.open.contains_key(id)
    }

    /// How many questions are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Who waits for the answers to this request.
    pub fn waiter(&self, id: &RequestId) -> Option<&W> {
        self.open.get(id).map(|pending| &pending.waiter)
    }

    /// Whether an answer of this server would count: to a broadcast many do, to other requests the first.
    pub fn accepts(&self, id: &RequestId, from: Option<&str>) -> bool {
        self.open.get(id).is_some_and(|pending| {
            pending.asked == Asked::Broadcast
                || from.is_none_or(|from| !pending.answered_by.iter().any(|uid| uid == from))
        })
    }

    fn progress(&mut self, id: &RequestId) -> Progress<W> {
        if !self.open.get(id).is_some_and(|pending| pending.outcome.is_complete()) {
            return Progress::Pending;
        }
        match self.withdraw(id) {
            Some((waiter, outcome)) => Progress::Complete(waiter, outcome),
            None => Progress::Pending,
        }
    }
}

impl<W> Default for PendingRequests<W> {
    fn default() -> PendingRequests<W> {
        PendingRequests::new()
    }
}

impl<W> Pending<W> {
    /// Whether this server, if it is known, has not answered before; it has from now on.
    fn is_first_of(&mut self, from: Option<&str>) -> bool {
        let Some(from) = from else { return true };
        let first = !self.answered_by.iter().any(|uid| uid == from);
        if first {
            self.answered_by.push(from.into());
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn value(number: u64) -> Answer {
        Answer::Value(Payload::ack(&(number,)).unwrap())
    }

    fn id(id: &str) -> RequestId {
        RequestId::new(id)
    }

    #[track_caller]
    fn complete(progress: Progress<u8>) -> Outcome {
        match progress {
            Progress::Complete(_, outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_many_answers_as_servers_were_asked() {
        let now = Instant::now();
        let mut pending = PendingRequests::new();
        assert!(matches!(
            pending.begin(&id("a"), Asked::ServerSideEmit { servers: 2 }, now, 1),
            Progress::Pending
        ));
        assert!(matches!(pending.answer(&id("a"), Some("x"), value(1)), Progress::Pending));
        assert!(matches!(pending.answer(&id("a"), Some("x"), value(9)), Progress::Pending));
        assert!(matches!(pending.answer(&id("a"), None, Answer::Rooms(vec![])), Progress::Pending));
        assert!(matches!(pending.answer(&id("b"), None, value(9)), Progress::Unknown));
        let outcome = complete(pending.answer(&id("a"), None, value(2)));
        assert_eq!(outcome.answers, [value(1), value(2)]);
        assert!(pending.is_empty() && pending.poll_timeout().is_none());
        assert!(matches!(pending.answer(&id("a"), None, value(3)), Progress::Unknown));
        complete(pending.begin(&id("a"), Asked::FetchSockets { servers: 0 }, now, 1));
    }

    #[test]
    fn a_broadcast_waits_for_all_counts_and_all_clients() {
        let mut pending = PendingRequests::new();
        let a = id("a");
        pending.begin(&a, Asked::Broadcast, Instant::now(), 1);
        assert!(matches!(pending.client_count(&a, Some("me"), 0), Progress::Pending));
        assert!(matches!(pending.answer(&a, Some("x"), value(1)), Progress::Pending));
        assert!(matches!(pending.server_count(&a, 2), Progress::Pending));
        assert!(matches!(pending.client_count(&a, Some("x"), 2), Progress::Pending));
        assert!(matches!(pending.client_count(&a, Some("x"), 2), Progress::Pending));
        let outcome = complete(pending.answer(&a, Some("x"), value(2)));
        assert_eq!((outcome.clients, outcome.answers.len()), (2, 2));

        pending.begin(&a, Asked::Broadcast, Instant::now(), 1);
        assert!(matches!(pending.client_count(&a, None, 0), Progress::Pending));
        complete(pending.server_count(&a, 1));
    }

    #[test]
    fn what_is_late_says_what_is_missing() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut pending = PendingRequests::new();
        pending.begin(&id("slow"), Asked::FetchSockets { servers: 3 }, at(5), 1);
        pending.begin(&id("fast"), Asked::Broadcast, at(1), 2);
        pending.client_count(&id("fast"), None, 4);
        pending.answer(&id("fast"), None, value(1));
        assert_eq!(pending.poll_timeout(), Some(at(1)));
        assert!(pending.handle_timeout(now).is_empty());
        let late = pending.handle_timeout(at(2));
        let (2, outcome) = &late[0] else { panic!("the waiter comes back") };
        assert_eq!((outcome.missing_servers(), outcome.missing_clients()), (1, 3));
        assert!(!pending.contains(&id("fast")));
        assert_eq!(pending.poll_timeout(), Some(at(5)));
        let sockets = Answer::Sockets(Sockets::new::<String>(&[]).unwrap());
        pending.answer(&id("slow"), Some("x"), sockets);
        let outcome = &pending.handle_timeout(at(5))[0].1;
        assert_eq!((outcome.missing_servers(), outcome.is_complete()), (2, false));
    }

    #[test]
    fn some_questions_may_be_withdrawn_and_the_others_stay() {
        let now = Instant::now();
        let mut pending = PendingRequests::new();
        for (name, waiter) in [("a", 1), ("b", 2), ("c", 1)] {
            pending.begin(&id(name), Asked::FetchSockets { servers: 1 }, now, waiter);
        }
        let withdrawn = pending.withdraw_where(|waiter| *waiter == 1);
        assert_eq!(withdrawn.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(), [1, 1]);
        assert!(pending.contains(&id("b")) && pending.len() == 1);
        assert_eq!(pending.handle_timeout(now).len(), 1);
        assert_eq!(pending.poll_timeout(), None);
    }

    proptest! {
        /// Whatever comes in whatever order, a question ends once.
        #[test]
        fn every_question_ends_once(
            events in proptest::collection::vec((0_u8..4, 0_usize..3, 0_u64..3), 0..60),
        ) {
            let now = Instant::now();
            let ids = [id("a"), id("b"), id("c")];
            let mut pending = PendingRequests::new();
            let (mut begun, mut ended) = (0, 0);
            for (event, which, number) in events {
                let id = &ids[which];
                let progress = match event {
                    0 if !pending.contains(id) => {
                        begun += 1;
                        let asked = match which {
                            0 => Asked::Broadcast,
                            _ => Asked::ServerSideEmit { servers: number as usize },
                        };
                        pending.begin(id, asked, now + Duration::from_secs(number), ())
                    }
                    1 => pending.client_count(id, None, number),
                    2 => pending.server_count(id, number as usize),
                    _ => pending.answer(id, None, value(number)),
                };
                if let Progress::Complete((), outcome) = progress {
                    prop_assert!(outcome.is_complete());
                    ended += 1;
                }
                prop_assert_eq!(begun, ended + pending.len());
                prop_assert_eq!(pending.poll_timeout().is_some(), !pending.is_empty());
            }
            ended += pending.handle_timeout(now + Duration::from_secs(9)).len();
            prop_assert_eq!(begun, ended);
            prop_assert!(pending.is_empty());
        }
    }
}
