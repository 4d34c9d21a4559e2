//! Malformed or ambiguous messages reach no backend (RFC 9112).

use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;

/// The status, and that no backend heard a whole request.
fn refused(request: &str) -> u16 {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send(request);
    let status = wire.message().map_or(0, |answer| answer.status());
    assert!(wire.has_ended(), "the connection of a request that cannot be understood ends: {request:?}");
    assert!(backend.heard_nothing(), "{request:?}");
    status
}

#[test]
fn no_host_or_two_are_refused() {
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
    ] {
        assert_eq!(refused(request), 400, "{request:?}");
    }
}

#[test]
fn bad_lengths_are_refused() {
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nab",
    ] {
        assert_eq!(refused(request), 400, "{request:?}");
    }
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused() {
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length : 3\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(refused(request), 400, "{request:?}");
    }
}

#[test]
fn transfer_codings_that_are_not_chunked_alone_are_refused() {
    for (request, status) in [
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ] {
        assert_eq!(refused(request), status, "{request:?}");
    }
}

#[test]
fn bad_chunks_are_refused() {
    for body in ["x\r\n", "-1\r\n", "1\r\nabc", "ffffffffffffffffff\r\n", "1;\nX\r\n", "1\r\na0\r\n\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        assert_eq!(refused(&request), 400, "{request:?}");
    }
}

#[test]
fn heads_that_are_none_are_refused() {
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nhost: a\r\n\r\n",
        "hello\r\n\r\n",
    ] {
        assert_eq!(refused(request), 400, "{request:?}");
    }
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(refused(&request), 431);
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(1100));
    assert_eq!(refused(&request), 431);
}

#[test]
fn connect_and_trace_are_for_no_backend() {
    let harness = ProxyHarness::serving("http://127.0.0.1:1", &[]);
    assert_eq!(harness.ask("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n").status(), 405);
    assert_eq!(harness.ask("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n").status(), 405);
}

#[test]
fn a_whole_url_as_target_beats_the_host_field() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    harness.route(key, 1, "shop.example", "/", &backend.url());
    let answer = harness.ask("GET http://Shop.example/x?y HTTP/1.1\r\nhost: other\r\n\r\n");
    let heard = backend.heard();
    assert_eq!(answer.status(), 200);
    assert_eq!((heard.target(), heard.field("host")), ("/x?y", Some("Shop.example")));
}

#[test]
fn an_http_1_0_client_is_served_and_its_connection_closed() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.0\r\n\r\n");
    let answer = wire.message().unwrap();
    assert_eq!((answer.field("transfer-encoding"), answer.text()), (None, "ab"));
    let heard = backend.heard();
    assert!(heard.line.ends_with("HTTP/1.1") && heard.field("host").is_some());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::hearing(|mut wire, _| {
        while let Some(request) = wire.message() {
            let target = request.target();
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len()));
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    let requests: Vec<String> = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    wire.send(requests.concat());
    for n in 0..20 {
        assert_eq!(wire.message().unwrap().text(), format!("/{n}"));
    }
}

#[test]
fn an_empty_body_is_told_as_empty() {
    let backend = Backend::named("b");
    ProxyHarness::serving(&backend.url(), &[]).ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    let heard = backend.heard();
    assert_eq!((heard.field("content-length"), heard.field("transfer-encoding")), (Some("0"), None));
}

#[test]
fn a_backend_that_tells_its_length_in_two_ways_cannot_confuse_the_client() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let answer = ProxyHarness::serving(&backend.url(), &[]).get("a", "/");
    assert_eq!((answer.field("content-length"), answer.text()), (None, "ok"));
}

#[test]
fn a_backend_of_http_1_0_is_understood_and_its_connections_not_kept() {
    let backend = Backend::new(|mut wire| {
        wire.message();
        wire.send("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    for _ in 0..3 {
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        let answer = wire.message().unwrap();
        assert_eq!((&*answer.line, answer.text()), ("HTTP/1.1 200 OK", "old"));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn the_rest_of_a_body_that_nobody_read_is_not_taken_for_a_request() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "10")]);
    let mut wire = harness.connect();
    let inner = "GET /inner HTTP/1.1\r\nhost: a\r\n\r\n";
    wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{inner}", inner.len()));
    assert_eq!(wire.message().unwrap().status(), 413);
    wire.half_close();
    assert!(wire.has_ended());
    assert!(backend.heard_nothing());
}

#[test]
fn bytes_behind_a_body_are_read_like_any_other_request() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    let post = "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    let chunked = "POST /2 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let lost = "GET /3 HTTP/1.1\r\nhost: unknown host\r\naccept: application/json\r\n\r\n";
    wire.send(format!("{post}{chunked}{chunked}{lost}"));
    for target in ["/1", "/2", "/2"] {
        assert_eq!(wire.message().unwrap().text(), "b");
        let heard = backend.heard();
        assert_eq!((heard.target(), heard.text()), (target, "hi"));
    }
    let refusal = wire.message().unwrap();
    assert_eq!((refusal.status(), refusal.field("content-type")), (400, Some("application/problem+json")));
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused_behind_a_body_too() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send(
        "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhiPOST /2 HTTP/1.1\r\nhost: a\r\n\
         transfer-encoding: chunked\r\ncontent-length: 50\r\n\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    assert_eq!([wire.message().unwrap().status(), wire.message().unwrap().status()], [200, 400]);
    assert!(wire.has_ended());
    assert_eq!(backend.heard().target(), "/1");
    assert!(backend.heard_nothing());
}

#[test]
fn targets_that_are_no_paths_are_refused() {
    for target in ["a", "a:80", "*", "?x"] {
        assert_eq!(refused(&format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")), 400, "{target}");
    }
    let backend = Backend::named("b");
    assert_eq!(ProxyHarness::serving(&backend.url(), &[]).ask("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").status(), 200);
    assert_eq!(backend.heard().target(), "*");
}
