use super::*;
use crate::proto::socketio::Payload;
use crate::server::server_side::ServerSideEvent as Received;

#[tokio::test(start_paused = true)]
async fn a_server_that_stands_alone_reaches_nobody() {
    let (io, log) = server();
    io.on_server_side("note", async |event: ServerSideEvent| event.state::<Log>().note("heard"));
    let (client, _) = Client::connected(&io).await;
    io.server_side_emit("note", &1).unwrap();
    assert_eq!(io.server_side_emit_with_ack::<u8>("note", &1).await.unwrap(), [0; 0]);
    io.emit("end", &()).unwrap();
    assert_eq!(client.poll().await, r#"42["end"]"#);
    client.post(r#"42["note"]"#).await;
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_names_that_node_listens_to_are_refused() {
    let (io, _) = server();
    for name in ["connect", "connection", "new_namespace"] {
        assert!(io.server_side_emit(name, &()).is_err());
        let error = io.server_side_emit_with_ack::<u8>(name, &()).await.unwrap_err();
        assert!(matches!(error.reason, AckError::Emit(_)));
    }
    for name in ["disconnect", "error", ""] {
        io.server_side_emit(name, &()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_from_another_server_is_handled_and_answered_once() {
    let (io, log) = server();
    io.on_server_side("whoami", async |event: ServerSideEvent| {
        let (a, b): (u8, String) = event.args()?;
        event.state::<Log>().note(format!("{} {a} {b} {}", event.name(), event.wants_ack()));
        event.ack(&(a, 1))?;
        Ok::<_, HandlerError>(())
    });
    io.on_server_side("whoami", async |event: ServerSideEvent| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        event.state::<Log>().note("second");
        event.ack(&2)
    });
    io.on_server_side("whoami", async |_: ServerSideEvent| -> Result<(), HandlerError> {
        panic!("a handler fails")
    });
    let event = Payload::event("whoami", &(7, "x")).unwrap();
    let (answer, answered) = tokio::sync::oneshot::channel();
    Received::dispatch(&io.of("/"), &event, Some(answer));
    assert_eq!(log.take(), ["whoami 7 x true"]);
    assert_eq!(answered.await.unwrap().args::<((u8, u8),)>().unwrap(), ((7, 1),));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["second"]);
    assert_eq!(io.stats().handler_panics, 1);
    Received::dispatch(&io.of("/admin"), &event, None);
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn children_hear_other_servers_by_the_handlers_of_their_parent() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    parent.on_server_side("x", async |event: ServerSideEvent| {
        event.state::<Log>().note(event.namespace().name());
    });
    let event = Payload::event("x", &()).unwrap();
    for name in ["/dyn-1", "/other", "/dyn-2"] {
        Received::dispatch(&io.of(name), &event, None);
    }
    assert_eq!(log.take(), ["/dyn-1", "/dyn-2"]);
}
