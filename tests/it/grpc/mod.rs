//! The gRPC interface over real sockets, with fakes for what stands behind the registry.

mod calls;
mod events;
mod operators;
mod program;
mod refusals;
pub mod support;
mod transport;
