//! `Map`: an object of a `Value`.

use std::collections::hash_map::RandomState;

use indexmap::IndexMap;
use serde::ser::{Serialize, Serializer};

use super::Value;

/// An object: keys in the order in which they were inserted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    members: IndexMap<String, Value, RandomState>,
}

impl Map {
    /// Makes an empty object.
    pub fn new() -> Map {
        Map::default()
    }

    /// Sets a key and returns the old value; a key that was there keeps its place.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.members.insert(key.into(), value.into())
    }

    /// Removes a key; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.members.shift_remove(key)
    }

    /// Looks up a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key)
    }

    /// Looks up a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.members.get_mut(key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The keys and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.members.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Map {
        Map { members: members.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.members)
    }
}
