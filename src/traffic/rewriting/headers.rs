//! The rewriting of heads: a client's head becomes the backend's, a backend's head becomes the client's (RFC 9110 §7.6).
//!
//! All edits are in place.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TE, UPGRADE};

use super::claims::drop_claims;
use super::forwarded::{HOPS, HopCount, extend_forwarded, take_hops};
use super::hop_by_hop::{HopByHop, named, take_hop_by_hop};
use super::peer::Peer;
use super::request_id::X_REQUEST_ID;
use crate::traffic::endpoint::RouteSettings;

/// The circumstances of one request that its head for the backend depends on.
#[derive(Clone, Copy, Debug)]
pub struct RequestHop<'a> {
    /// The peer that sent the request.
    pub peer: &'a Peer,
    /// The client's address, as [`super::client_address`] returns it.
    pub client: IpAddr,
    /// The upgrade to pass on.
    pub upgrade: Option<&'a Upgrade>,
}

/// The protocol that a request asks to change to: the value of its `Upgrade` field (RFC 9110 §7.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(HeaderValue);

impl Upgrade {
    /// Returns true if WebSocket is the only protocol that is asked for (RFC 6455 §4.1).
    pub fn is_websocket(&self) -> bool {
        self.0.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket")
    }
}

/// Returns the upgrade that a request asks for. `h2c` counts as none: a tunnel of it would carry requests past the proxy.
pub fn requested_upgrade(headers: &HeaderMap) -> Option<Upgrade> {
    let wanted = headers.get(UPGRADE)?;
    let said = named(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let is_h2c = |token: &str| token.trim().eq_ignore_ascii_case("h2c");
    let plain = wanted.to_str().is_ok_and(|text| !text.is_empty() && !text.split(',').any(is_h2c));
    (said && plain).then(|| Upgrade(wanted.clone()))
}

/// Rewrites a client's head for the backend, which gets [`super::AddedFields`] besides. Returns the hop count.
pub fn edit_request(headers: &mut HeaderMap, hop: RequestHop<'_>) -> HopCount {
    let hops = take_hops(headers);
    let found = HopByHop::among(headers);
    let trailers = found.others && wants_trailers(headers);
    take_hop_by_hop(headers, found);
    if let Some(Upgrade(protocol)) = hop.upgrade {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    } else if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    extend_forwarded(headers, hop.peer, hop.client);
    headers.remove(X_REQUEST_ID);
    hops
}

/// Rewrites a backend's head for the client; `upgraded` is true for a 101. Returns the backend's `Keep-Alive`.
pub fn edit_response(headers: &mut HeaderMap, settings: &RouteSettings, upgraded: bool) -> Option<HeaderValue> {
    let protocol = if upgraded { headers.get(UPGRADE).cloned() } else { None };
    let found = HopByHop::among(headers);
    let keep_alive = take_hop_by_hop(headers, found);
    say_length_once(headers);
    for (name, value) in &settings.headers {
        headers.insert(name.clone(), value.clone());
    }
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    keep_alive
}

/// Removes the fields from a request's trailers that only a head may carry (RFC 9110 §6.5.1): those of the connection, those
/// about the client, and those that the proxy writes itself.
pub fn edit_trailers(trailers: &mut HeaderMap) {
    let found = HopByHop::among(trailers);
    take_hop_by_hop(trailers, found);
    drop_claims(trailers, false);
    trailers.remove(HOPS);
    trailers.remove(X_REQUEST_ID);
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let is_trailers = |token: &str| token.trim().eq_ignore_ascii_case("trailers");
    headers.get_all(TE).iter().any(|line| line.to_str().is_ok_and(|line| line.split(',').any(is_trailers)))
}

/// Replaces a length that is repeated in one line by a single one (RFC 9110 §8.6). Such a line is accepted if all
/// values are the same.
fn say_length_once(headers: &mut HeaderMap) {
    let Some(length) = headers.get(CONTENT_LENGTH) else { return };
    let first = length.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    if first.len() < length.len()
        && let Ok(first) = HeaderValue::from_bytes(first)
    {
        headers.insert(CONTENT_LENGTH, first);
    }
}

#[cfg(test)]
mod tests;
