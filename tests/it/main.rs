//! Signalbox from the outside: sockets, files, processes.

mod checks;
mod contracts;
mod crash;
mod disturbance;
mod doors;
mod endurance;
mod explain;
mod faults;
mod grpc;
mod model;
mod names;
mod operators;
mod pages;
mod parity;
mod policy;
mod proxying;
mod rest;
mod scenarios;
mod secure;
mod server;
mod session;
mod shares;
mod statistics;
mod streams;
mod support;
mod tokens;
