//! Traffic policy, set through the pipe and seen on the proxy's sockets.

mod breakers;
mod drains;
mod explained;
mod limits;
mod maintenance;
mod members;
mod refusals;
mod replaced;
