//! Data and Extensions: what an application keeps with a socket.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::socket::{EmitError, Socket};
use crate::proto::socketio::{Args, ArgsError, Map, Payload, Value};

/// Named values that belong to a socket: Node's `socket.data`. Other nodes of a cluster can read them; see
/// [`Extensions`] for what stays in the process.
///
/// # Example: who is it?
/// ```
/// use ferrio::{ConnectError, Event, HandlerError, Server, Socket};
///
/// let io = Server::new();
/// io.use_(async |socket: Socket| {
///     socket.data().insert("user", "ada").map_err(|_| ConnectError::new("no user"))
/// });
/// io.on("whoami", async |event: Event| {
///     let user: String = event.socket().data().get("user")?;
///     event.ack(&user)?;
///     Ok::<_, HandlerError>(())
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Data {
    socket: Socket,
}

impl Data {
    pub(crate) fn of(socket: &Socket) -> Data {
        Data { socket: socket.clone() }
    }

    /// Sets a value.
    ///
    /// # Errors
    /// If it cannot be serialized.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), EmitError> {
        let value = to_value(value)?;
        // The old value is dropped after the lock is released.
        let _old = self.socket.with_extras(|extras| extras.data.insert(name, value));
        Ok(())
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`DataError`] if there is none, or if it is something else than `T` says.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, DataError> {
        read_value(name, self.value(name))
    }

    /// Gives a value as it is.
    pub fn value(&self, name: &str) -> Option<Value> {
        self.socket.read_extras(|extras| extras.data.get(name).cloned())?
    }

    /// Gives all values.
    pub fn values(&self) -> Map {
        self.socket.read_extras(|extras| extras.data.clone()).unwrap_or_default()
    }

    /// Removes a value and gives it.
    pub fn remove(&self, name: &str) -> Option<Value> {
        self.socket.read_extras(|extras| extras.data.remove(name))?
    }

    /// Sets all values of an object (a struct, a map): Node's `Object.assign(socket.data, …)`.
    ///
    /// # Errors
    /// If it cannot be serialized. What is no object has no names, and sets nothing.
    pub fn merge<T: Serialize + ?Sized>(&self, object: &T) -> Result<(), EmitError> {
        let Value::Object(map) = to_value(object)? else { return Ok(()) };
        self.socket.with_extras(|extras| {
            for (name, value) in map.iter() {
                extras.data.insert(name, value.clone());
            }
        });
        Ok(())
    }
}

/// Reads a named value of a socket.
pub(crate) fn read_value<T: DeserializeOwned>(name: &str, value: Option<Value>) -> Result<T, DataError> {
    let value = value.ok_or_else(|| DataError::Missing { name: name.to_owned() })?;
    // As one argument of a packet: so that a value reads the same here and on another node.
    let payload = Payload::ack(&(value,)).expect("a value has a JSON form");
    let (value,) =
        payload.args().map_err(|reason| DataError::Unexpected { name: name.to_owned(), reason })?;
    Ok(value)
}

pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, EmitError> {
    let payload = Payload::ack(&(value,))?;
    let Args(values) = payload.args().unwrap_or_default();
    Ok(values.into_iter().next().unwrap_or_default())
}

/// Says why a value of [`Data`] cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataError {
    /// There is no value of this name.
    Missing {
        /// The name.
        name: String,
    },
    /// The value is something else than was asked for.
    Unexpected {
        /// The name.
        name: String,
        /// What was found and what was expected.
        reason: ArgsError,
    },
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::Missing { name } => write!(f, "the socket has no data \"{name}\""),
            DataError::Unexpected { name, .. } => write!(f, "the socket's data \"{name}\" has another type"),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DataError::Missing { .. } => None,
            DataError::Unexpected { reason, .. } => Some(reason),
        }
    }
}

/// Values of any type that belong to a socket, one of each type; they never leave the process.
///
/// They live as long as somebody holds the socket, handlers that still run after its end included. So do not keep a
/// [`Socket`] in here, its own or one that keeps this one: such a ring is never freed. Keep the [`SocketId`](super::SocketId),
/// and look the socket up when it is needed, by [`Namespace::socket`](super::Namespace::socket).
#[derive(Clone, Debug)]
pub struct Extensions {
    socket: Socket,
}

impl Extensions {
    pub(crate) fn of(socket: &Socket) -> Extensions {
        Extensions { socket: socket.clone() }
    }

    /// Sets the value of its type; gives the one there was.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        self.socket.with_extras(|extras| extras.extensions.insert(value))
    }

    /// Gives the value of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.socket.read_extras(|extras| extras.extensions.get())?
    }

    /// Removes the value of this type and gives it.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.socket.read_extras(|extras| extras.extensions.remove())?
    }
}

/// One value of each type.
#[derive(Default)]
pub(crate) struct TypeMap(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl TypeMap {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Option<Arc<T>> {
        self.0.insert(TypeId::of::<T>(), Arc::new(value))?.downcast().ok()
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get(&TypeId::of::<T>())?).downcast().ok()
    }

    pub(crate) fn get_ref<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }

    pub(crate) fn remove<T: Send + Sync + 'static>(&mut self) -> Option<Arc<T>> {
        self.0.remove(&TypeId::of::<T>())?.downcast().ok()
    }
}

impl fmt::Debug for TypeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeMap({} values)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let mut map = TypeMap::default();
        assert!(map.insert(1_u8).is_none());
        assert!(map.insert("text").is_none());
        assert_eq!(map.insert(2_u8).as_deref(), Some(&1));
        assert_eq!(map.get_ref(), Some(&2_u8));
        assert_eq!(map.get().as_deref(), Some(&"text"));
        assert_eq!(map.remove::<u8>().as_deref(), Some(&2));
        assert!(map.get::<u8>().is_none());
    }

    #[test]
    fn a_value_keeps_its_binary_parts() {
        let value = to_value(&vec![serde_bytes::Bytes::new(&[1, 2])]).unwrap();
        assert_eq!(value[0].as_bytes().map(|bytes| &bytes[..]), Some(&[1, 2][..]));
        assert_eq!(to_value(&()).unwrap(), Value::Null);
    }
}
