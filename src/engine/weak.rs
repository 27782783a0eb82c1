//! WeakEngine: a way back to an engine that does not keep it alive.

use std::sync::{Arc, Weak};

use super::{Engine, Shared};

/// Refers to an [`Engine`]. The engine is there as long as one of its clones, a service made from it, or a connection.
pub(crate) struct WeakEngine<H>(Weak<Shared<H>>);

impl<H> WeakEngine<H> {
    pub(crate) fn upgrade(&self) -> Option<Engine<H>> {
        Some(Engine { shared: self.0.upgrade()? })
    }
}

impl<H> Engine<H> {
    pub(crate) fn downgrade(&self) -> WeakEngine<H> {
        WeakEngine(Arc::downgrade(&self.shared))
    }

    pub(crate) fn handler(&self) -> &Arc<H> {
        &self.shared.handler
    }
}
