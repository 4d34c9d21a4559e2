//! The edge: TLS, protocols of clients, reload and stop.

mod http2;
mod http2_attacks;
mod reload;
