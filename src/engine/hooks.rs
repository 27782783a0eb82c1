//! Hooks: where an application has a say in a request before Engine.IO answers it, and in the headers of the answer.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};

use super::{PeerInfo, ResponseBody};

/// A request without its body, as hooks see it. Cheap to clone.
#[derive(Clone)]
pub struct RequestHead(Arc<Head>);

struct Head {
    request: Request<()>,
    peer: PeerInfo,
    is_upgrade: bool,
}

impl RequestHead {
    pub(crate) fn new(request: Request<()>, peer: PeerInfo, is_upgrade: bool) -> RequestHead {
        RequestHead(Arc::new(Head { request, peer, is_upgrade }))
    }

    pub(crate) fn request(&self) -> &Request<()> {
        &self.0.request
    }

    /// Gives the method.
    pub fn method(&self) -> &Method {
        self.0.request.method()
    }

    /// Gives the request's target; its query holds Engine.IO's parameters and the application's.
    pub fn uri(&self) -> &Uri {
        self.0.request.uri()
    }

    /// Gives the headers.
    pub fn headers(&self) -> &HeaderMap {
        self.0.request.headers()
    }

    /// Gives what the host, or a tower layer in front, left with the request.
    pub fn extensions(&self) -> &Extensions {
        self.0.request.extensions()
    }

    /// Gives the HTTP version.
    pub fn version(&self) -> http::Version {
        self.0.request.version()
    }

    /// Says who sends it.
    pub fn peer(&self) -> PeerInfo {
        self.0.peer
    }

    /// Whether it is the handshake of a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.0.is_upgrade
    }

    /// Looks up a parameter of the query; of several with one name, the last.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.uri().query().unwrap_or("");
        let values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        values.last().map(|(_, value)| value.into_owned())
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Target and headers hold credentials.
        f.debug_struct("RequestHead").field("method", self.method()).finish_non_exhaustive()
    }
}

/// The error of a hook: whatever the application's functions return.
pub type HookError = Box<dyn Error + Send + Sync>;

/// An async function of the application that is given a request and answers with an `O`.
///
/// # Example: only with a cookie
/// ```
/// use ferrio::engine::{EngineConfig, Forbidden, Hook, RequestHead};
///
/// let mut config = EngineConfig::default();
/// config.allow_request = Some(Hook::new(async |request: RequestHead| {
///     match request.headers().get("cookie") {
///         Some(_) => Ok(()),
///         None => Err(Forbidden::new("log in first")),
///     }
/// }));
/// ```
pub struct Hook<O>(Arc<HookFunction<O>>);

type HookFunction<O> = dyn Fn(RequestHead) -> BoxFuture<'static, O> + Send + Sync;

impl<O> Hook<O> {
    /// Makes a hook of an async function or closure.
    ///
    /// It is dropped unfinished when the client goes away meanwhile.
    pub fn new<F, Fut>(function: F) -> Hook<O>
    where
        F: Fn(RequestHead) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
    {
        Hook(Arc::new(move |request| Box::pin(function(request))))
    }

    /// An error if the function panics.
    pub(crate) async fn call(&self, request: &RequestHead) -> Result<O, Panicked> {
        // What a panic may leave half done is the application's; of ours nothing is touched.
        let call = AssertUnwindSafe(async { (self.0)(request.clone()).await });
        call.catch_unwind().await.map_err(|_| {
            tracing::error!("a hook of the engine panicked");
            Panicked
        })
    }
}

/// Calls a function of the application; `None` if it panics, which ends nothing but itself.
pub(crate) fn contain<R>(name: &str, call: impl FnOnce() -> R) -> Option<R> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(call));
    result.inspect_err(|_| tracing::error!("{name} panicked")).ok()
}

/// A hook panicked.
#[derive(Debug)]
pub(crate) struct Panicked;

impl<O> Clone for Hook<O> {
    fn clone(&self) -> Hook<O> {
        Hook(Arc::clone(&self.0))
    }
}

impl<O> fmt::Debug for Hook<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// The refusal of `allow_request`: 403 (400 for a WebSocket) with this message, or with the message `Forbidden`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forbidden {
    pub(crate) message: Option<String>,
}

impl Forbidden {
    /// Refuses with a message that the client is told; [`Forbidden::default`] has none.
    pub fn new(message: impl Into<String>) -> Forbidden {
        Forbidden { message: Some(message.into()) }
    }
}

/// What a middleware wants: the request goes on, or is answered at once.
#[derive(Debug)]
pub enum Next {
    /// The next middleware, and at last Engine.IO, see the request; the answer, whatever it is, gets what was passed.
    Continue(Passed),
    /// This is the answer. A WebSocket handshake gets none, as on Node: the connection is cut.
    End(Response<ResponseBody>),
}

/// What a middleware passes on.
#[derive(Debug, Default)]
pub struct Passed {
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
}

impl Next {
    /// Lets the request go on.
    pub fn pass() -> Next {
        Next::Continue(Passed::default())
    }

    /// Answers at once.
    pub fn end(response: Response<impl Into<bytes::Bytes>>) -> Next {
        Next::End(response.map(|body| ResponseBody::new(body.into())))
    }

    /// Lets the request go on, and adds a header to its answer, the 101 of a WebSocket included.
    pub fn with_header(name: HeaderName, value: HeaderValue) -> Next {
        let mut passed = Passed::default();
        passed.headers.append(name, value);
        Next::Continue(passed)
    }

    /// Lets the request go on, and adds these headers to its answer.
    pub fn with_headers(headers: HeaderMap) -> Next {
        Next::Continue(Passed { headers, extensions: Extensions::new() })
    }

    /// Lets the request go on; a session that it opens keeps `value`, see
    /// [`HandshakeRequest::extension`](super::HandshakeRequest::extension). It is how what a middleware found (a user,
    /// say) reaches the handlers.
    #[must_use]
    pub fn with_extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Next {
        if let Next::Continue(passed) = &mut self {
            passed.extensions.insert(value);
        }
        self
    }
}

/// A function of the application that changes the headers of an answer: Node's `headers` and `initial_headers` events.
pub struct HeadersHook(Arc<HeadersFunction>);

type HeadersFunction = dyn Fn(&mut HeaderMap, &RequestHead) + Send + Sync;

impl HeadersHook {
    /// Makes a hook of a function or closure.
    pub fn new(function: impl Fn(&mut HeaderMap, &RequestHead) + Send + Sync + 'static) -> HeadersHook {
        HeadersHook(Arc::new(function))
    }

    /// What a function that panics has changed until then stays.
    pub(crate) fn call(&self, headers: &mut HeaderMap, request: &RequestHead) {
        contain("a headers hook", || (self.0)(headers, request));
    }
}

impl Clone for HeadersHook {
    fn clone(&self) -> HeadersHook {
        HeadersHook(Arc::clone(&self.0))
    }
}

impl fmt::Debug for HeadersHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadersHook")
    }
}
