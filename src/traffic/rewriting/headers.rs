//! The fields that a proxy takes away, adds and rewrites (RFC 9110 §7.6).
//!
//! Edits in place. What must hold: nothing that belongs to one connection crosses to the other, and no word about the
//! client that came from an untrusted peer reaches a backend.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, Entry, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use ipnet::IpNet;

use super::client_address::drop_claims;
use crate::traffic::endpoint::RouteSettings;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Says how often a request has come through here. `Via` would have backends answer otherwise: stock nginx does not compress then.
const HOPS: HeaderName = HeaderName::from_static("signalbox-hops");
/// After so many its routes must lead in a circle.
const HOPS_MAX: usize = 8;
const HOPS_SAID: [&str; HOPS_MAX] = ["1", "2", "3", "4", "5", "6", "7", "8"];
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who the request came from, computed once per connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's address.
    pub address: IpAddr,
    /// The same as a field's value.
    pub value: HeaderValue,
    /// True if its word about the client counts.
    pub trusted: bool,
}

impl Peer {
    /// A connection from `address`.
    pub fn new(address: IpAddr, trusted_proxies: &[IpNet]) -> Self {
        let address = address.to_canonical();
        let value = HeaderValue::try_from(address.to_string());
        Self {
            address,
            // An address is always a field's value.
            value: value.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            trusted: trusted_proxies.iter().any(|net| net.contains(&address)),
        }
    }
}

/// What a request's way through the proxy depends on.
#[derive(Clone, Copy, Debug)]
pub struct RequestHop<'a> {
    /// Where it came from.
    pub peer: &'a Peer,
    /// The client's address, from [`super::client_address`].
    pub client: IpAddr,
    /// `Host` to the backend, when it is not what the client said.
    pub authority: Option<&'a HeaderValue>,
    /// The upgrade to pass on.
    pub upgrade: Option<&'a Upgrade>,
}

/// A protocol that client and backend may change to (RFC 9110 §7.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(HeaderValue);

/// The upgrade that a request asks for. `h2c` is not one: a tunnel of it would carry requests past the proxy.
pub fn requested_upgrade(headers: &HeaderMap) -> Option<Upgrade> {
    let wanted = headers.get(UPGRADE)?;
    let said = named(headers).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let is_h2c = |token: &str| token.trim().eq_ignore_ascii_case("h2c");
    let plain = wanted.to_str().is_ok_and(|text| !text.is_empty() && !text.split(',').any(is_h2c));
    (said && plain).then(|| Upgrade(wanted.clone()))
}

/// Makes a client's head one for the backend.
pub fn edit_request(headers: &mut HeaderMap, hop: RequestHop<'_>) {
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
    tell_about_client(headers, hop.peer, hop.client);
    count_hop(headers);
    if let Some(authority) = hop.authority {
        headers.insert(HOST, authority.clone());
    }
}

/// Makes a backend's head one for the client, `upgraded` for a 101. Returns what it said in `Keep-Alive`.
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

/// Takes from a request's trailers what may be said in its head alone (RFC 9110 §6.5.1): what belongs to the connection, and
/// who the client is.
pub fn edit_trailers(trailers: &mut HeaderMap) {
    let found = HopByHop::among(trailers);
    take_hop_by_hop(trailers, found);
    drop_claims(trailers, false);
    trailers.remove(HOPS);
}

/// True if the message's transfer coding is `chunked` and nothing more; others cannot be passed on.
pub fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// True if the request came through here so often that its routes must lead in a circle.
pub fn is_routing_loop(headers: &HeaderMap) -> bool {
    headers.get(HOPS).is_some_and(|said| hops(said) >= HOPS_MAX)
}

/// What cannot be read counts for nothing.
fn hops(said: &HeaderValue) -> usize {
    said.to_str().ok().and_then(|said| said.parse().ok()).unwrap_or(0)
}

fn count_hop(headers: &mut HeaderMap) {
    let after = |before: usize| HeaderValue::from_static(HOPS_SAID.get(before).copied().unwrap_or("8"));
    match headers.entry(HOPS) {
        Entry::Occupied(mut said) => {
            let before = hops(said.get());
            said.insert(after(before));
        }
        Entry::Vacant(first) => {
            first.insert(after(0));
        }
    }
}

