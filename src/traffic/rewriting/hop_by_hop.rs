//! Hop-by-hop fields: those that belong to one connection and must not cross to the other (RFC 9110 §7.6.1).

use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The kinds of hop-by-hop fields that a head has. One walk over the names costs less than a look-up of each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HopByHop {
    connection: bool,
    pub(super) others: bool,
}

impl HopByHop {
    /// Finds the hop-by-hop fields of a head.
    pub(super) fn among(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), |found, name| match name.as_str() {
            "connection" => Self { connection: true, ..found },
            "keep-alive"
            | "te"
            | "upgrade"
            | "transfer-encoding"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
            | "alt-svc" => Self { others: true, ..found },
            _ => found,
        })
    }
}

/// Removes the fields that RFC 9110 §7.6.1 lists, those between proxies, and those that `Connection` names. Returns `Keep-Alive`.
/// `Alt-Svc` is one of them: the alternatives of a backend lead around the proxy (RFC 7838 §3).
pub(super) fn take_hop_by_hop(headers: &mut HeaderMap, found: HopByHop) -> Option<HeaderValue> {
    let keep_alive = if found.others { headers.remove(KEEP_ALIVE) } else { None };
    if found.connection {
        let usual = |line: &HeaderValue| [&b"keep-alive"[..], b"close"].contains(&line.as_bytes());
        if !headers.get_all(CONNECTION).iter().all(usual) {
            take_named(headers);
        }
        headers.remove(CONNECTION);
    }
    if !found.others {
        return None;
    }
    if headers.remove(TRANSFER_ENCODING).is_some() {
        // The coding frames the message; a length beside it may differ (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    for name in [PROXY_CONNECTION, TE, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, HTTP2_SETTINGS, ALT_SVC] {
        headers.remove(name);
    }
    keep_alive
}

fn take_named(headers: &mut HeaderMap) {
    // `Host` and the length direct and frame the message, so `Connection` cannot remove them.
    let kept = [HOST, CONTENT_LENGTH];
    let names: Vec<HeaderName> = named(headers).filter_map(|name| name.parse().ok()).collect();
    for name in names.iter().filter(|name| !kept.contains(name)) {
        headers.remove(name);
    }
}

/// Returns the names that `Connection` lists.
pub(super) fn named(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Returns true if the transfer coding of a message is absent or only `chunked`. Other codings cannot be passed on.
pub fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}
