//! Events that are declared once: emitted to anything, handled anywhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use ferrio::testing::TestClient;
use ferrio::{AckError, Event, EventType, HandlerError, SerializeAs, Server, TypedEvent};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Job {
    name: String,
    steps: Vec<u32>,
}

#[derive(Serialize)]
struct JobRef<'a> {
    name: &'a str,
    steps: &'a [u32],
}

impl SerializeAs<Job> for JobRef<'_> {}

const ADD: EventType<(f64, f64), f64> = EventType::new("add");
const NOTE: EventType<String> = EventType::new("note");
const NUMBERS: EventType<Vec<u8>, ()> = EventType::new("numbers");
const READY: EventType<()> = EventType::new("ready");
const STARTED: EventType<Job> = EventType::new("started");
static COUNT: EventType<u64, u64> = EventType::new("count");

async fn add(event: TypedEvent<f64>, (a, b): (f64, f64)) -> Result<(), HandlerError> {
    assert_eq!(event.name(), "add");
    assert!(event.wants_ack());
    Ok(event.ack(a + b)?)
}

#[tokio::test(start_paused = true)]
async fn a_handler_gets_what_was_declared_wherever_it_is_added() {
    let io = Server::new();
    let parent = io.of_pattern("^/tenant-[0-9]+$").unwrap();
    ADD.on(&io, add);
    ADD.on(&io.of("/chat"), add);
    ADD.on(&parent, add);
    let main = TestClient::connect(&io).await.unwrap();
    let socket = io.of("/").socket(main.id().as_str()).unwrap();
    COUNT.on(&socket, async |event, count| event.ack(count + 1));
    for client in [&main, &main.join("/chat").await.unwrap(), &main.join("/tenant-1").await.unwrap()] {
        assert_eq!(ADD.emit_with_ack(client, (1.0, 2.5)).await.unwrap(), 3.5);
    }
    assert_eq!(COUNT.emit_with_ack(&main, 1).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_emitted_to_whatever_can_be_emitted_to() {
    let io = Server::new();
    let parent = io.of_pattern("^/tenant-[0-9]+$").unwrap();
    let mut client = TestClient::connect(&io).await.unwrap();
    let mut tenant = client.join("/tenant-1").await.unwrap();
    let socket = io.of("/").socket(client.id().as_str()).unwrap();
    let remote = io.fetch_sockets().await.unwrap().remove(0);
    let job = Job { name: "crawl".to_owned(), steps: vec![1, 2] };

    STARTED.emit(&io, &job).unwrap();
    STARTED.emit(&io.of("/"), &job).unwrap();
    STARTED.emit(&io.to(client.id()).compress(false), &job).unwrap();
    STARTED.emit(&socket, &job).unwrap();
    STARTED.emit(&remote, JobRef { name: "crawl", steps: &[1, 2] }).unwrap();
    for _ in 0..5 {
        assert_eq!(STARTED.expect(&mut client).await.unwrap(), job);
    }
    STARTED.emit(&parent, &job).unwrap();
    STARTED.emit(&parent.except("nobody"), &job).unwrap();
    for _ in 0..2 {
        assert_eq!(STARTED.expect(&mut tenant).await.unwrap(), job);
    }
    READY.emit(&io, ()).unwrap();
    READY.expect(&mut client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_what_was_declared_from_one_and_from_many() {
    let io = Server::new();
    let mut client = TestClient::connect(&io).await.unwrap();
    let socket = io.of("/").socket(client.id().as_str()).unwrap();
    let remote = io.fetch_sockets().await.unwrap().remove(0);
    let second = Duration::from_secs(1);

    for one in [COUNT.emit_with_ack(&socket, 1), COUNT.emit_with_ack(&socket.timeout(second), 1)] {
        COUNT.answer(&mut client, |count| count + 1).await.unwrap();
        assert_eq!(one.await.unwrap(), 2);
    }
    for one in [COUNT.emit_with_ack(&remote, 1), COUNT.emit_with_ack(&remote.timeout(second), 1)] {
        COUNT.answer(&mut client, |count| count + 1).await.unwrap();
        assert_eq!(one.await.unwrap(), 2);
    }
    for many in [COUNT.emit_with_ack(&io, 1), COUNT.emit_with_ack(&io.of("/").local(), 1)] {
        COUNT.answer(&mut client, |count| count + 1).await.unwrap();
        assert_eq!(many.await.unwrap(), [2]);
    }
    let silent = COUNT.emit_with_ack(&socket.timeout(second), 1);
    assert!(matches!(silent.await, Err(AckError::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn borrowed_values_are_written_as_owned_ones() {
    let io = Server::new();
    let mut client = TestClient::connect(&io).await.unwrap();
    NOTE.emit(&io, "text").unwrap();
    NOTE.emit(&io, "text".to_owned()).unwrap();
    for _ in 0..2 {
        assert_eq!(NOTE.expect(&mut client).await.unwrap(), "text");
    }
    let answers = [NUMBERS.emit_with_ack(&io, &[1, 2][..]), NUMBERS.emit_with_ack(&io, vec![1, 2])];
    for answer in answers {
        NUMBERS.answer(&mut client, |numbers| assert_eq!(numbers, [1, 2])).await.unwrap();
        drop(answer);
    }
}

#[tokio::test(start_paused = true)]
async fn the_elements_of_a_tuple_may_be_borrowed_each_by_itself() {
    type All = (String, Option<String>, Vec<String>, Job, u32);
    const ALL: EventType<All> = EventType::new("all");
    const PAIR: EventType<(String, Option<u32>), (String, u32)> = EventType::new("pair");
    let io = Server::new();
    let mut client = TestClient::connect(&io).await.unwrap();
    let job = Job { name: "crawl".to_owned(), steps: vec![1] };
    let owned = ("a".to_owned(), Some("b".to_owned()), vec!["c".to_owned()], job.clone(), 4);
    ALL.emit(&io, &owned).unwrap();
    ALL.emit(&io, ("a", Some("b"), vec!["c"], &job, 4)).unwrap();
    ALL.emit(&io, (&owned.0, &owned.1, &owned.2[..], JobRef { name: "crawl", steps: &[1] }, &4)).unwrap();
    for _ in 0..3 {
        assert_eq!(ALL.expect(&mut client).await.unwrap(), owned);
    }
    PAIR.emit(&io, ("none".to_owned(), &None)).unwrap();
    assert_eq!(PAIR.expect(&mut client).await.unwrap(), ("none".to_owned(), None));

    PAIR.on(&io, async |event, (text, number)| event.ack((text.as_str(), number.unwrap_or(0))));
    assert_eq!(PAIR.emit_with_ack(&client, ("some", Some(5))).await.unwrap(), ("some".to_owned(), 5));
}

#[tokio::test(start_paused = true)]
async fn plain_strings_stay_possible_beside_it() {
    let io = Server::new();
    ADD.on(&io, add);
    io.on(NOTE.name(), async |event: Event| {
        event.ack(&event.args::<String>()?.len())?;
        Ok::<_, HandlerError>(())
    });
    let client = TestClient::connect(&io).await.unwrap();
    assert_eq!(client.emit_with_ack::<f64>("add", &(1, 2)).await.unwrap(), 3.0);
    assert_eq!(client.emit_with_ack::<usize>("note", "four").await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_do_not_fit_are_the_failure_of_the_handler() {
    let io = Server::new();
    ADD.on(&io, async |_, _| -> Result<(), HandlerError> { panic!("nothing fits") });
    let client = TestClient::connect(&io).await.unwrap();
    for _ in 0..3 {
        let answer = client.emit_with_ack::<f64>("add", &("one", "two")).await;
        assert!(matches!(answer, Err(AckError::Timeout)));
    }
    assert_eq!((io.stats().handler_errors, io.stats().handler_panics), (3, 0));
}
