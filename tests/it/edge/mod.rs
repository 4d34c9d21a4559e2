//! The edge: TLS, protocols besides plain HTTP/1.1, reload and stop.

mod backends;
mod grpc;
mod http2;
mod http2_attacks;
#[cfg(feature = "http3")]
mod http3;
mod proxy_protocol;
mod read_ahead;
mod reload;
mod renewal;
mod stop;
mod successors;
mod tls;
