//! ParentNamespace: many namespaces by one rule, each made when a client asks for it.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use regex_lite::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::adapter::BroadcastOptions;
use super::broadcast::BroadcastOperator;
use super::connect_error::ConnectError;
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::handler::{
    ConnectHandler, DisconnectHandler, EventHandler, HandlerError, HandlerOutput, ListenerId, Middleware,
    MiddlewareOutput, ServerSideHandler, warn_of_special_name,
};
use super::handlers::{Handlers, append};
use super::handshake::{AuthError, Handshake};
use super::namespace::Namespace;
use super::namespaces::Registry;
use super::rooms::IntoRooms;
use super::server_side::ServerSideEvent;
use super::socket::{EmitError, Socket};
use super::{Server, ServerBuilder};
use crate::engine::ConfigError;
use crate::sync::RwLock;

/// The namespaces whose names match a pattern, or which a function allows: its children. Made by [`Server::of_pattern`] and
/// [`Server::of_predicate`]. Cheap to clone.
///
/// A child comes to be when the first client asks for its name, and is found by its exact name from then on. Middlewares
/// and handlers that are added here are copied to each child when it is made; those that are added later reach only
/// later children, and so does the removal of one ([`ParentNamespace::off`]): a child is rid of it by [`Namespace::off`].
///
/// # Example: a namespace for each tenant
/// ```
/// use ferrio::{ConnectError, Event, HandlerError, Server, Socket};
///
/// let io = Server::new();
/// let tenants = io.of_pattern(r"^/tenant-[0-9]+$")?;
/// tenants.use_(async |socket: Socket| {
///     let token: Option<String> = socket.handshake().query().get("token").cloned();
///     token.map(drop).ok_or(ConnectError::new("who are you?"))
/// });
/// tenants.on("say", async |event: Event| {
///     let text: String = event.args()?;
///     event.socket().broadcast().emit("said", &text)?;
///     Ok::<_, HandlerError>(())
/// });
/// tenants.emit("maintenance", &"in ten minutes")?; // to everybody in all of them
/// # Ok::<_, HandlerError>(())
/// ```
///
/// # What clients can do with it
/// A client chooses the name. Each name that is accepted becomes a namespace with its memory, and stays when the client
/// has gone, unless [`ServerBuilder::cleanup_empty_child_namespaces`] is set. There are at most
/// [`ServerBuilder::max_dynamic_namespaces`]; over it a client is refused with `Too many namespaces`. Names of more than
/// 1024 bytes are refused (`Invalid namespace`).
#[derive(Clone)]
pub struct ParentNamespace {
    inner: Arc<Inner>,
}

struct Inner {
    number: usize,
    name: String,
    rule: Rule,
    handlers: RwLock<Handlers>,
    namespaces: Registry,
}

enum Rule {
    Pattern(Regex),
    Predicate(Box<Predicate>),
}

type Predicate = dyn Fn(NamespaceRequest) -> BoxFuture<'static, Result<bool, HandlerError>> + Send + Sync;

impl ParentNamespace {
    /// Gives the name, `/_0` for the first parent, `/_1` for the second. No client can join it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Gives the children there are now, in no particular order.
    pub fn children(&self) -> Vec<Namespace> {
        let namespaces = self.inner.namespaces.upgrade();
        namespaces.map(|namespaces| namespaces.children_of(self.inner.number)).unwrap_or_default()
    }

    /// Adds a middleware to the children to come, see [`Namespace::use_`].
    pub fn use_<F, Fut>(&self, middleware: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: MiddlewareOutput> + Send + 'static,
    {
        append(&mut self.inner.handlers.write().middlewares, Middleware::new(middleware));
    }

    /// Adds a handler of new sockets to the children to come, see [`Namespace::on_connect`].
    pub fn on_connect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        append(&mut self.inner.handlers.write().connect, ConnectHandler::new(handler));
    }

