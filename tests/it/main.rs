//! Tests of the whole program: they start it, or a part of it, and talk to its sockets.
//!
//! A test whose name begins with `storm` takes minutes. It is ignored unless it is asked for:
//! `cargo test --test it storm -- --ignored --test-threads 1`.

mod acme;
mod audit;
mod backup;
mod checks;
mod contracts;
mod crash;
mod ctl;
mod dashboard;
mod deployed;
mod disturbance;
mod edge;
mod endurance;
mod explain;
mod faults;
mod grpc;
mod health;
mod history;
mod interfaces;
mod leases;
mod metrics;
mod model;
mod names;
mod operators;
mod own;
mod pages;
mod parity;
mod policy;
mod proxying;
mod published;
mod requests;
mod rest;
mod restarts;
mod scenarios;
mod secure;
mod server;
mod services;
mod session;
mod shares;
mod static_services;
mod statistics;
mod streams;
mod support;
mod tokens;
mod words;
