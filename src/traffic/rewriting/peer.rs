//! The peer of a client connection: the address that it came from, and the trust that its fields get.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The other end of a client connection; computed once for each connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address; an IPv4 address in IPv6 form is stored as IPv4.
    pub address: IpAddr,
    /// The address as the value of a field.
    pub value: HeaderValue,
    /// True if the connection speaks TLS.
    pub secure: bool,
    /// True if the peer is a trusted proxy, so that its fields about the client count.
    pub trusted: bool,
}

impl Peer {
    /// Returns the peer of a connection from `address`, without TLS.
    pub fn new(address: IpAddr, trusted_proxies: &[IpNet]) -> Self {
        let address = address.to_canonical();
        let value = HeaderValue::try_from(address.to_string());
        Self {
            address,
            // The text of an address is always a valid value.
            value: value.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            secure: false,
            trusted: trusted_proxies.iter().any(|net| net.contains(&address)),
        }
    }
}