    /// Adds a handler of an event to the children to come, see [`Namespace::on`]. The id is for [`Namespace::off`] of a child.
    pub fn on<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = EventHandler::new(handler);
        let id = handler.id();
        self.inner.handlers.write().events.add(event, handler);
        id
    }

    /// Adds a handler of what other servers emit to their peers in a child to the children to come, see
    /// [`Namespace::on_server_side`].
    pub fn on_server_side<F, Fut>(&self, event: &str, handler: F)
    where
        F: Fn(ServerSideEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let mut handlers = self.inner.handlers.write();
        let list = handlers.server_side.entry(event.into()).or_default();
        append(list, ServerSideHandler::new(handler));
    }

    /// Adds a handler of sockets that left to the children to come, see [`Namespace::on_disconnect`].
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        append(&mut self.inner.handlers.write().disconnect, DisconnectHandler::new(handler));
    }

    /// Emits an event to all sockets of all children.
    ///
    /// # Errors
    /// If there are children, and the event's name is reserved or `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.everybody().emit(event, args)
    }

    /// Emits the event `message` to all sockets of all children: Node's `send` and `write`.
    ///
    /// # Errors
    /// If there are children, and `args` cannot be serialized.
    pub fn send<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Addresses the sockets in these rooms of all children; see
    /// [`BroadcastOperator::to`](super::BroadcastOperator::to).
    pub fn to(&self, rooms: impl IntoRooms) -> ParentBroadcastOperator {
        self.everybody().to(rooms)
    }

    /// Addresses the sockets in these rooms of all children, as [`ParentNamespace::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> ParentBroadcastOperator {
        self.to(rooms)
    }

    /// Addresses all sockets of all children that are not in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> ParentBroadcastOperator {
        self.everybody().except(rooms)
    }

    /// Addresses all sockets of all children that are connected to this process.
    pub fn local(&self) -> ParentBroadcastOperator {
        self.everybody().local()
    }

    /// Addresses all sockets of all children, with events that may be lost.
    pub fn volatile(&self) -> ParentBroadcastOperator {
        self.everybody().volatile()
    }

    /// Addresses all sockets of all children, with events that may be compressed or not.
    pub fn compress(&self, compress: bool) -> ParentBroadcastOperator {
        self.everybody().compress(compress)
    }

    /// Addresses all sockets of all children, with an event that takes the place of the waiting one with the same key.
    pub fn coalesce(&self, key: &str) -> ParentBroadcastOperator {
        self.everybody().coalesce(key)
    }

    fn everybody(&self) -> ParentBroadcastOperator {
        ParentBroadcastOperator { parent: self.clone(), options: BroadcastOptions::default(), coalesce: None }
    }

    /// What children to come begin with.
    pub(crate) fn template(&self) -> &RwLock<Handlers> {
        &self.inner.handlers
    }

    pub(crate) fn number(&self) -> usize {
        self.inner.number
    }

    /// Changes what is registered; it must not call user code.
    pub(crate) fn change_handlers(&self, change: impl FnOnce(&mut Handlers)) {
        change(&mut self.inner.handlers.write());
    }

    /// What a child begins with.
    pub(crate) fn handlers(&self) -> Handlers {
        self.inner.handlers.read().clone()
    }

    /// Whether its pattern matches, if it has one.
    pub(crate) fn matches(&self, name: &str) -> bool {
        matches!(&self.inner.rule, Rule::Pattern(regex) if regex.is_match(name))
    }

    /// Whether a client may have this namespace.
    pub(crate) async fn accepts(&self, request: &NamespaceRequest) -> bool {
        match &self.inner.rule {
            Rule::Pattern(regex) => regex.is_match(request.name()),
            Rule::Predicate(predicate) => predicate(request.clone()).await.unwrap_or_else(|error| {
                tracing::debug!(error, parent = self.inner.name, "a namespace is refused");
                false
            }),
        }
    }
}

impl fmt::Debug for ParentNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParentNamespace").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

/// Some sockets of all children of a parent, chosen by rooms; see [`BroadcastOperator`](super::BroadcastOperator).
///
/// As on Node, it cannot fetch sockets: ask each of [`ParentNamespace::children`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`"]
pub struct ParentBroadcastOperator {
    parent: ParentNamespace,
    options: BroadcastOptions,
    coalesce: Option<Arc<str>>,
}

impl ParentBroadcastOperator {
    /// Adds rooms, see [`BroadcastOperator::to`](super::BroadcastOperator::to).
    pub fn to(&self, rooms: impl IntoRooms) -> ParentBroadcastOperator {
        let mut other = self.clone();
        other.options.rooms.extend(rooms.into_rooms());
        other
    }

