//! Namespaces: which there are, and how a name that a client asks for becomes one.
//!
//! ```text
//!            known, open ──────────────────────────────────▶ Found
//!  CONNECT ─ known, observers still run ─▶ wait ───────────▶ Found
//!            unknown ─▶ ask the parents in order ─▶ create ─▶ observers ─▶ Found
//!                                 └ none accepts, or too many ─▶ ConnectError
//! ```

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytestring::ByteString;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::connect_error::ConnectError;
use super::handler::{Occasion, report_panic};
use super::handlers::{Handlers, append};
use super::hub::Shared;
use super::namespace::Namespace;
use super::parent::{NamespaceRequest, ParentNamespace};
use super::recovery::Store;
use super::shared_recovery::SharedStore;
use super::socket::Socket;
use super::stats::warn_limited;
use crate::proto::EncodedMessage;
use crate::proto::socketio::{Packet, PacketKind};
use crate::sync::RwLock;

/// All namespaces of a server.
pub(crate) struct Namespaces {
    shared: Arc<Shared>,
    registered: RwLock<Registered>,
    /// A namespace became open.
    opened: Notify,
}

#[derive(Default)]
struct Registered {
    by_name: HashMap<ByteString, Namespace>,
    /// In the order in which they are asked.
    parents: Arc<[ParentNamespace]>,
    /// How many of `by_name` have a parent.
    children: usize,
    observers: Arc<[Observer]>,
}

/// What the application wants to know of new namespaces.
pub(crate) type Observer = Arc<dyn Fn(Namespace) + Send + Sync>;

/// A namespace for a client that asked for it.
pub(crate) struct Found {
    pub(crate) namespace: Namespace,
    pub(crate) visit: Option<Visit>,
}

/// The answer to a client that asks for a name.
pub(crate) enum Lookup {
    Found(Found),
    Unknown,
    /// Something has to be asked or waited for.
    Waits(BoxFuture<'static, Result<Found, ConnectError>>),
}

impl Namespaces {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Namespaces> {
        Arc::new(Namespaces { shared, registered: RwLock::default(), opened: Notify::new() })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn all(&self) -> Vec<Namespace> {
        self.registered.read().by_name.values().cloned().collect()
    }

    /// The namespace of this name, made if there is none: as a child of the first parent whose pattern matches, if any.
    /// (Predicates are not asked, as on Node: they may wait, and want to know a client.)
    pub(crate) fn of(self: &Arc<Self>, name: &str) -> Namespace {
        let name = if name.starts_with('/') { ByteString::from(name) } else { format!("/{name}").into() };
        let known = self.registered.read().by_name.get(&name).cloned();
        if let Some(namespace) = known {
            return namespace;
        }
        let parents = Arc::clone(&self.registered.read().parents);
        let parent = parents.iter().find(|parent| parent.matches(&name));
        let farewell = self.farewell(&name);
        let mut registered = self.registered.write();
        if let Some(namespace) = registered.by_name.get(&name) {
            return namespace.clone();
        }
        let (namespace, observers) = self.create(&mut registered, name, farewell, parent);
        drop(registered);
        self.announce(&namespace, &observers);
        namespace
    }

    /// Says which namespace a client means that asks for `name`.
    pub(crate) fn look_up(
        self: &Arc<Self>,
        name: &str,
        request: impl FnOnce(ByteString) -> NamespaceRequest,
    ) -> Lookup {
        let parents = {
            let registered = self.registered.read();
            match registered.by_name.get(name) {
                None => Arc::clone(&registered.parents),
                Some(namespace) => {
                    let found = self.visit(namespace);
                    if namespace.is_open() {
                        return Lookup::Found(found);
                    }
                    return Lookup::Waits(Arc::clone(self).wait_until_open(found).map(Ok).boxed());
                }
            }
        };
        if parents.is_empty() || name.len() > MAX_DYNAMIC_NAME_LEN {
            return Lookup::Unknown;
        }
        // A copy: the name is a part of a message, whose buffer would stay as long as the namespace.
        let request = request(ByteString::from(name));
        let this = Arc::clone(self);
        let asked = AssertUnwindSafe(Arc::clone(self).ask(parents, request)).catch_unwind();
        Lookup::Waits(Box::pin(asked.map(move |answer| {
            answer.unwrap_or_else(|panic| {
                report_panic(&this.shared.counters, &Occasion::Predicate, &*panic);
                Err(ConnectError::internal())
            })
        })))
    }

    /// "tried in creation order for unknown names; err or !allow -> next parent"
    async fn ask(
        self: Arc<Self>,
        parents: Arc<[ParentNamespace]>,
        request: NamespaceRequest,
    ) -> Result<Found, ConnectError> {
        for parent in &*parents {
            if parent.accepts(&request).await {
                return self.enter_child(parent, request.into_name()).await;
            }
        }
        Err(ConnectError::invalid_namespace())
    }

    /// The child of this name, made unless somebody was faster.
    async fn enter_child(
        self: Arc<Self>,
        parent: &ParentNamespace,
        name: ByteString,
    ) -> Result<Found, ConnectError> {
        let farewell = self.farewell(&name);
        let (found, observers) = {
            let mut registered = self.registered.write();
            if let Some(namespace) = registered.by_name.get(&name) {
                (self.visit(namespace), None)
            } else if registered.children >= self.shared.config.max_dynamic_namespaces {
                drop(registered);
                self.shared.counters.namespaces_refused.increment();
                warn_limited!(
                    self.shared.counters,
                    "there are too many dynamic namespaces to make another one"
                );
                return Err(ConnectError::new("Too many namespaces"));
            } else {
                let (namespace, observers) = self.create(&mut registered, name, farewell, Some(parent));
                (self.visit(&namespace), Some(observers))
            }
        };
        if let Some(observers) = observers {
            self.announce(&found.namespace, &observers);
        }
        Ok(self.wait_until_open(found).await)
    }

