//! RoomEvent: what happens to the rooms of a namespace, and who is told of it.
//!
//! Changes are noted under the lock of the rooms, in their order, and told outside of it. One thread at a time tells; what
//! another one notes meanwhile is told by the first.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::handler::report_observer_panic;
use super::rooms::{Room, Rooms};
use super::socket::{Socket, SocketId};
use super::stats::Counters;
use crate::sync::RwLock;

/// What happened to a room on this server; Node's adapters emit the same as `create-room`, `join-room`, `leave-room`
/// and `delete-room`. See [`Namespace::on_room_event`](super::Namespace::on_room_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// The first socket is about to be in the room.
    Created {
        /// The room.
        room: Room,
    },
    /// A socket has joined; joining again is no event.
    Joined {
        /// The room.
        room: Room,
        /// The socket.
        id: SocketId,
    },
    /// A socket has left.
    Left {
        /// The room.
        room: Room,
        /// The socket.
        id: SocketId,
    },
    /// The last socket has left the room.
    Deleted {
        /// The room.
        room: Room,
    },
}

#[derive(Clone)]
struct Observer(Arc<dyn Fn(&RoomEvent) + Send + Sync>);

/// Who is told of the rooms of one namespace.
#[derive(Default)]
pub(crate) struct RoomObservers {
    observers: RwLock<Arc<[Observer]>>,
    /// Whether there are any: joining a room asks this alone.
    any: AtomicBool,
    /// Some thread tells now.
    telling: AtomicBool,
}

impl RoomObservers {
    pub(crate) fn add(
        &self,
        rooms: &RwLock<Rooms<Socket>>,
        observe: impl Fn(&RoomEvent) + Send + Sync + 'static,
    ) {
        {
            let mut observers = self.observers.write();
            *observers = observers.iter().cloned().chain([Observer(Arc::new(observe))]).collect();
        }
        self.any.store(true, Ordering::SeqCst);
        rooms.write().note_events();
    }

    /// Tells what has been noted. Called outside all locks.
    pub(crate) fn tell(&self, rooms: &RwLock<Rooms<Socket>>, counters: &Counters) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        // After the flag is down another look: somebody may have noted something and seen the flag up.
        while rooms.read().has_events() && !self.telling.swap(true, Ordering::SeqCst) {
            let events = rooms.write().take_events();
            let observers = Arc::clone(&self.observers.read());
            for event in &events {
                for Observer(observe) in &*observers {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| observe(event))) {
                        report_observer_panic(counters, &*panic);
                    }
                }
            }
            self.telling.store(false, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for RoomObservers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomObservers")
    }
}
