use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_acknowledges() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let first = socket.emit_with_ack::<String>("question", &(1, 2));
    let second = socket.emit_with_ack::<(u8, Vec<u8>)>("question", &());
    assert_eq!(client.poll().await, r#"420["question",1,2]|421["question"]"#);
    client.post("431[7,[8]]\x1e430[\"yes\",\"surplus\"]\x1e430[\"again\"]\x1e4399[]\x1e43").await;
    assert_eq!(first.await.unwrap(), "yes");
    assert_eq!(second.await.unwrap(), (7, vec![8]));
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_times_out() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let answer = socket.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("question", &());
    assert!(matches!(answer.await, Err(AckError::Timeout)));
    client.poll().await;
    client.post("430[1]").await;
    assert!(!client.is_closed().await);
    assert_eq!(AckError::Timeout.to_string(), "operation has timed out");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_socket_is_the_end_of_the_wait() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let answer = socket.emit_with_ack::<u8>("question", &());
    client.post("41").await;
    assert!(matches!(answer.await, Err(AckError::Disconnected)));
    let answer = socket.emit_with_ack::<u8>("question", &());
    assert!(matches!(answer.await, Err(AckError::Disconnected)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_type_is_told() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let answer = socket.emit_with_ack::<u8>("question", &());
    client.post("430[\"text\"]").await;
    assert!(matches!(answer.await, Err(AckError::Args(_))));
    let nothing = socket.emit_with_ack::<Option<u8>>("question", &());
    client.post("431").await;
    assert_eq!(nothing.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_reserved_name_is_not_emitted() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    assert!(socket.emit("disconnect", &()).is_err());
    assert!(matches!(socket.emit_with_ack::<()>("connect", &()).await, Err(AckError::Emit(_))));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_beyond_all_time_is_none() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let answer = socket.timeout(Duration::MAX).emit_with_ack::<u8>("question", &());
    client.post("430[1]").await;
    assert_eq!(answer.await.unwrap(), 1);
}
