//! Signalbox: a service registry and reverse proxy in one binary. This page is the map.
//!
//! Three modules decide and do no IO of their own:
//!
//! - [`domain`]: the nouns (session, route, options, config, event) and the rules for their fields.
//! - [`registry`]: decides on commands and runs the one task that changes the catalog.
//! - [`traffic`]: decides on requests: the routing table, balancing, health, breakers.
//!
//! These carry bytes in and out:
//!
//! - [`store`]: keeps the registry's state in an `SQLite` database.
//! - [`backup`]: makes backups of the store, and restores them.
//! - [`proxy`]: carries HTTP requests from clients to endpoints.
//! - [`checks`]: checks the health of endpoints.
//! - [`maintenance_pages`]: fetches the pages that the proxy shows during maintenance.
//! - [`fetch`]: makes single requests, for backend tests and maintenance pages.
//! - [`connect`]: resolves names and connects to backends.
//! - [`dns`]: asks name servers for TXT records.
//! - `http1` and `http2`: HTTP/1.1 and HTTP/2 as backends speak them.
//! - [`acme`]: gets certificates from an authority by ACME.
//! - [`reports`]: passes what traffic observed on to the registry.
//! - [`otlp`]: sends the spans of sampled requests to a collector of OpenTelemetry.
//! - [`request_log`]: the access log, the last requests that failed, and taps.
//! - [`pipe`]: the line protocol for callers.
//! - [`grpc`] and [`rest`]: the two typed interfaces for callers and operators.
//! - [`dashboard`]: the page for operators, at the root of the API port.
//! - [`api_listener`]: the port that serves gRPC and REST, over HTTP/1.1 and HTTP/2.
//!
//! These are shared:
//!
//! - [`operator_auth`]: checks that a request comes from an operator and names an allowed host.
//! - [`metrics`]: writes the metrics of the server as text for Prometheus.
//! - [`duration_buckets`]: durations that are counted in buckets, for histograms.
//! - [`connection_limits`]: the number of connections that a port and one origin may have.
//! - [`memory_budget`]: the memory that peers can fill, counted for the whole process.
//! - [`sockets`]: accepts connections, sets socket options, counts file descriptors.
//! - [`certificates`]: the certificates that are shown to callers and clients.
//! - [`tls`]: handshakes of the ports that callers connect to.
//! - [`file_watch`]: notices that files of certificates or of the configuration were replaced.
//! - `json`: how values of the domain are read, written and described as JSON.
//! - `line_sink`: writes lines to a file or pipe that may be full or gone.
//! - [`clock`], [`random`], [`lifecycle`]: the only places that read time, draw random bits and start tasks.
//!
//! These stand around the others:
//!
//! - [`config`]: reads the command line and the configuration file.
//! - [`ctl`]: the client `signalbox ctl`, which shows and steers a running server.
//! - [`telemetry`]: writes the log to standard error.
//! - [`app`]: starts all parts in order, connects them, and stops them. Only `app` may name all other modules.

pub mod acme;
pub mod api_listener;
pub mod app;
pub mod backup;
pub mod certificates;
pub mod checks;
pub mod clock;
pub mod config;
pub mod connect;
pub mod connection_limits;
pub mod ctl;
pub mod dashboard;
pub mod dns;
pub mod domain;
pub mod duration_buckets;
pub mod fetch;
pub mod file_watch;
pub mod grpc;
mod http1;
mod http2;
mod json;
pub mod lifecycle;
mod line_sink;
pub mod maintenance_pages;
pub mod memory_budget;
pub mod metrics;
pub mod operator_auth;
pub mod otlp;
pub mod pipe;
pub mod proxy;
pub mod random;
pub mod registry;
pub mod reports;
pub mod request_log;
pub mod rest;
pub mod sockets;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod traffic;
