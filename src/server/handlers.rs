//! Handlers: what is registered on a namespace, or on a parent for the children to come.

use std::collections::HashMap;
use std::sync::Arc;

use super::handler::{ConnectHandler, DisconnectHandler, EventHandlers, Middleware, ServerSideHandler};
use super::lag::LagHandler;

/// Lists of handlers change rarely and are read for every packet: a reader takes one reference. A copy for a child shares
/// the lists until one of the two adds to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handlers {
    pub(crate) middlewares: Arc<[Middleware]>,
    pub(crate) server_side: HashMap<Arc<str>, Arc<[ServerSideHandler]>>,
    pub(crate) connect: Arc<[ConnectHandler]>,
    pub(crate) disconnect: Arc<[DisconnectHandler]>,
    pub(crate) lag: Arc<[LagHandler]>,
    pub(crate) events: EventHandlers,
}

/// Adds to a list that others may be reading.
pub(crate) fn append<T: Clone>(list: &mut Arc<[T]>, new: T) {
    *list = list.iter().cloned().chain([new]).collect();
}
