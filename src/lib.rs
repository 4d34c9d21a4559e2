//! Signalbox: a service registry and reverse proxy in one binary. This page is the map.
//!
//! `domain` holds the nouns and what can happen to them; `registry` decides on commands and runs the one
//! writer; `traffic` decides on requests. These three do no IO of their own. `store` keeps, `proxy` carries
//! requests, `pipe` is the line protocol, `api` carries gRPC and REST; `admission` shares the places of their ports. `app` wires them together, and nothing else may name two of them.

pub mod access;
pub mod admission;
pub mod api;
pub mod app;
pub mod chance;
pub mod checks;
pub mod clock;
pub mod config;
pub mod connect;
pub mod domain;
pub mod fetch;
pub mod files;
pub mod grpc;
mod http1;
pub mod lifecycle;
pub mod maintenance_pages;
pub mod memory;
pub mod pipe;
pub mod proxy;
pub mod registry;
pub mod reports;
pub mod rest;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod traffic;
