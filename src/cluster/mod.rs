//! What makes several nodes one: the connections to Redis that the adapters and the emitter share.
//!
//! | file | what it is |
//! |---|---|
//! | `redis_adapter`, `sharded_adapter`, `streams_adapter` | the adapters: how the messages of each travel |
//! | `node` | what all adapters do: who asks, who answers, until when |
//! | `config` | where Redis is, and every limit |
//! | `link` | [`RedisLink`]: what adapters publish with, ask with and subscribe with |
//! | `status` | what the link says of itself: status, counters, errors |
//! | `shared` | what its tasks share; keeping up with a cluster |
//! | `lane` | the publishing connection of one Redis node |
//! | `subscriptions` | what is subscribed, and which connection sees to it |
//! | `listener` | the task of a subscribing connection: it keeps Redis in line with what is wanted |
//! | `listening` | such a connection itself, over RESP2 or RESP3 |
//! | `watchdog`, `gate` | whether it still hears; no more is read than is handled |
//! | `sieve` | messages that nobody here wants are dropped as they are read |
//! | `stream_order` | the one order in which events with offsets are delivered |
//! | `stream_reader` | the blocking connection that reads one stream |
//! | `router` | what waits to be sent, and which node it goes to |
//! | `topology` | which node of a Redis Cluster owns which slots |
//! | `connect` | TCP, TLS, unix sockets and Sentinel |
//! | `backoff` | when to try again |
//! | `emitter` | [`RedisEmitter`]: for processes that serve no sockets |

mod backoff;
mod config;
mod connect;
mod emitter;
mod gate;
mod lane;
mod link;
mod listener;
mod listening;
mod node;
mod redis_adapter;
mod router;
mod sharded_adapter;
mod shared;
mod sieve;
mod status;
mod stream_order;
mod stream_reader;
mod streams_adapter;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topology;
mod watchdog;

pub use config::{RedisConfig, RedisConfigError};
pub use emitter::{RedisEmitError, RedisEmitter, RedisEmitterBuilder, RedisStreamsEmitterBuilder};
pub use redis_adapter::{RedisAdapter, RedisAdapterBuilder};
pub use sharded_adapter::{ShardedRedisAdapter, ShardedRedisAdapterBuilder, SubscriptionMode};
pub use status::{ConnectionState, LinkError, LinkStats, LinkStatus};
pub use streams_adapter::{RedisStreamsAdapter, RedisStreamsAdapterBuilder};

pub use crate::proto::cluster::{ClusterParser, JsonClusterParser};
