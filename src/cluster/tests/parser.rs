//! Servers and emitters with a parser of their own.

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::{ClusterParser, JsonClusterParser, RedisAdapter, RedisEmitError, RedisEmitter};
use crate::testing::TestClient;
use crate::{EmitError, ParserError, Server, Value};

/// JSON behind a mark, and with texts that it refuses.
#[derive(Debug)]
struct Marked;

impl ClusterParser for Marked {
    fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError> {
        let json = JsonClusterParser.encode(message)?;
        match String::from_utf8_lossy(&json).contains("unwritable") {
            true => Err(ParserError::new("this is refused")),
            false => Ok([b"<", &*json].concat()),
        }
    }

    fn decode(&self, message: &[u8]) -> Result<Value, ParserError> {
        let json = message.strip_prefix(b"<").ok_or_else(|| ParserError::new("no mark"))?;
        JsonClusterParser.decode(json)
    }
}

#[tokio::test]
async fn servers_and_an_emitter_with_one_parser_understand_each_other() {
    let redis = RedisServer::start();
    let url = redis.url();
    let start = async || {
        let adapter = RedisAdapter::new(config(&url)).parser(Marked).connect().await.unwrap();
        (Server::builder().adapter(adapter.clone()).build().unwrap(), adapter)
    };
    let [(first, adapter), (second, other)] = [start().await, start().await];
    let counted = || redis.cli(&["PUBSUB", "NUMSUB", "socket.io-request#/#"]) == "socket.io-request#/#\n2";
    until("both servers listen", counted).await;
    let emitter = RedisEmitter::new(config(&url)).parser(Marked).connect().await.unwrap();
    let [mut ann, mut bob] =
        [TestClient::connect(&first).await.unwrap(), TestClient::connect(&second).await.unwrap()];

    first.emit("news", &1).unwrap();
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.expect::<u32>("news").await.unwrap(), 1);
    }
    emitter.emit("news", &2).unwrap();
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.expect::<u32>("news").await.unwrap(), 2);
    }
    let answer = async |client: &mut TestClient, answer: &str| {
        client.expect_event("ask").await.unwrap().ack(answer).unwrap();
    };
    let asked = first.timeout(PATIENCE).emit_with_ack::<String>("ask", &());
    let (answers, (), ()) = tokio::join!(asked, answer(&mut ann, "ann"), answer(&mut bob, "bob"));
    let mut answers = answers.unwrap();
    answers.sort();
    assert_eq!(answers, ["ann", "bob"]);

    // What the parser does not write, this server's clients get all the same; an emitter has none.
    first.emit("unwritable", &3).unwrap();
    assert_eq!(ann.expect::<u32>("unwritable").await.unwrap(), 3);
    assert_eq!(adapter.stats().unencodable, 1);
    let refused = emitter.emit("unwritable", &()).unwrap_err();
    assert!(matches!(refused, RedisEmitError::Event(EmitError::Parser(_))), "{refused}");

    assert_eq!(other.stats().ignored, 0);
    redis.cli(&["PUBLISH", "socket.io#/#", r#"["x",{"type":2,"data":["news",4],"nsp":"/"},{}]"#]);
    redis.cli(&["PUBLISH", "socket.io-request#/#", "garbage"]);
    redis.cli(&["PUBLISH", "socket.io#/#", r#"<["x",{"type":2,"data":["news",5],"nsp":"/"},{}]"#]);
    assert_eq!(bob.expect::<u32>("news").await.unwrap(), 5);
    until("what makes no sense is counted", || other.stats().ignored == 2).await;
    for server in [&first, &second] {
        server.close().await;
    }
}
