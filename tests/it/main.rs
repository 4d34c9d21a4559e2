//! Signalbox from the outside: sockets, files, processes.

mod crash;
mod disturbance;
mod model;
mod policy;
mod proxying;
mod server;
mod session;
mod support;
