//! Several servers in one process, joined by an adapter that calls their nodes: what `server/` itself promises of a
//! cluster, whatever carries the messages.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;
use crate::proto::socketio::{Payload, Value};

/// What joins the servers.
#[derive(Debug, Default)]
struct Bus(Mutex<Vec<(usize, LocalNode)>>);

impl Bus {
    /// The nodes of the other servers for the same namespace.
    fn others(&self, server: usize, namespace: &str) -> Vec<LocalNode> {
        let nodes = self.0.lock();
        let others = nodes.iter().filter(|(other, node)| *other != server && node.namespace() == namespace);
        others.map(|(_, node)| node.clone()).collect()
    }
}

#[derive(Debug)]
struct Joined {
    bus: Arc<Bus>,
    server: usize,
}

impl AdapterFactory for Joined {
    fn create(&self, node: LocalNode) -> Arc<dyn Adapter> {
        self.bus.0.lock().push((self.server, node.clone()));
        Arc::new(Link {
            bus: Arc::clone(&self.bus),
            server: self.server,
            namespace: node.namespace().to_string(),
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.bus.0.lock().retain(|(server, _)| *server != self.server);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Debug)]
struct Link {
    bus: Arc<Bus>,
    server: usize,
    namespace: String,
}

impl Link {
    fn others(&self) -> Vec<LocalNode> {
        self.bus.others(self.server, &self.namespace)
    }
}

impl Adapter for Link {
    fn broadcast(&self, event: &Payload, to: &BroadcastOptions) {
        self.others().iter().for_each(|node| node.broadcast(event, to));
    }

    fn broadcast_with_ack(&self, event: &Payload, to: &BroadcastOptions) -> RemoteAnswers {
        let (answers, receiver) = mpsc::unbounded_channel();
        for node in self.others() {
            let mut asked = node.broadcast_with_ack(event, to);
            let answers = answers.clone();
            tokio::spawn(async move {
                while let Some(answer) = asked.next().await {
                    let _ = answers.send(Ok(answer));
                }
            });
        }
        receiver
    }

    fn sockets_join(&self, to: &BroadcastOptions, rooms: &[Room]) {
        self.others().iter().for_each(|node| node.sockets_join(to, rooms));
    }

    fn sockets_leave(&self, to: &BroadcastOptions, rooms: &[Room]) {
        self.others().iter().for_each(|node| node.sockets_leave(to, rooms));
    }

    fn disconnect_sockets(&self, to: &BroadcastOptions, close: bool) {
        self.others().iter().for_each(|node| node.disconnect_sockets(to, close));
    }

    fn fetch_sockets(&self, to: &BroadcastOptions) -> BoxFuture<'static, Gathered<RemoteSocket>> {
        let others = self.others();
        let here =
            self.bus.0.lock().iter().find(|(server, _)| *server == self.server).map(|(_, node)| node.clone());
        // One more server that never answers, if somebody asks for it.
        let silent = usize::from(to.rooms.iter().any(|room| room.as_str() == "silent"));
        let (received, expected) = (others.len(), Ok(others.len() + silent));
        let mut gathered = Gathered { items: Vec::new(), received, expected };
        for details in others.iter().flat_map(|node| node.sockets(to)) {
            let told = Payload::ack(&(details,)).unwrap();
            let (value,): (Value,) = told.args().unwrap();
            let rooms = value["rooms"].as_array().unwrap();
            gathered.items.extend(here.as_ref().unwrap().remote_socket(
                value["id"].as_str().unwrap(),
                value["handshake"].clone(),
                rooms.iter().map(|room| room.as_str().unwrap().into()).collect(),
                value["data"].as_object().unwrap().clone(),
            ));
        }
        std::future::ready(gathered).boxed()
    }

    fn server_side_emit(&self, event: &Payload) {
        self.others().iter().for_each(|node| node.server_side_event(event, None));
    }

    fn server_side_emit_with_ack(&self, event: &Payload) -> RemoteAnswers {
        let (answers, receiver) = mpsc::unbounded_channel();
        let others = self.others();
        let expected = others.len();
        let waiting: Vec<_> = others
            .iter()
            .map(|node| {
                let (answer, answered) = tokio::sync::oneshot::channel();
                node.server_side_event(event, Some(answer));
                answered
            })
            .collect();
        tokio::spawn(async move {
            let mut received = 0;
            for answered in waiting {
                if let Ok(answer) = answered.await {
                    received += 1;
                    let _ = answers.send(Ok(answer));
                }
            }
            if received < expected {
                let _ = answers.send(Err(AckError::Unanswered { received, expected }));
            }
        });
        receiver
    }

    fn server_count(&self) -> BoxFuture<'static, Result<usize, AdapterError>> {
        std::future::ready(Ok(self.others().len() + 1)).boxed()
    }

    fn close(&self) {
        self.bus
            .0
            .lock()
            .retain(|(server, node)| *server != self.server || node.namespace() != &*self.namespace);
    }
}