/// Says who the client is and what it asked for, in the words of whoever may say so.
fn tell_about_client(headers: &mut HeaderMap, peer: &Peer, client: IpAddr) {
    drop_claims(headers, peer.trusted);
    let own = if client == peer.address { None } else { HeaderValue::try_from(client.to_string()).ok() };
    headers.insert(X_REAL_IP, own.unwrap_or_else(|| peer.value.clone()));
    if !peer.trusted {
        // What an untrusted peer said of these is gone.
        headers.insert(X_FORWARDED_FOR, peer.value.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        let host = headers.get(HOST).cloned();
        headers.insert(X_FORWARDED_PORT, client_port(host.as_ref(), None));
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host);
        }
        return;
    }
    let before = joined(headers).or_else(|| (client != peer.address).then(|| client.to_string()));
    let hops = before.and_then(|before| HeaderValue::try_from(format!("{before}, {}", peer.address)).ok());
    headers.insert(X_FORWARDED_FOR, hops.unwrap_or_else(|| peer.value.clone()));
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    if !headers.contains_key(X_FORWARDED_PORT) {
        let port = client_port(headers.get(X_FORWARDED_HOST), headers.get(X_FORWARDED_PROTO));
        headers.insert(X_FORWARDED_PORT, port);
    }
}

/// The port that the client asked for: the one in the host's name, or else the scheme's. The one listened on may be
/// another, behind a published port of a container for example.
fn client_port(host: Option<&HeaderValue>, proto: Option<&HeaderValue>) -> HeaderValue {
    let host = host.map_or(&b""[..], HeaderValue::as_bytes);
    let said = host.iter().rposition(|byte| !byte.is_ascii_digit()).map(|at| host.split_at(at));
    if let Some((_, [b':', port @ ..])) = said
        && !port.is_empty()
        && let Ok(port) = HeaderValue::from_bytes(port)
    {
        return port;
    }
    let is_secure = proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    HeaderValue::from_static(if is_secure { "443" } else { "80" })
}

/// What trusted proxies said so far, several lines as one.
fn joined(headers: &HeaderMap) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let is_trailers = |token: &str| token.trim().eq_ignore_ascii_case("trailers");
    headers.get_all(TE).iter().any(|line| line.to_str().is_ok_and(|line| line.split(',').any(is_trailers)))
}

/// The fields of one connection among those of a head. One walk over the names costs less than a look-up for each.
#[derive(Clone, Copy, Debug, Default)]
struct HopByHop {
    connection: bool,
    others: bool,
}

impl HopByHop {
    fn among(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), |found, name| match name.as_str() {
            "connection" => Self { connection: true, ..found },
            "keep-alive"
            | "te"
            | "upgrade"
            | "transfer-encoding"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings" => Self { others: true, ..found },
            _ => found,
        })
    }
}

/// Takes away the fixed list of RFC 9110 §7.6.1, what proxies say to each other, and what `Connection` names. Returns `Keep-Alive`.
fn take_hop_by_hop(headers: &mut HeaderMap, found: HopByHop) -> Option<HeaderValue> {
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
        // The coding told the length; a field beside it may say another (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    for name in [PROXY_CONNECTION, TE, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    keep_alive
}

/// A length said several times over in one line, which hyper takes where it is always the same, is not passed on so
/// (RFC 9110 §8.6).
fn say_length_once(headers: &mut HeaderMap) {
    let Some(length) = headers.get(CONTENT_LENGTH) else { return };
    let first = length.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    if first.len() < length.len()
        && let Ok(first) = HeaderValue::from_bytes(first)
    {
        headers.insert(CONTENT_LENGTH, first);
    }
}

fn take_named(headers: &mut HeaderMap) {
    // `Host` and the length frame and direct the message; naming them must not make them vanish.
    let kept = [HOST, CONTENT_LENGTH];
    let names: Vec<HeaderName> = named(headers).filter_map(|name| name.parse().ok()).collect();
    for name in names.iter().filter(|name| !kept.contains(name)) {
        headers.remove(name);
    }
}

