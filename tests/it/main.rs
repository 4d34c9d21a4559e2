//! Signalbox from the outside: sockets, files, processes.

mod checks;
mod crash;
mod disturbance;
mod explain;
mod faults;
mod model;
mod names;
mod pages;
mod policy;
mod proxying;
mod rest;
mod server;
mod session;
mod statistics;
mod support;
mod tokens;
