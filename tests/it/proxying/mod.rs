//! The proxy, as clients and backends meet it.

mod bodies;
mod fields;
mod framing;
mod routing;
mod tries;
mod tunnels;
