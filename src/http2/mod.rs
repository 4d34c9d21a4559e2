//! HTTP/2 as backends speak it: the settings of a connection, its beginning, and single requests.
//!
//! Not here: HTTP/2 to clients. Invariants: a connection counts as HTTP/2 only once the backend has said its settings, so that
//! no request is sent to a server that speaks something else, and none past the number of streams that the backend allows;
//! the bytes that a backend may send unasked are bounded.

mod connect;
mod grpc_health;
mod head;
mod single;

pub(crate) use connect::{Http2Connection, Http2Error, Http2Sender, STREAMS_MAX, open};
pub(crate) use grpc_health::{GrpcHealthError, check_grpc_health};
pub(crate) use head::stream_head;
pub(crate) use single::{SingleStream, wants_http1};
