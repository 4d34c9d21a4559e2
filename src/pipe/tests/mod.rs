//! The pipe as clients see it: real sockets (or, where time matters, a pair of pipes on a paused clock),
//! the real registry, and behind it a store in memory and backends that answer or do not.

mod commands;
mod sessions;
mod support;
mod timing;