/// Three servers in one cluster.
fn servers() -> (Arc<Bus>, [Server; 3]) {
    let bus = Arc::new(Bus::default());
    let servers = [0, 1, 2].map(|server| {
        let joined = Joined { bus: Arc::clone(&bus), server };
        server_with(|builder| builder.adapter(joined)).0
    });
    (bus, servers)
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_every_server_unless_it_is_local() {
    let (_, [a, b, c]) = servers();
    let (on_a, _) = Client::connected(&a).await;
    let (on_b, socket_b) = Client::connected(&b).await;
    let (on_c, _) = Client::connected(&c).await;
    socket_b.join("room");
    a.to("room").emit("in-room", &1).unwrap();
    socket_b.broadcast().emit("others", &2).unwrap();
    b.local().emit("here", &3).unwrap();
    a.emit("all", &bytes::Bytes::from_static(b"x")).unwrap();
    assert_eq!(on_a.poll().await, r#"42["others",2]|451-["all",{"_placeholder":true,"num":0}]|beA=="#);
    assert_eq!(
        on_b.poll().await,
        r#"42["in-room",1]|42["here",3]|451-["all",{"_placeholder":true,"num":0}]|beA=="#
    );
    assert_eq!(on_c.poll().await, r#"42["others",2]|451-["all",{"_placeholder":true,"num":0}]|beA=="#);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_come_from_every_server() {
    let (_, [a, b, _]) = servers();
    let (on_a, _) = Client::connected(&a).await;
    let (on_b, socket_b) = Client::connected(&b).await;
    let answers = a.emit_with_ack::<u8>("vote", &());
    assert_eq!((on_a.poll().await, on_b.poll().await), (r#"420["vote"]"#.into(), r#"420["vote"]"#.into()));
    on_b.post("430[2]").await;
    on_a.post("430[1]").await;
    let mut answers = answers.await.unwrap();
    answers.sort_unstable();
    assert_eq!(answers, [1, 2]);

    let error = a.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("vote", &()).await.unwrap_err();
    assert!(matches!(error.reason, AckError::Timeout), "{error:?}");
    socket_b.disconnect();
    let nobody = a.to("nobody").emit_with_ack::<u8>("vote", &()).await.unwrap();
    assert_eq!(nobody, [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn sockets_of_other_servers_are_found_and_reached() {
    let (_, [a, b, _]) = servers();
    let (_on_a, socket_a) = Client::connected(&a).await;
    let (on_b, socket_b) = Client::connected(&b).await;
    socket_b.data().insert("user", "bob").unwrap();
    socket_b.join(["room", "7"]);

    let found = a.fetch_sockets().await.unwrap();
    assert_eq!(found.iter().map(RemoteSocket::id).collect::<Vec<_>>(), [socket_a.id(), socket_b.id()]);
    let bob = &a.to("room").fetch_sockets().await.unwrap()[0];
    assert_eq!(bob.get_data::<String>("user").unwrap(), "bob");
    assert_eq!(bob.rooms()[1..], [Room::from("room"), Room::from("7")]);
    assert_eq!(bob.handshake()["headers"]["x-test"].as_str(), Some("yes"));

    bob.join("other");
    bob.leave("room");
    assert_eq!(socket_b.rooms()[1..], [Room::from("7"), Room::from("other")]);
    bob.emit("hello", &1).unwrap();
    let answer = bob.emit_with_ack::<u8>("ask", &());
    assert_eq!(on_b.poll().await, r#"42["hello",1]|420["ask"]"#);
    on_b.post("430[9]").await;
    assert_eq!(answer.await.unwrap(), 9);
    bob.disconnect();
    assert_eq!(on_b.poll().await, "41");
    assert!(matches!(bob.emit_with_ack::<u8>("ask", &()).await, Err(AckError::Disconnected)));
}

#[tokio::test(start_paused = true)]
async fn servers_that_do_not_answer_are_told_of_with_what_came() {
    let (_, [a, b, _]) = servers();
    let (_on_b, socket_b) = Client::connected(&b).await;
    let silent = a.to(["silent", socket_b.id().as_str()]);
    let error = silent.fetch_sockets().await.unwrap_err();
    assert_eq!(error.to_string(), "timeout reached: only 2 responses received out of 3");
    assert_eq!(error.gathered.items[0].id(), socket_b.id());
    assert_eq!(silent.gather_sockets().await.missing(), 1);
}

#[tokio::test(start_paused = true)]
async fn servers_ask_each_other() {
    let (_, [a, b, c]) = servers();
    b.on_server_side("load", async |event: ServerSideEvent| event.ack(&event.args::<u8>().unwrap_or(0)));
    let error = a.server_side_emit_with_ack::<u8>("load", &5).await.unwrap_err();
    assert_eq!(error.to_string(), "timeout reached: only 1 responses received out of 2");
    assert_eq!(error.responses, [5]);
    c.on_server_side("load", async |event: ServerSideEvent| event.ack(&6));
    assert_eq!(a.server_side_emit_with_ack::<u8>("load", &5).await.unwrap(), [5, 6]);
}

#[tokio::test(start_paused = true)]
async fn who_closes_leaves_the_cluster() {
    let (bus, [a, b, c]) = servers();
    assert_eq!(bus.0.lock().len(), 6);
    a.of("/admin").close();
    assert_eq!(bus.0.lock().len(), 5);
    assert_eq!(a.of("/").server_count().await.unwrap(), 3);
    assert_eq!(a.of("/").all_rooms().await, Err(AdapterError::Unsupported));
    b.close().await;
    assert_eq!(a.of("/").server_count().await.unwrap(), 2);
    assert_eq!(bus.others(0, "/").len(), 1);
    drop(c);
    a.emit("to", &"nobody").unwrap();
    assert_eq!(a.fetch_sockets().await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn outgoing_listeners_hear_what_other_servers_emit() {
    let (_, [a, b, _]) = servers();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (_client, socket) = Client::connected(&b).await;
    let noted = Arc::clone(&heard);
    socket.on_any_outgoing(move |event: &OutgoingEvent| noted.lock().push(event.name().into_owned()));
    a.emit("news", &()).unwrap();
    let _answers = a.to(socket.id()).emit_with_ack::<u8>("question", &());
    a.to("nobody").emit("not for it", &()).unwrap();
    assert_eq!(*heard.lock(), ["news", "question"]);
}
