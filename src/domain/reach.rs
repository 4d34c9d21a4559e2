//! Addresses that the server never connects to for a client: denied networks and its own listeners.
//!
//! The module decides on addresses; names are resolved elsewhere, for each connection again. Invariants: an
//! address counts as what is reached through it, in whatever form it is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::{BackendUrl, Error};

/// The reason why the server does not connect to an address, for the log and for backend tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffLimits {
    /// The address is in a denied network.
    #[error("its address is in a network that is denied")]
    Denied,
    /// The address is that of one of the server's own listeners.
    #[error("its address is one that Signalbox itself listens on")]
    Own,
}

/// The networks and listeners that the server does not connect to. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forbidden {
    deny: Arc<[IpNet]>,
    own: Arc<[SocketAddr]>,
}

impl Forbidden {
    /// Forbids the networks in `deny` and the listeners that are bound to the addresses in `own`.
    pub fn new(deny: &[IpNet], own: &[SocketAddr]) -> Self {
        Self { deny: deny.into(), own: own.into() }
    }

    /// Returns the same listeners with other denied networks.
    #[must_use]
    pub fn denying(&self, deny: &[IpNet]) -> Self {
        Self { deny: deny.into(), own: Arc::clone(&self.own) }
    }

    /// Refuses an address that must not be connected to. `is_local` returns true for this machine's addresses. It is
    /// called only for the ports of listeners that are bound to all addresses.
    ///
    /// # Errors
    /// The reason.
    pub fn check(&self, address: IpAddr, port: u16, is_local: impl Fn(IpAddr) -> bool) -> Result<(), OffLimits> {
        let own = self.own.iter().filter(|listener| listener.port() == port);
        for listener in own {
            let bound = listener.ip().to_canonical();
            // A listener on `::` accepts IPv4 connections too.
            let on_all = |to: &IpAddr| bound.is_unspecified() && (bound.is_ipv6() || to.is_ipv4()) && is_local(*to);
            if meanings(address).any(|to| to == bound || on_all(&to)) {
                return Err(OffLimits::Own);
            }
        }
        if self.deny.iter().any(|net| meanings(address).any(|to| net.contains(&to))) {
            return Err(OffLimits::Denied);
        }
        Ok(())
    }

    /// Refuses a URL if its host is a forbidden address, without looking up names.
    ///
    /// # Errors
    /// `Denied`, about `field`.
    pub fn check_url(&self, field: &'static str, url: &BackendUrl) -> Result<(), Error> {
        let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let reached = |address: IpAddr| self.check(address, url.port(), |to| to.is_loopback());
        let refused = match url.address() {
            Some(address) => reached(address).err(),
            // Names below `localhost` are this machine (RFC 6761 §6.3). Other services may listen on it.
            None if is_localhost(url.host()) && local.into_iter().any(|to| reached(to) == Err(OffLimits::Own)) => {
                Some(OffLimits::Own)
            }
            None => None,
        };
        match refused {
            None => Ok(()),
            Some(OffLimits::Own) => Err(Error::denied(
                field,
                format!("{url} is Signalbox itself; write the address at which the service listens"),
            )),
            Some(OffLimits::Denied) => {
                Err(Error::denied(field, format!("{url} is in a network that this server denies (backends.deny)")))
            }
        }
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Returns an address as it is written and all addresses that are reached through it.
fn meanings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(v6) => embedded(v6),
    };
    // A connection to the unspecified address reaches this machine.
    let here = inner.map_or(address.is_unspecified(), |v4| v4.is_unspecified());
    let mapped = inner.map(|v4| v4.to_ipv6_mapped().into());
    let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].map(|to| here.then_some(to));
    [Some(address), inner.map(IpAddr::V4), mapped].into_iter().chain(loopback).flatten()
}

/// Returns the IPv4 address that is embedded in an IPv6 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible and mapped (RFC 4291 §2.5.5), translated (RFC 2765 §2.1), NAT64 (RFC 6052 §2.1, RFC 8215), 6to4 (RFC 3056 §2).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(deny: &[&str], own: &[&str]) -> Forbidden {
        let deny: Vec<IpNet> = deny.iter().map(|net| net.parse().unwrap()).collect();
        let own: Vec<SocketAddr> = own.iter().map(|at| at.parse().unwrap()).collect();
        Forbidden::new(&deny, &own)
    }

    #[test]
    fn a_denied_address_is_denied_however_it_is_written() {
        let rules = forbidden(&["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "0.0.0.0/8", "::/128"], &[]);
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "0.1.2.3",
            "::ffff:0.0.0.0",
            "64:ff9b::0.0.0.0",
            "::",
        ] {
            assert_eq!(rules.check(address.parse().unwrap(), 80, |_| false), Err(OffLimits::Denied), "{address}");
        }
        for address in ["10.0.0.1", "127.0.0.1", "::1", "2001:db8::1", "fd00::1", "64:ff9b::10.0.0.1", "fec0::1"] {
            assert_eq!(rules.check(address.parse().unwrap(), 80, |_| false), Ok(()), "{address}");
        }
        let loopback = forbidden(&["127.0.0.0/8"], &[]);
        for address in ["0.0.0.0", "::", "::ffff:0.0.0.0", "::ffff:127.0.0.1"] {
            assert!(loopback.check(address.parse().unwrap(), 80, |_| false).is_err(), "{address}");
        }
    }

    #[test]
    fn an_own_listener_is_known_by_every_address_it_is_reached_at() {
        let is_local = |to: IpAddr| {
            to.is_loopback() || ["10.0.0.7", "fd00::7"].iter().any(|own| to == own.parse::<IpAddr>().unwrap())
        };
        for (listener, own, other) in [
            (
                "127.0.0.1:80",
                &["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"][..],
                &["127.0.0.2", "::1", "10.0.0.7"][..],
            ),
            (
                "0.0.0.0:80",
                &["127.0.0.1", "127.9.9.9", "10.0.0.7", "0.0.0.0", "::ffff:10.0.0.7"],
                &["10.0.0.8", "fd00::7"],
            ),
            ("[::]:80", &["127.0.0.1", "10.0.0.7", "fd00::7", "::1", "::"], &["10.0.0.8", "fd00::8"]),
            ("[::ffff:127.0.0.1]:80", &["127.0.0.1"], &["::1"]),
        ] {
            let rules = forbidden(&[], &[listener]);
            for address in own {
                let at = address.parse().unwrap();
                assert_eq!(rules.check(at, 80, is_local), Err(OffLimits::Own), "{listener} {address}");
                assert_eq!(rules.check(at, 81, is_local), Ok(()), "{listener} {address}");
            }
            for address in other {
                assert_eq!(rules.check(address.parse().unwrap(), 80, is_local), Ok(()), "{listener} {address}");
            }
        }
    }

    #[test]
    fn a_url_is_refused_where_it_can_be_known() {
        let rules = forbidden(&["10.0.0.0/8"], &["127.0.0.1:8182"]);
        let refused = |url| rules.check_url("backend_url", &BackendUrl::parse(url).unwrap()).err();
        for own in
            ["http://127.0.0.1:8182", "http://localhost:8182/x", "http://api.localhost:8182", "http://0.0.0.0:8182"]
        {
            assert!(refused(own).is_some_and(|error| error.to_string().contains("is Signalbox itself")), "{own}");
        }
        assert!(refused("http://10.0.0.1").is_some_and(|error| error.to_string().contains("backends.deny")));
        for fine in ["http://127.0.0.1:8183", "http://localhost:80", "http://shop:8182", "http://[::1]:8182"] {
            assert_eq!(refused(fine), None, "{fine}");
        }
    }
}
