use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// Drains beside the test; gives how long it took.
fn drain(io: &Server) -> JoinHandle<Duration> {
    let (io, begin) = (io.clone(), Instant::now());
    tokio::spawn(async move {
        io.drain(DEADLINE).await;
        begin.elapsed()
    })
}

/// Polls beside the test.
fn polling(client: Client) -> JoinHandle<String> {
    tokio::spawn(async move { client.poll().await })
}

/// A connection that waits is looked at now and then: its goodbye may be there before the poll.
async fn assert_goodbye(client: &Client) {
    let goodbye = client.poll().await;
    assert!(["1", "6|1"].contains(&&*goodbye), "{goodbye}");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_clients_is_drained_at_once() {
    let (io, _) = server();
    assert!(io.is_ready());
    assert!(drain(&io).await.unwrap() < Duration::from_millis(10));
    assert!(!io.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_closed_server_is_not_ready() {
    let (io, _) = server();
    io.close().await;
    assert!(!io.is_ready());
}

#[tokio::test(start_paused = true)]
async fn who_is_there_goes_on_and_nobody_else_comes_in() {
    let (io, log) = server();
    // Its handler keeps the client from leaving.
    io.on("work", async |event: Event| {
        tokio::time::sleep(Duration::from_secs(9)).await;
        event.ack(&"done")
    });
    let (client, socket) = Client::connected(&io).await;
    client.post("421[\"work\"]").await;
    let drained = drain(&io);
    settle().await;
    assert!(!io.is_ready());
    let stranger = Client { io: io.clone(), session: String::new() };
    let refused =
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"code":3,"message":"Service Unavailable"}"#.to_owned());
    assert_eq!(stranger.request("GET", String::new()).await, refused);
    client.post("40/admin,").await;
    assert!(client.poll().await.starts_with("40/admin,"));
    socket.emit("news", &1).unwrap();
    assert_eq!(client.poll().await, r#"42["news",1]"#);
    assert_eq!(client.poll().await, r#"431["done"]"#);
    assert_goodbye(&client).await;
    settle().await;
    assert_eq!(log.take(), ["/ server shutting down 0", "/admin server shutting down 0"]);
    assert!(drained.await.unwrap() < DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn clients_leave_one_after_the_other() {
    let (io, log) = server();
    let mut polls = Vec::new();
    for _ in 0..100 {
        polls.push(polling(Client::connected(&io).await.0));
    }
    let drained = drain(&io);
    let mut left = vec![0];
    for _ in 0..4 {
        tokio::time::sleep(DEADLINE / 5).await;
        left.push(100 - io.clients_count());
    }
    // That none of a hundred has its turn in a quarter of the time happens once in 10^12 times.
    assert!(left.windows(2).all(|two| two[0] < two[1]), "{left:?}");
    for poll in polls {
        assert_eq!(poll.await.unwrap(), "1");
    }
    assert_eq!(log.take(), vec!["/ server shutting down 0"; 100]);
    assert!(drained.await.unwrap() < DEADLINE);
    assert_eq!((io.stats().connections, io.stats().sockets), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_poll_is_told_by_its_next_one() {
    let (io, log) = server();
    let (client, socket) = Client::connected(&io).await;
    socket.emit("last", &()).unwrap();
    let drained = drain(&io);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(log.take(), ["/ server shutting down 0"]);
    assert_eq!(client.poll().await, "42[\"last\"]");
    assert_eq!(client.poll().await, "6|1");
    assert!(drained.await.unwrap() < DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_was_asked_for_is_waited_for() {
    let (io, log) = server();
    let (client, socket) = Client::connected(&io).await;
    let answer = socket.emit_with_ack::<u8>("question", &());
    let drained = drain(&io);
    assert_eq!(client.poll().await, r#"420["question"]"#);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(log.take(), [""; 0]);
    client.post("430[7]").await;
    assert_eq!(answer.await.unwrap(), 7);
    assert_goodbye(&client).await;
    assert!(drained.await.unwrap() < DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_the_end_of_the_wait() {
    let (io, log) = server();
    let (client, socket) = Client::connected(&io).await;
    let _poll = polling(client);
    let answer = socket.timeout(Duration::from_secs(9)).emit_with_ack::<u8>("question", &());
    let drained = drain(&io);
    assert!(matches!(answer.await, Err(AckError::Timeout)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(log.take(), ["/ server shutting down 0"]);
    assert!(drained.await.unwrap() <= DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn events_that_were_parked_are_handled_first() {
    let (io, _) = server_with(|builder| builder.max_waiting_handlers(1));
    io.on("work", async |event: Event| {
        tokio::time::sleep(Duration::from_secs(4)).await;
        event.ack(&())
    });
    let (client, _) = Client::connected(&io).await;
    client.post("421[\"work\"]\x1e422[\"work\"]").await;
    let drained = drain(&io);
    assert_eq!(client.poll().await, "431[]");
    assert_eq!(client.poll().await, "432[]");
    assert_goodbye(&client).await;
    assert!(drained.await.unwrap() < DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_everybody_has_to_leave() {
    let (io, log) = server();
    io.on("work", async |_event: Event| std::future::pending::<()>().await);
    let (working, _) = Client::connected(&io).await;
    working.post("421[\"work\"]").await;
    let (asked, socket) = Client::connected(&io).await;
    let answer = socket.emit_with_ack::<u8>("question", &());
    let drained = drain(&io);
    assert_eq!(asked.poll().await, r#"420["question"]"#);
    let polls = [polling(working), polling(asked)];
    let took = drained.await.unwrap();
    assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(1), "{took:?}");
    for poll in polls {
        assert_eq!(poll.await.unwrap(), "1");
    }
    assert!(matches!(answer.await, Err(AckError::Disconnected)));
    assert_eq!(log.take(), vec!["/ server shutting down 0"; 2]);
    assert_eq!(io.clients_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_answered_keeps_nobody() {
    let (io, log) = server();
    io.on_connect(async |_: Socket| std::future::pending::<()>().await);
    io.on("work", async |event: Event| {
        event.ack(&())?;
        std::future::pending::<Result<(), EmitError>>().await
    });
    let (client, _) = Client::connected(&io).await;
    client.post("421[\"work\"]").await;
    assert_eq!(client.poll().await, "431[]");
    let _poll = polling(client);
    assert!(drain(&io).await.unwrap() < DEADLINE);
    assert_eq!(log.take(), ["/ server shutting down 0"]);
}

#[tokio::test(start_paused = true)]
async fn who_has_joined_nothing_leaves_too() {
    let (io, log) = server();
    let poll = polling(Client::open(&io).await);
    io.use_(async |_: Socket| std::future::pending::<Result<(), ConnectError>>().await);
    let joining = Client::open(&io).await;
    joining.post("40").await;
    let joining = polling(joining);
    assert!(drain(&io).await.unwrap() < DEADLINE);
    assert_eq!([poll.await.unwrap(), joining.await.unwrap()], ["1", "1"]);
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_first_call_sets_the_deadline_and_goes_on_without_its_caller() {
    let (io, log) = server();
    let (client, _) = Client::connected(&io).await;
    let poll = polling(client);
    tokio::select! {
        biased;
        () = io.drain(DEADLINE) => panic!("the client has not left yet"),
        () = settle() => {}
    }
    assert_eq!(poll.await.unwrap(), "1");
    settle().await;
    assert_eq!(log.take(), ["/ server shutting down 0"]);
    assert!(drain(&io).await.unwrap() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn without_time_draining_is_closing() {
    let (io, log) = server();
    let (client, _) = Client::connected(&io).await;
    io.drain(Duration::ZERO).await;
    assert_eq!(log.take(), ["/ server shutting down 0"]);
    assert!(client.is_closed().await);
}
