//! The proxy, as clients and backends see it.

mod applies;
mod bodies;
mod challenges;
mod client;
mod compression;
mod fields;
mod framing;
mod logins;
mod maintenance_pages;
mod oddities;
mod probes;
mod routing;
mod serial;
mod slowness;
mod targets;
mod tls;
mod tries;
mod tunnels;
