//! The fields that tell a backend about the client and about the way of the request: `X-Forwarded-*`, `X-Real-IP` and the hop count.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use super::claims::drop_claims;
use super::peer::{Peer, X_FORWARDED_FOR, X_REAL_IP};
use super::request_id::{RequestId, X_REQUEST_ID};

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

/// The number of times that a request has passed through Signalbox, this time included, as the value of a field.
#[derive(Clone, Copy, Debug)]
pub struct HopCount(&'static str);

/// Takes the hop count out of a request, and adds one to it.
pub(super) fn take_hops(headers: &mut HeaderMap) -> HopCount {
    let before = headers.remove(HOPS).map_or(0, |value| hops(&value));
    HopCount(HOP_VALUES.get(before).copied().unwrap_or("8"))
}

/// The fields that each request to a backend gets. They are kept apart from those of the request, because HTTP/1.1 only writes them.
#[derive(Clone, Copy, Debug)]
pub struct AddedFields<'a> {
    /// The peer that sent the request.
    pub peer: &'a Peer,
    /// The host that the client asked for.
    pub host: Option<&'a HeaderValue>,
    /// The number of times that the request has passed through Signalbox.
    pub hops: HopCount,
    /// The id of the request.
    pub id: &'a RequestId,
}

impl AddedFields<'_> {
    /// Calls `add` with the name and the value of each field. All values are valid.
    pub fn for_each(&self, mut add: impl FnMut(HeaderName, &[u8])) {
        if !self.peer.trusted {
            let address = self.peer.value.as_bytes();
            add(X_REAL_IP, address);
            add(X_FORWARDED_FOR, address);
            add(X_FORWARDED_PROTO, scheme(self.peer).as_bytes());
            add(X_FORWARDED_PORT, client_port(self.host, self.peer.secure));
            self.host.iter().for_each(|host| add(X_FORWARDED_HOST, host.as_bytes()));
        }
        add(HOPS, self.hops.0.as_bytes());
        add(X_REQUEST_ID, self.id.text(&mut [0; 32]));
    }
}

/// Keeps and extends the fields about the client that a trusted peer has sent. [`AddedFields`] has those of the others.
pub(super) fn extend_forwarded(headers: &mut HeaderMap, peer: &Peer, client: IpAddr) {
    drop_claims(headers, peer.trusted);
    if !peer.trusted {
        return;
    }
    let own = if client == peer.address { None } else { HeaderValue::try_from(client.to_string()).ok() };
    headers.insert(X_REAL_IP, own.unwrap_or_else(|| peer.value.clone()));
    let before = joined(headers).or_else(|| (client != peer.address).then(|| client.to_string()));
    let hops = before.and_then(|before| HeaderValue::try_from(format!("{before}, {}", peer.address)).ok());
    headers.insert(X_FORWARDED_FOR, hops.unwrap_or_else(|| peer.value.clone()));
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme(peer)));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    if !headers.contains_key(X_FORWARDED_PORT) {
        let is_secure = is_https(headers.get(X_FORWARDED_PROTO));
        let port = HeaderValue::from_bytes(client_port(headers.get(X_FORWARDED_HOST), is_secure));
        port.into_iter().for_each(|port| drop(headers.insert(X_FORWARDED_PORT, port)));
    }
}

/// Returns the port that the client asked for: the one in `host`, or else the default port of the scheme. The port that the proxy
/// listens on may differ, behind a published port of a container for example.
fn client_port(host: Option<&HeaderValue>, is_secure: bool) -> &[u8] {
    let host = host.map_or(&b""[..], HeaderValue::as_bytes);
    let split = host.iter().rposition(|byte| !byte.is_ascii_digit()).map(|at| host.split_at(at));
    match split {
        Some((_, [b':', port @ ..])) if !port.is_empty() => port,
        _ if is_secure => b"443",
        _ => b"80",
    }
}

/// Returns true if the client speaks TLS, with this server or with the trusted proxy in front of it.
pub fn is_secure(headers: &HeaderMap, peer: &Peer) -> bool {
    peer.secure || (peer.trusted && is_https(headers.get(X_FORWARDED_PROTO)))
}

/// Returns the host that the client asked the trusted proxy in front of this server for, if the proxy names it.
pub fn forwarded_host<'h>(headers: &'h HeaderMap, peer: &Peer) -> Option<&'h HeaderValue> {
    headers.get(X_FORWARDED_HOST).filter(|_| peer.trusted)
}

fn is_https(proto: Option<&HeaderValue>) -> bool {
    proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn scheme(peer: &Peer) -> &'static str {
    if peer.secure { "https" } else { "http" }
}

/// Returns the addresses that trusted proxies have named so far, all lines joined into one.
fn joined(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
