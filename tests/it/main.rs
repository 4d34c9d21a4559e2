//! Signalbox from the outside: sockets, files, processes.

mod crash;
mod disturbance;
mod model;
mod server;
mod session;
