//! Clients of HTTP/2 that break or misuse the protocol.

use std::net::SocketAddr;

use crate::support::backend::Backend;
use crate::support::http2_client::{GET, Http2Client, PREFACE, block, frame, next_frame, raw, until_frame};
use crate::support::proxy_harness::ProxyHarness;
use crate::support::wire::Wire;

/// The frames of a flood, by their number.
type Flood<'f> = &'f dyn Fn(u32) -> Vec<u8>;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;

fn is_served(address: SocketAddr) -> bool {
    Http2Client::connect(address).get("http://a/").is_ok_and(|response| response.text() == "b")
}

/// The head of the request number `number`, which may have a body.
fn head(number: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 2 * number + 1, &block(&GET))
}

/// Reads until the connection ends. Returns the code of its GOAWAY.
fn goaway(wire: &mut Wire) -> Option<u32> {
    let frame = until_frame(wire, |frame| frame.kind == GOAWAY && frame.payload[4..8] != [0; 4])?;
    Some(u32::from_be_bytes([frame.payload[4], frame.payload[5], frame.payload[6], frame.payload[7]]))
}

#[test]
fn a_flood_ends_its_connection_and_no_other() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let cancel = 8_u32.to_be_bytes();
    // MadeYouReset: the client has the server reset streams, by a window update of 0.
    let made_reset = |number| [head(number, END_STREAM), frame(WINDOW_UPDATE, 0, 2 * number + 1, &[0; 4])].concat();
    let resets = |number| [head(number, END_STREAM), frame(RST_STREAM, 0, 2 * number + 1, &cancel)].concat();
    let open = frame(HEADERS, 0, 1, &block(&GET));
    let continued = |_| frame(CONTINUATION, 0, 1, &block(&[("x-y", "z")]));
    let empty = |_| frame(DATA, 0, 1, &[]);
    let pings = |_| frame(PING, 0, 0, b"12345678");
    let settings = |_| frame(SETTINGS, 0, 0, &[]);
    let floods: [(&str, Vec<u8>, Flood<'_>); 6] = [
        ("pings", vec![], &pings),
        ("settings", vec![], &settings),
        ("rapid reset", vec![], &resets),
        ("resets of our own", vec![], &made_reset),
        ("continuation", open, &continued),
        ("empty data", head(0, 0), &empty),
    ];
    for (name, first, next) in floods {
        let mut wire = raw(harness.address());
        wire.send(&first);
        // The server closes while the rest is on its way, so a write may fail.
        let _ = (0..200_000).try_for_each(|number| wire.send(next(number)).then_some(()).ok_or(()));
        assert!(wire.has_ended() || goaway(&mut wire).is_some() || wire.has_ended(), "{name}");
        assert!(is_served(harness.address()), "{name}");
    }
}

#[test]
fn pings_and_settings_in_moderation_are_answered() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = raw(harness.address());
    for _ in 0..400 {
        wire.send(frame(PING, 0, 0, b"12345678"));
        wire.send(frame(SETTINGS, 0, 0, &[]));
    }
    for kind in [PING, SETTINGS] {
        assert!(until_frame(&mut wire, |frame| frame.kind == kind && frame.flags == 1).is_some());
    }
    assert!(is_served(harness.address()));
}

/// Returns the fields of a plain request, and more.
fn with<'f>(more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    [&GET[..], more].concat()
}

#[test]
fn what_breaks_the_protocol_ends_the_stream_or_the_connection() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let without = |name: &str| GET.into_iter().filter(|(field, _)| *field != name).collect::<Vec<_>>();
    let of_stream: &[(&str, Vec<(&str, &str)>)] = &[
        ("a name in upper case", with(&[("X-Y", "z")])),
        ("a field of the connection", with(&[("connection", "x")])),
        ("a transfer coding", with(&[("transfer-encoding", "chunked")])),
        ("an upgrade", with(&[("upgrade", "websocket")])),
        ("another te", with(&[("te", "gzip")])),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("a pseudo field twice", with(&[(":path", "/")])),
        ("a pseudo field behind others", [&[("x-y", "z")][..], &GET[..]].concat()),
        ("an unknown pseudo field", with(&[(":x", "y")])),
        ("a status", with(&[(":status", "200")])),
        ("a line feed in a value", with(&[("x-y", "a\nb")])),
        ("a length without a body", with(&[("content-length", "5")])),
        ("lengths that differ", with(&[("content-length", "0"), ("content-length", "1")])),
    ];
    for (name, fields) in of_stream {
        let mut wire = raw(harness.address());
        wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)));
        let ended = until_frame(&mut wire, |frame| frame.kind == RST_STREAM || frame.kind == GOAWAY);
        assert!(ended.is_some(), "{name}");
        assert!(backend.heard_nothing(), "{name}");
    }
    for (name, frames) in [
        ("data on no stream", frame(DATA, 0, 0, b"x")),
        ("a head on no stream", frame(HEADERS, END_HEADERS, 0, &block(&GET))),
        ("an even stream", frame(HEADERS, END_HEADERS, 2, &block(&GET))),
        ("a broken block", frame(HEADERS, END_HEADERS, 1, &[0xff; 20])),
        ("settings of a wrong length", frame(SETTINGS, 0, 0, &[0; 5])),
        ("a ping of a wrong length", frame(PING, 0, 0, &[0; 5])),
        ("a push", frame(5, END_HEADERS, 1, &[0; 8])),
        ("a frame that is too large", frame(DATA, 0, 1, &vec![0; 20_000])),
        ("a window that is too large", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
    ] {
        let mut wire = raw(harness.address());
        wire.send(frames);
        assert!(goaway(&mut wire).is_some_and(|code| code >= PROTOCOL_ERROR), "{name}");
    }
    assert!(is_served(harness.address()));
}

#[test]
fn a_client_that_only_resets_is_told_to_calm_down() {
    let backend = Backend::new(|mut wire| {
        wire.message();
        wire.has_ended();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = raw(harness.address());
    let ended = (0..400).find(|&number| {
        wire.send(head(number, END_STREAM));
        wire.send(frame(PING, 0, 0, b"begun..."));
        // The answer shows that the request has begun.
        let begun = until_frame(&mut wire, |frame| (frame.kind == PING && frame.flags == 1) || frame.kind == GOAWAY);
        wire.send(frame(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes()));
        begun.is_none_or(|frame| frame.kind == GOAWAY)
    });
    assert!(ended.is_some_and(|number| number > 200), "{ended:?}");
}

#[test]
fn bytes_that_only_begin_like_a_preface_are_http_1() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    for byte in b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx" {
        wire.send([*byte]);
    }
    assert_eq!(wire.message().unwrap().text(), "b");
    let mut wire = harness.connect();
    wire.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert!(wire.message().is_none_or(|message| message.status() >= 400));
    let mut wire = harness.connect();
    for byte in PREFACE {
        wire.send([*byte]);
    }
    assert_eq!(next_frame(&mut wire).unwrap().kind, SETTINGS);
}