fn named(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn peer(trusted: bool) -> Peer {
        let nets: Vec<IpNet> = if trusted { vec!["10.0.0.0/8".parse().unwrap()] } else { Vec::new() };
        Peer::new("10.0.0.1".parse().unwrap(), &nets)
    }

    fn edited(lines: &[(&'static str, &'static str)], trusted: bool) -> HeaderMap {
        let mut headers = head(lines);
        let peer = peer(trusted);
        let client = peer.address;
        let hop = RequestHop { peer: &peer, client, authority: None, upgrade: None };
        edit_request(&mut headers, hop);
        headers
    }

    #[test]
    fn what_belongs_to_the_connection_stays_behind() {
        let headers = edited(
            &[
                ("host", "a"),
                ("connection", "close, X-Mine"),
                ("connection", "x-other"),
                ("x-mine", "1"),
                ("x-other", "1"),
                ("keep-alive", "5"),
                ("proxy-connection", "x"),
                ("te", "gzip"),
                ("upgrade", "x"),
                ("proxy-authorization", "x"),
                ("x-kept", "1"),
            ],
            false,
        );
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let told = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"];
        let expected = [&["host", "signalbox-hops"][..], &told, &["x-kept", "x-real-ip"]].concat();
        assert_eq!(names, expected);
    }

    #[test]
    fn connection_cannot_name_away_what_frames_or_identifies() {
        let lines = [("host", "a"), ("content-length", "3"), ("connection", "host, content-length, x-forwarded-for")];
        let headers = edited(&lines, false);
        assert_eq!(headers.get("host").unwrap(), "a");
        assert_eq!(headers.get("content-length").unwrap(), "3");
        assert_eq!(headers.get("x-forwarded-for").unwrap(), "10.0.0.1");
    }

    #[test]
    fn an_untrusted_peers_word_about_the_client_is_replaced() {
        let lines = [
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let headers = edited(&lines, false);
        assert_eq!(headers.get("x-forwarded-for").unwrap(), "10.0.0.1");
        assert_eq!(headers.get("x-forwarded-proto").unwrap(), "http");
        assert_eq!(headers.get("x-forwarded-host").unwrap(), "a");
        assert_eq!(headers.get("x-real-ip").unwrap(), "10.0.0.1");
        assert!(headers.get("forwarded").is_none());
    }

    #[test]
    fn a_trusted_proxys_word_is_extended() {
        let lines = [
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let headers = edited(&lines, true);
        assert_eq!(headers.get("x-forwarded-for").unwrap(), "1.1.1.1, 2.2.2.2, 10.0.0.1");
        assert_eq!(headers.get("x-forwarded-proto").unwrap(), "https");
        assert_eq!(headers.get("forwarded").unwrap(), "for=1.1.1.1");
    }

    #[test]
    fn hops_are_counted_and_via_is_left_alone() {
        for (before, after, is_loop) in [
            ("", "1", false),
            ("x", "1", false),
            ("1", "2", false),
            ("7", "8", false),
            ("8", "8", true),
            ("99", "8", true),
        ] {
            let headers = edited(&[("host", "a"), ("via", "1.1 other"), ("signalbox-hops", before)], false);
            assert_eq!(
                (&headers["signalbox-hops"], &headers["via"]),
                (&after.parse().unwrap(), &"1.1 other".parse().unwrap())
            );
            assert_eq!(is_routing_loop(&head(&[("signalbox-hops", before)])), is_loop, "{before}");
        }
    }

    #[test]
    fn the_port_is_the_one_the_client_asked_for() {
        let port = |host, proto, trusted| {
            let headers = edited(&[("host", host), ("x-forwarded-proto", proto)], trusted);
            headers.get("x-forwarded-port").unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(port("a.example", "https", false), "80");
        assert_eq!(port("a.example", "https", true), "443");
        for (host, expected) in
            [("a:8080", "8080"), ("[::1]:8080", "8080"), ("[::1]", "80"), ("a:", "80"), ("80", "80")]
        {
            assert_eq!(port(host, "http", false), expected, "{host}");
        }
    }

    #[test]
    fn an_upgrade_must_be_named_by_connection_and_is_never_h2c() {
        let wants = |lines: &[(&'static str, &'static str)]| requested_upgrade(&head(lines)).is_some();
        assert!(wants(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!wants(&[("upgrade", "websocket")]));
        assert!(!wants(&[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!wants(&[("connection", "upgrade")]));
    }

    #[test]
    fn a_coding_beside_chunked_is_seen() {
        assert!(is_only_chunked(&head(&[("transfer-encoding", "Chunked")])) && is_only_chunked(&head(&[])));
        assert!(!is_only_chunked(&head(&[("transfer-encoding", "gzip, chunked")])));
        assert!(!is_only_chunked(&head(&[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")])));
    }

    #[test]
    fn trailers_are_asked_for_when_the_client_takes_them() {
        let headers = edited(&[("host", "a"), ("te", "trailers, deflate;q=0.5"), ("connection", "te")], false);
        assert!(headers.get("te").unwrap() == "trailers" && headers.get("connection").unwrap() == "te");
    }
}
