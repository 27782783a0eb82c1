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
    closed: AtomicBool,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        Registry {
            connections: RwLock::default(),
            tasks: watch::Sender::new(0),
            task_runs: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Registers a connection; `false` if its id is taken.
    pub(crate) fn insert(&self, connection: &Arc<Connection>) -> bool {
        match self.connections.write().entry(connection.id().clone()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(connection));
                true
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

    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.connections.read().values().cloned().collect()
    }

    /// Counts a task until the guard is dropped.
    pub(crate) fn task(self: &Arc<Self>) -> TaskGuard {
        self.tasks.send_modify(|tasks| *tasks += 1);
        TaskGuard(Arc::clone(self))
    }

    /// Counts that the task of a connection runs.
    pub(crate) fn count_run(&self) {
        self.task_runs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn task_runs(&self) -> u64 {
        self.task_runs.load(Ordering::Relaxed)
    }

    /// Marks the engine as closed: tasks stop waiting for their peers' goodbyes.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
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

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|tasks| *tasks -= 1);
    }
}
