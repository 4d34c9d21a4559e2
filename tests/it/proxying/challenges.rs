//! Tokens of a certificate authority (HTTP-01): answered before routing, without harm to other requests.

use signalbox::certificates::HttpChallenges;
use signalbox::request_log::{RequestFilter, TapLimits};

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;

#[test]
fn a_token_is_answered_before_routing_and_other_paths_go_to_the_backend() {
    let tokens = HttpChallenges::default();
    let mut proxy = ProxyHarness::with(|settings| settings.tokens = tokens.clone());
    let unrouted = |proxy: &ProxyHarness| proxy.get("shop.example", "/.well-known/acme-challenge/token").status();
    assert_eq!(unrouted(&proxy), 404, "there is no token");
    tokens.insert("token", "token.thumbprint");
    assert_eq!(unrouted(&proxy), 200, "there need be no route");
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nbackend");
    proxy.serve("shop", "shop-1", &backend.url(), &[]);
    let mut client = proxy.connect();
    for (path, expected) in [
        ("/.well-known/acme-challenge/token", "token.thumbprint"),
        ("/.well-known/acme-challenge/other", "backend"),
        ("/.well-known/acme-challenge/", "backend"),
        ("/", "backend"),
        ("/.well-known/acme-challenge/token?x=1", "token.thumbprint"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n"));
        let answer = client.message().expect("the connection goes on");
        assert_eq!((answer.status(), answer.text()), (200, expected), "{path}");
    }
    let old = proxy.ask("GET /.well-known/acme-challenge/token HTTP/1.0\r\n\r\n");
    assert_eq!((old.status(), old.text()), (200, "token.thumbprint"));
    tokens.remove("token");
    assert_eq!(proxy.get("shop.example", "/.well-known/acme-challenge/token").text(), "backend");
}

#[test]
fn an_answer_with_a_token_is_told_as_any_other_answer() {
    let tokens = HttpChallenges::default();
    tokens.insert("token", "token.thumbprint");
    let mut requests = None;
    let proxy = ProxyHarness::with(|settings| {
        settings.tokens = tokens.clone();
        requests = Some(settings.requests.clone());
    });
    let limits = TapLimits { percent: 100, per_second_max: 100 };
    let tap = requests.unwrap().tap(RequestFilter::default(), limits).unwrap();
    for (method, bytes) in [("GET", 16), ("HEAD", 0)] {
        let path = "/.well-known/acme-challenge/token";
        let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        proxy.connect().send(request);
        let mut told = Vec::new();
        eventually("it is told", || {
            told.extend(tap.take().0);
            !told.is_empty()
        });
        assert_eq!((told[0].status, told[0].bytes_sent, &*told[0].path), (200, bytes, path), "{method}");
    }
}
