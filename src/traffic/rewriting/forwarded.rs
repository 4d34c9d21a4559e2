//! The fields that tell a backend about the client and about the way of the request: `X-Forwarded-*`, `X-Real-IP` and the hop count.

use std::net::IpAddr;

use http::header::{Entry, HOST, HeaderMap, HeaderName, HeaderValue};

use super::claims::drop_claims;
use super::peer::{Peer, X_FORWARDED_FOR, X_REAL_IP};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// Counts the passages of a request through Signalbox. `Via` is not used because it changes how backends answer: nginx, as it comes,
/// does not compress then.
pub(super) const HOPS: HeaderName = HeaderName::from_static("signalbox-hops");
/// The number of passages from which on a request counts as being in a loop of routes.
const HOPS_MAX: usize = 8;
const HOP_VALUES: [&str; HOPS_MAX] = ["1", "2", "3", "4", "5", "6", "7", "8"];

/// Returns true if a request has passed through Signalbox so often that it must be in a loop of routes.
pub fn is_routing_loop(headers: &HeaderMap) -> bool {
    headers.get(HOPS).is_some_and(|value| hops(value) >= HOPS_MAX)
}

/// Reads the hop count; an unreadable one is 0.
fn hops(value: &HeaderValue) -> usize {
    value.to_str().ok().and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Adds one to the hop count.
pub(super) fn count_hop(headers: &mut HeaderMap) {
    let after = |before: usize| HeaderValue::from_static(HOP_VALUES.get(before).copied().unwrap_or("8"));
    match headers.entry(HOPS) {
        Entry::Occupied(mut value) => {
            let before = hops(value.get());
            value.insert(after(before));
        }
        Entry::Vacant(first) => {
            first.insert(after(0));
        }
    }
}

/// Sets the fields about the client and its request. Values of a trusted peer are kept and extended, others are replaced.
pub(super) fn set_forwarded(headers: &mut HeaderMap, peer: &Peer, client: IpAddr) {
    drop_claims(headers, peer.trusted);
    let own = if client == peer.address { None } else { HeaderValue::try_from(client.to_string()).ok() };
    headers.insert(X_REAL_IP, own.unwrap_or_else(|| peer.value.clone()));
    if !peer.trusted {
        // `drop_claims` has removed the values of the untrusted peer.
        headers.insert(X_FORWARDED_FOR, peer.value.clone());
        headers.insert(X_FORWARDED_PROTO, scheme(peer));
        let host = headers.get(HOST).cloned();
        headers.insert(X_FORWARDED_PORT, client_port(host.as_ref(), peer.secure));
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host);
        }
        return;
    }
    let before = joined(headers).or_else(|| (client != peer.address).then(|| client.to_string()));
    let hops = before.and_then(|before| HeaderValue::try_from(format!("{before}, {}", peer.address)).ok());
    headers.insert(X_FORWARDED_FOR, hops.unwrap_or_else(|| peer.value.clone()));
    headers.entry(X_FORWARDED_PROTO).or_insert(scheme(peer));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    if !headers.contains_key(X_FORWARDED_PORT) {
        let is_secure = is_https(headers.get(X_FORWARDED_PROTO));
        let port = client_port(headers.get(X_FORWARDED_HOST), is_secure);
        headers.insert(X_FORWARDED_PORT, port);
    }
}

/// Returns the port that the client asked for: the one in `host`, or else the default port of the scheme. The port that the proxy
/// listens on may differ, behind a published port of a container for example.
fn client_port(host: Option<&HeaderValue>, is_secure: bool) -> HeaderValue {
    let host = host.map_or(&b""[..], HeaderValue::as_bytes);
    let split = host.iter().rposition(|byte| !byte.is_ascii_digit()).map(|at| host.split_at(at));
    if let Some((_, [b':', port @ ..])) = split
        && !port.is_empty()
        && let Ok(port) = HeaderValue::from_bytes(port)
    {
        return port;
    }
    HeaderValue::from_static(if is_secure { "443" } else { "80" })
}

/// Returns true if the client speaks TLS, with this server or with the trusted proxy in front of it.
pub fn is_secure(headers: &HeaderMap, peer: &Peer) -> bool {
    peer.secure || (peer.trusted && is_https(headers.get(X_FORWARDED_PROTO)))
}

fn is_https(proto: Option<&HeaderValue>) -> bool {
    proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn scheme(peer: &Peer) -> HeaderValue {
    HeaderValue::from_static(if peer.secure { "https" } else { "http" })
}

/// Returns the addresses that trusted proxies have named so far, all lines joined into one.
fn joined(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
