//! The edge: what clients of the proxy speak besides plain HTTP/1.1.

mod http2;
mod http2_attacks;
