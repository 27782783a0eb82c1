//! Listeners of what is emitted, of a whole namespace.

use super::*;

/// A listener that notes what it sees, and for whom.
fn notes(log: &Log, line: &'static str) -> impl Fn(&OutgoingEvent) + Send + Sync + 'static {
    let log = log.clone();
    move |event: &OutgoingEvent| log.note(format!("{line} {} {}", event.name(), event.socket().id()))
}

#[tokio::test(start_paused = true)]
async fn a_namespace_sees_what_is_emitted_to_each_of_its_sockets_before_they_do() {
    let (io, log) = server();
    let (_ada, a) = Client::connected(&io).await;
    let (_bob, b) = Client::connected(&io).await;
    assert!(!io.of("/").has_outgoing());
    let second = io.on_any_outgoing(notes(&log, "second"));
    io.of("/").prepend_any_outgoing(notes(&log, "first"));
    b.on_any_outgoing(notes(&log, "own"));
    let for_each = |event: &str, socket: &Socket, lines: &[&str]| {
        let lines = lines.iter().map(|line| format!("{line} {event} {}", socket.id()));
        lines.collect::<Vec<_>>()
    };
    a.emit("alone", &()).unwrap();
    assert_eq!(log.take(), for_each("alone", &a, &["first", "second"]));
    io.except(a.id()).emit("some", &()).unwrap();
    assert_eq!(log.take(), for_each("some", &b, &["first", "second", "own"]));
    io.of("/admin").emit("elsewhere", &()).unwrap();
    io.off_any_outgoing(second);
    b.off_any_outgoing(None);
    drop(io.emit_with_ack::<()>("question", &()));
    let mut lines = log.take();
    lines.sort_unstable();
    let mut expected = [for_each("question", &a, &["first"]), for_each("question", &b, &["first"])].concat();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    io.of("/").off_any_outgoing(None);
    assert!(!io.of("/").has_outgoing());
}

#[tokio::test(start_paused = true)]
async fn a_listener_of_the_namespace_may_do_what_it_likes_and_panic() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    io.on_any_outgoing(|event: &OutgoingEvent| {
        let namespace = event.socket().namespace();
        event.socket().join("seen");
        namespace.on_any_outgoing(|event| assert_eq!(event.name(), "never"));
        namespace.off_any_outgoing(None);
    });
    io.emit("first", &()).unwrap();
    assert!(socket.rooms().contains(&Room::from("seen")));
    io.on_any_outgoing(|event| assert_eq!(event.name(), "never"));
    socket.emit("second", &()).unwrap();
    assert_eq!(client.poll().await, r#"42["first"]|42["second"]"#);
    assert_eq!(io.stats().handler_panics, 1);
}

#[tokio::test(start_paused = true)]
async fn children_have_the_listeners_of_their_parent() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    parent.on_any_outgoing(notes(&log, "parent's"));
    let client = Client::open(&io).await;
    client.post("40/dyn-1,").await;
    client.poll().await;
    let child = io.of("/dyn-1");
    child.emit("x", &()).unwrap();
    assert_eq!(log.take(), [format!("parent's x {}", child.sockets()[0].id())]);
    child.off_any_outgoing(None);
    assert!(!child.has_outgoing());
}
