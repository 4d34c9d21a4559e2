//! Tests of the pipe as clients see it: with real sockets (or, where time matters, a pair of pipes on a paused clock),
//! the real registry, a store in memory, and backends that answer or do not.

mod commands;
mod sessions;
mod support;
mod timing;
