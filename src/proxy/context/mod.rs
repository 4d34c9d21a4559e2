//! The state that the requests of one worker share, the state of one client connection, and the state of one request.

pub(crate) mod breaker_guard;
pub(crate) mod client;
pub(crate) mod counters;
pub(crate) mod judged_response;
pub(crate) mod long_streams;
pub(crate) mod request;
pub(crate) mod stats;
pub(crate) mod trace;
mod trace_context;
mod trace_details;
pub(crate) mod worker;
