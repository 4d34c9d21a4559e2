//! The gRPC interface over real sockets, with fakes for the store and the backends.

mod calls;
mod events;
mod operators;
mod program;
mod refusals;
pub mod support;
mod transport;
