//! The proxy, as clients and backends meet it.

mod applies;
mod bodies;
mod compression;
mod fields;
mod framing;
mod probes;
mod routing;
mod slowness;
mod tls;
mod tries;
mod tunnels;
mod upkeep;
