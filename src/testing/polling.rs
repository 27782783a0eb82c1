//! A test client by HTTP long-polling: requests are handed to the engine, as a tower service does.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::TestError;
use super::builder::Head;
use super::link::{CLOSED, Outgoing, Router};
use crate::proto::EncodedMessage;
use crate::proto::engineio::{Packet, Payload};
use crate::server::Server;

/// A session by polling.
pub(super) struct Polling {
    io: Server,
    head: Head,
    uri: Uri,
}

/// Of the open packet.
#[derive(Deserialize)]
struct Open {
    sid: String,
}

impl Polling {
    /// Opens a session; gives the tasks that poll and post.
    pub(super) async fn open(
        io: &Server,
        head: Head,
        router: &Arc<Router>,
        mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    ) -> Result<JoinSet<()>, TestError> {
        let uri: Uri = head.target.parse().map_err(|error| TestError::Request(http::Error::from(error)))?;
        let mut polling = Polling { io: io.clone(), head, uri };
        let (status, body) = polling.request(Method::GET, Bytes::new()).await;
        let sid = session_id(&body).filter(|_| status == StatusCode::OK);
        let sid = sid.ok_or_else(|| TestError::Refused { status, body: body.to_string() })?;
        polling.uri = format!("{}&sid={sid}", polling.head.target)
            .parse()
            .map_err(|error| TestError::Request(http::Error::from(error)))?;

        let polling = Arc::new(polling);
        let mut tasks = JoinSet::new();
        let (poller, router) = (Arc::clone(&polling), Arc::clone(router));
        tasks.spawn(async move {
            let why = poller.poll(&router, body).await;
            router.end(&why);
        });
        tasks.spawn(async move {
            while let Some(outgoing) = outgoing.recv().await {
                polling.post(outgoing).await;
            }
        });
        Ok(tasks)
    }

    /// Polls until the session ends; gives the reason.
    async fn poll(&self, router: &Arc<Router>, mut body: ByteString) -> String {
        let mut decoder = router.decoder();
        loop {
            for packet in Payload::decode(body) {
                let packet = packet.map_err(|_| "a poll's answer holds what is no packet".to_owned());
                if let Err(why) = packet.and_then(|packet| router.receive(packet, &mut decoder)) {
                    return why;
                }
            }
            let (status, next) = self.request(Method::GET, Bytes::new()).await;
            if status != StatusCode::OK {
                return CLOSED.to_owned();
            }
            body = next;
        }
    }

    /// Each message goes alone: together they might be more than the server takes. Of a session that has ended the poll
    /// tells.
    async fn post(&self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Message(message) => drop(self.request(Method::POST, message.polling4()).await),
            Outgoing::Close => {
                drop(self.request(Method::POST, EncodedMessage::close().polling4()).await);
            }
            // Whoever waited may have stopped waiting.
            Outgoing::Flush(written) => drop(written.send(())),
        }
    }

    async fn request(&self, method: Method, body: Bytes) -> (StatusCode, ByteString) {
        let request = self.head.request(method, self.uri.clone(), body);
        let response = self.io.engine().handle(request, self.head.peer).await;
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(never) => match never {},
        };
        (parts.status, String::from_utf8_lossy(&body).into_owned().into())
    }
}

fn session_id(body: &ByteString) -> Option<String> {
    let Some(Ok(Packet::Open(open))) = Payload::decode(body.clone()).next() else { return None };
    serde_json::from_str(&open).ok().map(|Open { sid }| sid)
}
