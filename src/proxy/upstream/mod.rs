//! Connections to backends, and the request bodies that pass on them.
//!
//! [`upstreams::Upstreams`] gives out a connection, or a stream of one, for a request and takes it back.

pub(crate) mod continue_gate;
mod http1_conn;
mod http2_body;
mod http2_link;
mod http2_pool;
mod http2_stream;
mod http2_upload;
pub(crate) mod idle_pools;
pub(crate) mod kept_body;
pub(crate) mod login_conns;
pub(crate) mod read_ahead;
pub(crate) mod request_body;
pub(crate) mod send_error;
mod upload_task;
pub(crate) mod upstream_conn;
pub(crate) mod upstreams;
