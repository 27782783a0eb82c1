//! What makes several nodes one: the connections to Redis that the adapters and the emitter share.
//!
//! | file | what it is |
//! |---|---|
//! | `config` | where Redis is, and every limit |
//! | `link` | [`RedisLink`]: what adapters publish with, ask with and subscribe with |
//! | `lane` | the publishing connection of one Redis node |
//! | `listener` | a subscribing connection |
//! | `stream_reader` | the blocking connection that reads one stream |
//! | `router` | what waits to be sent, and which node it goes to |
//! | `topology` | which node of a Redis Cluster owns which slots |
//! | `connect` | TCP, TLS, unix sockets and Sentinel |
//! | `backoff` | when to try again |
//! | `emitter` | [`RedisEmitter`]: for processes that serve no sockets |

#![allow(dead_code, reason = "the adapters and the emitter are built on this")]

mod backoff;
mod config;
mod connect;
mod emitter;
mod lane;
mod link;
mod listener;
mod node;
mod redis_adapter;
mod router;
mod sharded_adapter;
mod stream_reader;
#[cfg(test)]
mod tests;
mod topology;

pub use config::{RedisConfig, RedisConfigError};
pub use emitter::{RedisEmitError, RedisEmitter, RedisEmitterBuilder, RedisStreamsEmitterBuilder};
pub use link::{ConnectionState, LinkError, LinkStats, LinkStatus};
pub use redis_adapter::{RedisAdapter, RedisAdapterBuilder};
pub use sharded_adapter::{ShardedRedisAdapter, ShardedRedisAdapterBuilder, SubscriptionMode};
#[allow(unused_imports, reason = "the adapters and the emitter are built on these")]
pub(crate) use {
    link::{Channel, Incoming, RedisLink, Subscription},
    stream_reader::{StreamEntry, StreamReader},
};
