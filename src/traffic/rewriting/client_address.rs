//! Who the client is: the address in what trusted proxies say, and which fields of a request make a claim about it.
//!
//! What must hold: what an untrusted peer says never counts; of what trusted proxies say, the address nearest to them that is
//! not one of theirs counts, in whatever form it is written.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use http::header::{FORWARDED, HeaderMap};
use ipnet::IpNet;

use super::headers::{Peer, X_FORWARDED_FOR, X_REAL_IP};

/// The client's address: the peer's, or the last one that `X-Forwarded-For` names and no trusted proxy has. Without that
/// field `Forwarded` counts, and without both `X-Real-IP`.
pub fn client_address(headers: &HeaderMap, peer: &Peer, trusted_proxies: &[IpNet]) -> IpAddr {
    if !peer.trusted {
        return peer.address;
    }
    let hop: (HeaderName, Hop) = if headers.contains_key(X_FORWARDED_FOR) {
        (X_FORWARDED_FOR, address)
    } else if headers.contains_key(FORWARDED) {
        (FORWARDED, forwarded_for)
    } else {
        (X_REAL_IP, address)
    };
    let mut client = peer.address;
    for line in headers.get_all(hop.0).into_iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        for member in line.rsplit(',').map(str::trim).filter(|member| !member.is_empty()) {
            let Some(address) = hop.1(member) else { return client };
            client = address.to_canonical();
            if !trusted_proxies.iter().any(|net| net.contains(&client)) {
                return client;
            }
        }
    }
    client
}

/// Reads the address out of a list's member.
type Hop = fn(&str) -> Option<IpAddr>;

/// `for=` of an element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).find_map(|(_, node)| address(node))
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or not, in quotes or not.
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

/// Without the zone, which means something only on the machine that wrote it.
fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split('%').next()?.trim().parse().ok()
}

/// Beginnings of the names that speak of the client, or of the address that it asked for.
const FAMILIES: [&str; 3] = ["x-forwarded", "forwarded", "x-original-"];
/// Whole names of the same kind, as proxies, load balancers and content networks use them.
const CLAIMS: [&str; 20] = [
    "x-real-ip",
    "x-rewrite-url",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-proxyuser-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
    "x-url-scheme",
    "x-http-host-override",
    "x-envoy-external-address",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "true-client-ip",
    "client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "front-end-https",
];

/// Takes claims about the client away: all of them, or from a `trusted` peer those alone that are spelled so that CGI and
/// WSGI join them with the real ones (`X_Forwarded_For`), for a proxy that minds the real ones lets these through.
pub(super) fn drop_claims(headers: &mut HeaderMap, trusted: bool) {
    let goes = |name: &HeaderName| is_claim(name.as_str()) && !(trusted && is_plain(name.as_str()));
    if headers.keys().any(goes) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn is_claim(name: &str) -> bool {
    // Most fields are told apart by their first letter.
    matches!(name.as_bytes().first(), Some(b'x' | b'f' | b't' | b'c'))
        && (FAMILIES.iter().any(|family| name.get(..family.len()).is_some_and(|start| reads_as(start, family)))
            || CLAIMS.iter().any(|claim| reads_as(name, claim)))
}

/// Compares a name with a claim: the same once everything but letters and digits is a hyphen.
fn reads_as(name: &str, claim: &str) -> bool {
    let joined = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() == claim.len() && name.bytes().map(joined).eq(claim.bytes())
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
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
    fn what_names_nobody_ends_the_search_where_it_stands() {
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

    #[test]
    fn claims_are_known_in_every_spelling() {
        for claim in [
            "x-forwarded-for",
            "x-forwarded-ssl",
            "x-forwarded-client-cert",
            "x_forwarded_for",
            "x-forwarded_for",
            "x.forwarded.for",
            "x_real_ip",
            "forwarded",
            "x-original-url",
            "x_rewrite-url",
            "true_client_ip",
        ] {
            assert!(is_claim(claim), "{claim}");
        }
        for other in ["x-forward", "x-request-id", "content-type", "from", "x-originals", "x-real-ips", "cookie"] {
            assert!(!is_claim(other), "{other}");
        }
    }
}