    /// Adds rooms, as [`ParentBroadcastOperator::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> ParentBroadcastOperator {
        self.to(rooms)
    }

    /// Leaves out the sockets that are in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> ParentBroadcastOperator {
        let mut other = self.clone();
        other.options.except.extend(rooms.into_rooms());
        other
    }

    /// Addresses only sockets of this process, see [`BroadcastOperator::local`](super::BroadcastOperator::local).
    pub fn local(&self) -> ParentBroadcastOperator {
        let mut other = self.clone();
        other.options.flags.local = true;
        other
    }

    /// Lets what is emitted be lost, see [`BroadcastOperator::volatile`](super::BroadcastOperator::volatile).
    pub fn volatile(&self) -> ParentBroadcastOperator {
        let mut other = self.clone();
        other.options.flags.volatile = true;
        other
    }

    /// Sets whether what is emitted may be compressed, see
    /// [`BroadcastOperator::compress`](super::BroadcastOperator::compress).
    pub fn compress(&self, compress: bool) -> ParentBroadcastOperator {
        let mut other = self.clone();
        other.options.flags.compress = Some(compress);
        other
    }

    /// Lets what is emitted take the place of what waits with the same key, see
    /// [`BroadcastOperator::coalesce`](super::BroadcastOperator::coalesce). Each child has keys of its own.
    pub fn coalesce(&self, key: &str) -> ParentBroadcastOperator {
        let mut other = self.clone();
        other.coalesce = Some(key.into());
        other
    }

    /// Emits an event to the sockets that are addressed in the children there are now. It is encoded once for each child,
    /// whose name is a part of it.
    ///
    /// # Errors
    /// If there are children, and the event's name is reserved or `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        for child in self.parent.children() {
            let mut sockets = BroadcastOperator::with_options(child, self.options.clone());
            if let Some(key) = &self.coalesce {
                sockets = sockets.coalesce(key);
            }
            sockets.emit(event, args)?;
        }
        Ok(())
    }
}

/// A namespace that a client asks for and that there is not, for a function that decides; see [`Server::of_predicate`].
#[derive(Clone, Debug)]
pub struct NamespaceRequest {
    name: ByteString,
    handshake: Arc<Handshake>,
}

impl NamespaceRequest {
    pub(crate) fn new(name: ByteString, handshake: Handshake) -> NamespaceRequest {
        NamespaceRequest { name, handshake: Arc::new(handshake) }
    }

    pub(crate) fn into_name(self) -> ByteString {
        self.name
    }

    /// Gives the name of the namespace, with its slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads what the client sent as `auth`, see [`Handshake::auth`].
    ///
    /// # Errors
    /// If it is something else than `T` says.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, AuthError> {
        self.handshake.auth()
    }

    /// Gives what the client came with: headers, query, address.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }
}

/// What a function that decides over namespaces returns: `bool`, or `Result<bool, E>` or `Result<(), E>`, whose error
/// refuses.
#[diagnostic::on_unimplemented(
    message = "a predicate of namespaces cannot return `{Self}`",
    label = "this predicate returns `{Self}`",
    note = "it returns `bool`, or `Result<bool, E>` or `Result<(), E>` where `E` is an error type, whose error refuses"
)]
pub trait PredicateOutput {
    /// Gives the decision.
    ///
    /// # Errors
    /// Why not.
    fn into_decision(self) -> Result<bool, HandlerError>;
}

impl PredicateOutput for bool {
    fn into_decision(self) -> Result<bool, HandlerError> {
        Ok(self)
    }
}

impl<E: Into<HandlerError>> PredicateOutput for Result<bool, E> {
    fn into_decision(self) -> Result<bool, HandlerError> {
        self.map_err(Into::into)
    }
}

impl<E: Into<HandlerError>> PredicateOutput for Result<(), E> {
    fn into_decision(self) -> Result<bool, HandlerError> {
        self.map(|()| true).map_err(Into::into)
    }
}

impl Server {
    /// Makes the namespaces whose names match a regular expression: Node's `io.of(/…/)`. It is found anywhere in the name,
    /// which begins with a slash, unless `^` and `$` say where; it has no look-around and no back-references.
    ///
    /// What clients ask for is first looked for among the namespaces there are, then offered to the parents in the order
    /// in which they were made. [`Server::of`] with a name that matches gives a child, too.
    ///
    /// # Errors
    /// An invalid pattern.
    pub fn of_pattern(&self, pattern: &str) -> Result<ParentNamespace, ConfigError> {
        let regex = Regex::new(pattern).map_err(|error| ConfigError {
            option: "of_pattern",
            value: format!("{pattern:?} ({error})"),
            accepted: "a regular expression without look-around and back-references",
        })?;
        Ok(self.add_parent(Rule::Pattern(regex)))
    }

