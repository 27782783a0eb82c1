//! Registry: session id → connection; drained at shutdown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use super::connection::{Connection, SessionId};
use crate::sync::RwLock;

/// The open connections of one engine, and the count of tasks that still carry one.
#[derive(Debug)]
pub(crate) struct Registry {
    connections: RwLock<HashMap<SessionId, Arc<Connection>>>,
    tasks: watch::Sender<usize>,
    task_runs: AtomicU64,
    /// Changes only under the lock of `connections`, so that no session is registered behind the close.
    closed: watch::Sender<bool>,
    /// Nobody registers any more, but those who are there go on; changes under the same lock.
    draining: AtomicBool,
}

/// Why a connection was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    /// Another connection has this id.
    Taken,
    /// The engine is closed, or drains.
    Closed,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        Registry {
            connections: RwLock::default(),
            tasks: watch::Sender::new(0),
            task_runs: AtomicU64::new(0),
            closed: watch::Sender::new(false),
            draining: AtomicBool::new(false),
        }
    }

    pub(crate) fn insert(&self, connection: &Arc<Connection>) -> Result<(), NotRegistered> {
        let mut connections = self.connections.write();
        if !self.is_accepting() {
            return Err(NotRegistered::Closed);
        }
        match connections.entry(connection.id().clone()) {
            Entry::Occupied(_) => Err(NotRegistered::Taken),
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(connection));
                Ok(())
            }
        }
    }

    pub(crate) fn remove(&self, id: &SessionId) {
        self.connections.write().remove(id);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Connection>> {
        self.connections.read().get(id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.read().len()
    }

    /// Counts a task until the guard is dropped.
    pub(crate) fn task(self: &Arc<Self>) -> TaskGuard {
        self.tasks.send_modify(|tasks| *tasks += 1);
        TaskGuard(Arc::clone(self))
    }

    /// Counts a run of a connection's task.
    pub(crate) fn count_run(&self) {
        self.task_runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn task_runs(&self) -> u64 {
        self.task_runs.load(Ordering::Relaxed)
    }

    /// Closes the engine: nobody registers any more, and tasks stop waiting for their peers' goodbyes. Gives the
    /// connections that are left.
    pub(crate) fn close(&self) -> Vec<Arc<Connection>> {
        let connections = self.connections.write();
        self.closed.send_replace(true);
        connections.values().cloned().collect()
    }

    /// Lets nobody register any more. Gives the connections that are there.
    pub(crate) fn drain(&self) -> Vec<Arc<Connection>> {
        let connections = self.connections.write();
        self.draining.store(true, Ordering::SeqCst);
        connections.values().cloned().collect()
    }

    /// Whether a connection could register.
    pub(crate) fn is_accepting(&self) -> bool {
        !self.draining.load(Ordering::SeqCst) && !self.is_closed()
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Resolves when the engine closes.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.subscribe();
        // The sender is gone only when the engine is.
        async move { drop(closed.wait_for(|closed| *closed).await) }
    }

    /// Waits until no task is left.
    pub(crate) async fn drained(&self) {
        // The sender lives in self, so that waiting cannot fail.
        let _ = self.tasks.subscribe().wait_for(|tasks| *tasks == 0).await;
    }
}

/// One running task of the engine.
#[derive(Debug)]
pub(crate) struct TaskGuard(Arc<Registry>);

impl TaskGuard {
    pub(crate) fn registry(&self) -> &Registry {
        &self.0
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|tasks| *tasks -= 1);
    }
}
