//! The host that a request names: a name or an address, with an optional port (RFC 9110 §7.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::Host;

/// A host without its port and without the final dot of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedHost<'a> {
    /// An address, which needs no lookup.
    Address(IpAddr),
    /// A name as it was written.
    Name(&'a str),
}

impl<'a> NamedHost<'a> {
    /// Reads a `Host` field or an authority. Returns `None` if it is neither a name nor an address, or its port is
    /// wrong.
    pub(super) fn parse(named: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(named).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            return is_port(port).then_some(Self::Address(address.into()));
        }
        let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || !name.bytes().all(is_of_a_name) || !is_port(port) {
            return None;
        }
        Some(name.parse::<Ipv4Addr>().map_or(Self::Name(name), |address| Self::Address(address.into())))
    }

    /// Returns true if the host is this machine wherever it is looked up: `localhost` (RFC 6761 §6.3) or a loopback
    /// address.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Returns true if `listed` contains the host.
    pub(super) fn is_one_of(&self, listed: &[Host]) -> bool {
        if listed.is_empty() {
            return false;
        }
        // The spelling of `Host`.
        let written = match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(IpAddr::V4(address)) => address.to_string(),
            Self::Name(name) => name.to_ascii_lowercase(),
        };
        listed.iter().any(|host| host.covers(&written))
    }
}

/// Returns true for nothing, or for a colon and a port, which may be empty (RFC 3986 §3.2.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(port) => {
            port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
        }
    }
}

/// Returns true for the characters of a registered name (RFC 3986 §3.2.2).
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}
