//! Signalbox from the outside: sockets, files, processes.

mod checks;
mod crash;
mod disturbance;
mod model;
mod pages;
mod policy;
mod proxying;
mod server;
mod session;
mod support;
