//! The address of the client, read from what trusted proxies say.
//!
//! Invariants: fields of an untrusted peer never count. Among the addresses that trusted proxies name, the nearest one counts
//! that is not a trusted proxy itself.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use http::header::{FORWARDED, HeaderMap};
use ipnet::IpNet;

use super::peer::{Peer, X_FORWARDED_FOR, X_REAL_IP};

/// Returns the client's address: the last address in `X-Forwarded-For` that is no trusted proxy, or else the peer's. `Forwarded`
/// counts only where `X-Forwarded-For` is absent, and `X-Real-IP` only where both are.
pub fn client_address(headers: &HeaderMap, peer: &Peer, trusted_proxies: &[IpNet]) -> IpAddr {
    if !peer.trusted {
        return peer.address;
    }
    let (name, read): (HeaderName, AddressReader) = if headers.contains_key(X_FORWARDED_FOR) {
        (X_FORWARDED_FOR, address)
    } else if headers.contains_key(FORWARDED) {
        (FORWARDED, forwarded_for)
    } else {
        (X_REAL_IP, address)
    };
    let mut client = peer.address;
    for line in headers.get_all(name).into_iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        for member in line.rsplit(',').map(str::trim).filter(|member| !member.is_empty()) {
            let Some(address) = read(member) else { return client };
            client = address.to_canonical();
            if !trusted_proxies.iter().any(|net| net.contains(&client)) {
                return client;
            }
        }
    }
    client
}

/// Reads the address from a member of a list.
type AddressReader = fn(&str) -> Option<IpAddr>;

/// Reads `for=` of an element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).find_map(|(_, node)| address(node))
}

/// Reads an address as proxies write it: with or without a port, brackets around IPv6, and quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"').trim();
    if let Some(bracketed) = text.strip_prefix('[') {
        let (inner, port) = bracketed.split_once(']')?;
        return (port.is_empty() || port.starts_with(':')).then(|| v6(inner).map(IpAddr::from))?;
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => host.trim().parse().ok(),
        Some(_) => v6(text).map(IpAddr::from),
        None => text.parse().ok(),
    }
}

/// Reads an IPv6 address and ignores its zone, which has a meaning only on the machine that wrote it.
fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split('%').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(lines: &[(&'static str, &'static str)]) -> String {
        let nets: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        client_address(&headers, &Peer::new("10.0.0.1".parse().unwrap(), &nets), &nets).to_string()
    }

    #[test]
    fn an_address_is_read_in_every_form_in_use() {
        for (written, read) in [
            ("1.1.1.1", "1.1.1.1"),
            ("1.1.1.1:8080", "1.1.1.1"),
            ("\"1.1.1.1:8080\"", "1.1.1.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:8080", "2001:db8::1"),
            ("\"[2001:db8::1]:8080\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
            ("[::ffff:1.1.1.1]:80", "1.1.1.1"),
            (" , 1.1.1.1 ,, 10.1.1.1:80 , ", "1.1.1.1"),
            ("9.9.9.9, 1.1.1.1, 10.1.1.1", "1.1.1.1"),
        ] {
            assert_eq!(client(&[("x-forwarded-for", written)]), read, "{written}");
        }
    }

    #[test]
    fn a_member_without_an_address_ends_the_search() {
        for written in ["unknown", "6.6.6.6, _hidden", "6.6.6.6, caf\u{e9}", "6.6.6.6, [::1", "1.1.1.1.1", ""] {
            assert_eq!(client(&[("x-forwarded-for", written)]), "10.0.0.1", "{written}");
        }
        assert_eq!(client(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "unknown, 10.1.1.1")]), "10.1.1.1");
    }

    #[test]
    fn other_fields_count_where_the_first_is_absent() {
        let both = ("forwarded", "for=6.6.6.6, For=\"[2001:db8::1]:47\";proto=https;by=10.0.0.2, for=10.1.1.1");
        assert_eq!(client(&[both]), "2001:db8::1");
        assert_eq!(client(&[both, ("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "2.2.2.2")]), "1.1.1.1");
        assert_eq!(client(&[("forwarded", "for=6.6.6.6, proto=https")]), "10.0.0.1");
        assert_eq!(client(&[("forwarded", "for=unknown")]), "10.0.0.1");
        assert_eq!(client(&[("x-real-ip", "1.1.1.1")]), "1.1.1.1");
        assert_eq!(client(&[]), "10.0.0.1");
    }
}