    /// The DISCONNECT of a namespace; made without a lock, since the parser may be the application's.
    fn farewell(&self, name: &ByteString) -> Option<Arc<EncodedMessage>> {
        self.shared.encode(&Packet::new(PacketKind::Disconnect, name.clone()))
    }

    fn create(
        self: &Arc<Self>,
        registered: &mut Registered,
        name: ByteString,
        farewell: Option<Arc<EncodedMessage>>,
        parent: Option<&ParentNamespace>,
    ) -> (Namespace, Arc<[Observer]>) {
        // "also for dynamic children, not for '/'"
        let observers = if name == "/" { Arc::default() } else { Arc::clone(&registered.observers) };
        let handlers = parent.map_or_else(Handlers::default, ParentNamespace::handlers);
        let number = parent.map(ParentNamespace::number);
        let namespace = Namespace::new(name.clone(), farewell, self, number, handlers, observers.is_empty());
        registered.children += usize::from(parent.is_some());
        registered.by_name.insert(name, namespace.clone());
        (namespace, observers)
    }

    /// Tells the observers, who may add what guards the namespace: no client gets in before they have ended.
    fn announce(&self, namespace: &Namespace, observers: &[Observer]) {
        // The other servers count this one from now on, whether or not a client comes.
        let _ = namespace.adapter();
        for observe in observers {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| observe(namespace.clone()))) {
                report_panic(&self.shared.counters, &Occasion::NewNamespace, &*panic);
                // What was to guard it may be missing.
                namespace.use_(async |_: Socket| Err::<(), _>(ConnectError::internal()));
            }
        }
        namespace.open();
        self.opened.notify_waiters();
    }

    async fn wait_until_open(self: Arc<Self>, found: Found) -> Found {
        loop {
            let mut opened = std::pin::pin!(self.opened.notified());
            // Registered before the look, so that nothing is missed in between.
            opened.as_mut().enable();
            if found.namespace.is_open() {
                return found;
            }
            opened.await;
        }
    }

    /// Called under the lock of `registered`.
    fn visit(&self, namespace: &Namespace) -> Found {
        let counts = self.shared.config.cleanup_empty_child_namespaces && namespace.parent().is_some();
        let visit = counts.then(|| {
            namespace.visits().fetch_add(1, Ordering::SeqCst);
            Visit { namespace: namespace.clone() }
        });
        Found { namespace: namespace.clone(), visit }
    }

    /// Forgets a namespace; `unless_visited`: not if a client is in it, or on its way.
    pub(crate) fn remove(&self, namespace: &Namespace, unless_visited: bool) {
        let mut registered = self.registered.write();
        let known = registered.by_name.get(namespace.name()) == Some(namespace);
        if !known || (unless_visited && namespace.visits().load(Ordering::SeqCst) > 0) {
            return;
        }
        let removed = registered.by_name.remove(namespace.name());
        registered.children -= usize::from(namespace.parent().is_some());
        // Its handlers are dropped after the lock is released.
        drop(registered);
        namespace.close_adapter();
        drop(removed);
    }

    /// Adds a parent, whose number is given to `make`.
    pub(crate) fn add_parent(&self, make: impl FnOnce(usize) -> ParentNamespace) -> ParentNamespace {
        let mut registered = self.registered.write();
        let parent = make(registered.parents.len());
        append(&mut registered.parents, parent.clone());
        parent
    }

    pub(crate) fn children_of(&self, parent: usize) -> Vec<Namespace> {
        let registered = self.registered.read();
        registered.by_name.values().filter(|namespace| namespace.parent() == Some(parent)).cloned().collect()
    }

    /// Forgets what has expired, from now on: where sockets may return.
    pub(crate) fn sweep_now_and_then(self: &Arc<Self>) {
        let Some(options) = &self.shared.config.recovery else { return };
        if !self.shared.recovery_budget.begin_sweeping() {
            return;
        }
        let period = options.max_disconnection_duration.clamp(MIN_SWEEP_PERIOD, MAX_SWEEP_PERIOD);
        let namespaces = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(namespaces) = namespaces.upgrade() else { return };
                for namespace in namespaces.all() {
                    namespace.recovery_store().into_iter().for_each(Store::sweep);
                    namespace.shared_store().into_iter().for_each(SharedStore::sweep);
                }
            }
        });
    }

    pub(crate) fn observe(&self, observer: Observer) {
        append(&mut self.registered.write().observers, observer);
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces").finish_non_exhaustive()
    }
}

/// A client is in a child namespace, or on its way into it: as long as there is one, the child is not cleaned up.
///
/// It is made under the lock under which the child is found, and the child is removed under the same lock. So nobody
/// gets into a child that is not to be found any more.
pub(crate) struct Visit {
    namespace: Namespace,
}

/// Takes the lock of the namespaces: not to be dropped under one of a peer or of rooms.
impl Drop for Visit {
    fn drop(&mut self) {
        if self.namespace.visits().fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(namespaces) = self.namespace.registry().upgrade()
        {
            namespaces.remove(&self.namespace, true);
        }
    }
}

/// What namespaces know of all the others.
pub(crate) type Registry = Weak<Namespaces>;

/// Node's.
const MAX_SWEEP_PERIOD: Duration = Duration::from_secs(60);
const MIN_SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// Enough for every path that people write, too little to fill the memory with names.
pub(crate) const MAX_DYNAMIC_NAME_LEN: usize = 1024;
