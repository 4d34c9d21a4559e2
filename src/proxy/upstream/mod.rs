//! Connections to backends, and the request bodies that pass on them.
//!
//! [`upstreams::Upstreams`] gives out a connection for a request and takes it back.

pub(crate) mod continue_gate;
pub(crate) mod idle_pools;
pub(crate) mod kept_body;
pub(crate) mod login_conns;
pub(crate) mod request_body;
pub(crate) mod upstream_conn;
pub(crate) mod upstreams;
