//! Header fields: which are removed, added and set.

use signalbox::domain::{RouteId, Target};

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, header, option};

#[test]
fn fields_of_one_connection_do_not_cross_to_the_other() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-theirs\r\nx-theirs: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: x\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n",
    );
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let answer = harness.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-mine, close\r\nx-mine: 1\r\nkeep-alive: 1\r\nte: gzip\r\n\
         proxy-connection: keep-alive\r\nupgrade: thing\r\nx-kept: 1\r\n\r\n",
    );
    let heard = backend.heard();
    for gone in ["connection", "x-mine", "keep-alive", "te", "proxy-connection", "upgrade"] {
        assert_eq!(heard.field(gone), None, "{gone}");
    }
    assert_eq!(heard.field("x-kept"), Some("1"));
    for gone in ["x-theirs", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(answer.field("x-kept"), Some("1"));
}

#[test]
fn a_backend_hears_who_the_client_is_and_not_what_it_claims() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    harness.ask(
        "GET / HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: evil\r\nx-real-ip: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nvia: 1.1 mine\r\n\r\n",
    );
    let heard = backend.heard();
    assert_eq!(heard.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(heard.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(heard.field("x-forwarded-proto"), Some("http"));
    assert_eq!(heard.field("x-forwarded-host"), Some("a.example"));
    assert_eq!(heard.field("forwarded"), None);
    assert_eq!(heard.field("via"), Some("1.1 mine"), "another proxy's is passed on, and none is added");
}

#[test]
fn a_trusted_proxys_word_about_the_client_is_passed_on() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    harness.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: outer\r\nx-real-ip: 6.6.6.6\r\n\r\n",
    );
    let heard = backend.heard();
    assert_eq!(heard.field("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(heard.field("x-forwarded-proto"), Some("https"));
    assert_eq!(heard.field("x-forwarded-host"), Some("outer"));
    assert_eq!(heard.field("x-real-ip"), Some("6.6.6.6"));
}

#[test]
fn the_clients_host_or_the_backends_own_is_sent() {
    let backend = Backend::named("b");
    ProxyHarness::serving(&backend.url(), &[]).get("shop.example:8080", "/");
    assert_eq!(backend.heard().field("host"), Some("shop.example:8080"));
    ProxyHarness::serving(&backend.url(), &[("preserve_host", "false")]).get("shop.example", "/");
    let heard = backend.heard();
    assert_eq!(heard.field("host"), Some(&*backend.address().to_string()));
    assert_eq!(heard.field("x-forwarded-host"), Some("shop.example"));
}

#[test]
fn set_headers_replace_the_backends_and_a_routes_own_beats_all() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nx-a: backend\r\nx-a: twice\r\nx-b: backend\r\ncontent-length: 0\r\n\r\n",
    );
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let own = Target::Route(RouteId(1));
    harness.apply(
        key,
        vec![header(Target::All, "x-a", "all"), header(Target::All, "x-b", "all"), header(own, "x-b", "own")],
    );
    let answer = harness.get("a", "/");
    assert_eq!((answer.field("x-a"), answer.field("x-b")), (Some("all"), Some("own")));
}

#[test]
fn a_request_that_goes_in_a_circle_is_stopped() {
    let (mut harness, mut next) = (ProxyHarness::new(), ProxyHarness::new());
    let (here, there) = (format!("http://{}", harness.address()), format!("http://{}", next.address()));
    harness.serve("shop", "shop-1", &there, &[]);
    next.serve("shop", "shop-1", &here, &[]);
    assert_eq!(harness.get("a", "/").status(), 508);
    // Whatever a client says of hops, it is answered once.
    for said in ["0", "7", "8", "-1", "many", ""] {
        let answer = harness.ask(format!("GET / HTTP/1.1\r\nhost: a\r\nsignalbox-hops: {said}\r\n\r\n"));
        assert_eq!(answer.status(), 508, "{said}");
    }
}

#[test]
fn nothing_is_added_that_has_backends_answer_otherwise() {
    // As stock nginx, Apache and Node do: by `Via` (gzip_proxied), by the version, by `Connection`, by what is accepted.
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for version in ["1.1", "1.0"] {
        harness.ask(format!("GET / HTTP/{version}\r\nhost: a\r\naccept-encoding: gzip\r\nuser-agent: x\r\n\r\n"));
        let heard = backend.heard();
        assert!(heard.line.ends_with("HTTP/1.1"));
        let mut names: Vec<&str> = heard.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let added = ["signalbox-hops", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port"];
        let expected =
            [&["accept-encoding", "host"][..], &added, &["x-forwarded-proto", "x-real-ip", "x-request-id"]].concat();
        assert_eq!(names, expected, "{version}");
    }
}

#[test]
fn a_length_that_is_said_several_times_over_is_passed_on_once() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok");
    let answer = ProxyHarness::serving(&backend.url(), &[]).get("a", "/");
    assert_eq!((answer.field("content-length"), answer.text()), (Some("2"), "ok"));
}

#[test]
fn a_refusal_for_a_known_route_has_the_fields_that_are_set_for_it() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    for (id, path, url) in [(1, "/", backend.url()), (2, "/away", "http://127.0.0.1:1".to_owned())] {
        harness.route(key, id, "a", path, &url);
    }
    let set = [
        header(Target::All, "access-control-allow-origin", "https://app.example"),
        header(Target::All, "strict-transport-security", "max-age=60"),
        header(Target::All, "content-type", "text/x-own"),
        header(Target::Route(RouteId(2)), "access-control-allow-origin", "*"),
        option(Target::All, "max_body_size", "10"),
        option(Target::All, "websocket", "false"),
    ];
    harness.apply(key, set.into());
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world";
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    for (request, status, origin) in [
        (post, 413, "https://app.example"),
        (upgrade, 403, "https://app.example"),
        ("GET /away HTTP/1.1\r\nhost: a\r\n\r\n", 502, "*"),
    ] {
        let answer = harness.ask(request);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.field("access-control-allow-origin"), Some(origin), "{status}");
        assert_eq!(answer.field("strict-transport-security"), Some("max-age=60"), "{status}");
        assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"), "the page's own is true of it");
    }
    assert!(harness.ask(post).text().contains("larger than the 10 bytes that are allowed"));
    assert_eq!(harness.get("a", "/").field("content-type"), Some("text/x-own"));
    assert_eq!(harness.get("b", "/").field("strict-transport-security"), None, "of no route");
}
