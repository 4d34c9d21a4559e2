//! Signalbox from the outside: sockets, files, processes.

mod crash;
mod disturbance;
mod faults;
mod model;
mod proxying;
mod server;
mod session;
mod support;