    /// Makes the namespaces that a function allows: Node's `io.of((name, auth, next) => …)`. It is asked whenever a client
    /// wants a namespace that there is not, and may wait. False and errors leave the decision to the next parent; when no
    /// parent wants the name, the client hears `Invalid namespace`. An error is logged (level debug), not sent: to tell the
    /// client why, accept the name and refuse in a middleware.
    ///
    /// # Example: one namespace for each room in the database
    /// ```
    /// use ferrio::{AuthError, NamespaceRequest, Server};
    /// # async fn exists(_room: &str) -> bool { true }
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Auth {
    ///     token: String,
    /// }
    ///
    /// let io = Server::new();
    /// io.of_predicate(async |request: NamespaceRequest| {
    ///     let auth: Auth = request.auth()?;
    ///     let Some(room) = request.name().strip_prefix("/room/") else { return Ok(false) };
    ///     Ok::<_, AuthError>(auth.token == "secret" && exists(room).await)
    /// });
    /// ```
    pub fn of_predicate<F, Fut>(&self, predicate: F) -> ParentNamespace
    where
        F: Fn(NamespaceRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: PredicateOutput> + Send + 'static,
    {
        self.add_parent(Rule::Predicate(Box::new(move |request| {
            predicate(request).map(PredicateOutput::into_decision).boxed()
        })))
    }

    /// Observes namespaces as they are made, by [`Server::of`] or because a client asked for the child of a parent: Node's
    /// `new_namespace` event. Not told of `/`, nor of those there are already.
    ///
    /// No client gets into the namespace before `observe` has returned, so that it can add what guards all namespaces;
    /// it must not block. If it panics, the namespace refuses all clients.
    ///
    /// # Example: one middleware for all
    /// ```
    /// use ferrio::{ConnectError, Namespace, Server, Socket};
    ///
    /// async fn check_token(socket: Socket) -> Result<(), ConnectError> {
    ///     match socket.handshake().query().get("token") {
    ///         Some(token) if token == "secret" => Ok(()),
    ///         _ => Err(ConnectError::new("bad token")),
    ///     }
    /// }
    ///
    /// let io = Server::new();
    /// io.use_(check_token);
    /// io.on_new_namespace(|namespace: Namespace| namespace.use_(check_token));
    /// ```
    pub fn on_new_namespace(&self, observe: impl Fn(Namespace) + Send + Sync + 'static) {
        self.hub().namespaces().observe(Arc::new(observe));
    }

    fn add_parent(&self, rule: Rule) -> ParentNamespace {
        let namespaces = self.hub().namespaces();
        namespaces.add_parent(|number| ParentNamespace {
            inner: Arc::new(Inner {
                number,
                name: format!("/_{number}"),
                rule,
                handlers: RwLock::default(),
                namespaces: Arc::downgrade(namespaces),
            }),
        })
    }
}

impl ServerBuilder {
    /// Sets whether a child of a [`ParentNamespace`] is removed when its last socket has left it (or when the only client
    /// that asked for it was refused). Default: false, as on Node. Set it where clients invent names; what the application
    /// keeps in a child, handlers added to it alone included, is then gone with it, and the next client that asks gets a new
    /// one.
    ///
    /// Namespaces made by [`Server::of`] stay, but for those whose names match a parent's pattern: they are children.
    pub fn cleanup_empty_child_namespaces(mut self, cleanup: bool) -> ServerBuilder {
        self.config.cleanup_empty_child_namespaces = cleanup;
        self
    }

    /// Sets how many children of [`ParentNamespace`]s there may be. Default: 10 000, which take about 10 MB when empty. Over
    /// it no client's wish makes another: it hears `Too many namespaces`, and [`Stats::namespaces_refused`](
    /// super::Stats::namespaces_refused) counts it. [`Server::of`] is not limited.
    pub fn max_dynamic_namespaces(mut self, namespaces: usize) -> ServerBuilder {
        self.config.max_dynamic_namespaces = namespaces;
        self
    }
}

impl ConnectError {
    /// There is no such namespace, and there will be none.
    pub(crate) fn invalid_namespace() -> ConnectError {
        ConnectError::new("Invalid namespace")
    }

    /// Whoever could not be checked does not get in.
    pub(crate) fn internal() -> ConnectError {
        ConnectError::new("internal server error")
    }
}
