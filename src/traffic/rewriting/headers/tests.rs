//! Heads before and after rewriting.

use http::header::{HOST, HeaderName};
use ipnet::IpNet;

use super::super::forwarded::{AddedFields, is_routing_loop};
use super::super::hop_by_hop::is_only_chunked;
use super::super::request_id::RequestId;
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
    let host = headers.get(HOST).cloned();
    let hops = edit_request(&mut headers, RequestHop { peer: &peer, client, upgrade: None });
    let id = RequestId::Number(1);
    AddedFields { peer: &peer, host: host.as_ref(), hops, id: &id }.for_each(|name, value| {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    });
    headers
}

#[test]
fn hop_by_hop_fields_are_removed() {
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
    let expected = [&["host", "signalbox-hops"][..], &told, &["x-kept", "x-real-ip", "x-request-id"]].concat();
    assert_eq!(names, expected);
}

#[test]
fn connection_cannot_remove_fields_that_frame_or_identify() {
    let lines = [("host", "a"), ("content-length", "3"), ("connection", "host, content-length, x-forwarded-for")];
    let headers = edited(&lines, false);
    assert_eq!(headers.get("host").unwrap(), "a");
    assert_eq!(headers.get("content-length").unwrap(), "3");
    assert_eq!(headers.get("x-forwarded-for").unwrap(), "10.0.0.1");
}

#[test]
fn claims_of_an_untrusted_peer_are_replaced() {
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
fn claims_of_a_trusted_proxy_are_extended() {
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
    for (before, after, is_loop) in
        [("", "1", false), ("x", "1", false), ("1", "2", false), ("7", "8", false), ("8", "8", true), ("99", "8", true)]
    {
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
    for (host, expected) in [("a:8080", "8080"), ("[::1]:8080", "8080"), ("[::1]", "80"), ("a:", "80"), ("80", "80")] {
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
