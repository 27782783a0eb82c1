//! Handlers: what is registered on a namespace, or on a parent for the children to come.

use std::collections::HashMap;
use std::sync::Arc;

use super::handler::{
    ConnectHandler, DisconnectHandler, EventHandler, EventHandlers, Middleware, ServerSideHandler,
};
use super::lag::LagHandler;
use super::socket_error::ErrorObserver;

/// Lists of handlers change rarely and are read for every packet: a reader takes one reference. A copy for a child shares
/// the lists until one of the two adds to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handlers {
    pub(crate) middlewares: Arc<[Middleware]>,
    pub(crate) server_side: HashMap<Arc<str>, Arc<[ServerSideHandler]>>,
    pub(crate) connect: Arc<[ConnectHandler]>,
    pub(crate) disconnecting: Arc<[DisconnectHandler]>,
    pub(crate) disconnect: Arc<[DisconnectHandler]>,
    pub(crate) lag: Arc<[LagHandler]>,
    pub(crate) events: EventHandlers,
    pub(crate) any: Arc<[EventHandler]>,
    pub(crate) errors: Arc<[ErrorObserver]>,
    pub(crate) outgoing: Arc<[super::outgoing::OutgoingListener]>,
}

/// Adds to a list that others may be reading.
pub(crate) fn append<T: Clone>(list: &mut Arc<[T]>, new: T) {
    *list = list.iter().cloned().chain([new]).collect();
}

/// The same at the beginning.
pub(crate) fn prepend<T: Clone>(list: &mut Arc<[T]>, new: T) {
    *list = [new].into_iter().chain(list.iter().cloned()).collect();
}
