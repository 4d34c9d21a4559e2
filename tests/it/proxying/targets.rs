//! Request targets: many spellings of one resource, and invalid bytes.

use signalbox::domain::{RouteId, Target};

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, option};

#[test]
fn no_spelling_of_a_path_passes_by_its_route() {
    let (login, other) = (Backend::named("login"), Backend::named("other"));
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &other.url(), &[]);
    harness.route(key, 2, "*", "/login", &login.url());
    for (target, passed) in [
        ("/login", "/login"),
        ("//login", "//login"),
        ("/%6cogin?next=/x/../y", "/%6cogin?next=/x/../y"),
        ("/%6C%6fgin//x", "/%6C%6fgin//x"),
        ("/x/../login", "/login"),
        ("/x/%2e%2e/login", "/login"),
        ("/x/.%2E/%6cogin?a=b", "/%6cogin?a=b"),
        ("/./login/./x", "/login/x"),
        ("/x/y/..//../login/", "/login/"),
        ("/x/..;v=1/login", "/login"),
        ("http://a//login", "//login"),
        ("/login/a%2Fb", "/login/a%2Fb"),
    ] {
        assert_eq!(harness.get("a", target).text(), "login", "{target}");
        assert_eq!(login.heard().target(), passed);
    }
    for (target, passed) in
        [("/login%2Fx", "/login%2Fx"), ("/login/../x", "/x"), ("/logins", "/logins"), ("/100%", "/100%")]
    {
        assert_eq!(harness.get("a", target).text(), "other", "{target}");
        assert_eq!(other.heard().target(), passed);
    }
}

#[test]
fn many_paths_of_a_host_are_matched_in_every_spelling_too() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    for number in 0..20 {
        harness.route(key, number + 1, "*", &format!("/p{number}"), &backend.url());
    }
    for target in ["//p7", "/%707/x", "/p8/../p7", "/p8//..//p7"] {
        assert_eq!(harness.get("a", target).status(), 200, "{target}");
    }
    assert_eq!(harness.get("a", "/p7/../none").status(), 404);
}

#[test]
fn a_path_above_the_root_is_a_bad_request() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&format!("{}/app", backend.url()), &[]);
    for target in ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "//../x", "/a/%2E./..;/x"] {
        assert_eq!(harness.get("a", target).status(), 400, "{target}");
    }
    assert!(backend.heard_nothing());
}

#[test]
fn bytes_that_a_target_may_not_have_are_forwarded_percent_encoded() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let targets: [(&[u8], &str); 7] = [
        (b"/a\"b'{c}<d>`e|f\\g^h", "/a%22b'%7Bc%7D%3Cd%3E%60e%7Cf%5Cg%5Eh"),
        (b"/x?q=\"{<>}`|^\\", "/x?q=%22%7B%3C%3E%7D%60%7C%5E%5C"),
        ("/café?q=é".as_bytes(), "/caf%C3%A9?q=%C3%A9"),
        (b"/caf\xe9?q=\xe9", "/caf%E9?q=%E9"),
        (b"/a[]?b[]=%20", "/a[]?b[]=%20"),
        (b"http://a/<>", "/%3C%3E"),
        (b"/%7b%C3%A9", "/%7b%C3%A9"),
    ];
    let mut kept = harness.connect();
    for (target, passed) in targets {
        let head = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\nX-Odd: <\"{|}\">\r\n\r\n"].concat();
        assert_eq!(harness.ask(&head).status(), 200, "{passed}");
        let heard = backend.heard();
        assert_eq!((heard.target(), heard.field("x-odd")), (passed, Some("<\"{|}\">")));
        // On a connection that goes on, also behind a body.
        kept.send(&head);
        assert_eq!(kept.message().unwrap().status(), 200, "{passed}");
        assert_eq!(backend.heard().target(), passed);
        kept.send([b"POST ", target, b" HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n{\"<|>\":1"].concat());
        assert_eq!(kept.message().unwrap().status(), 200, "{passed}");
        let heard = backend.heard();
        assert_eq!((heard.target(), heard.text()), (passed, "{\"<|>\":1"));
    }
}

#[test]
fn a_target_that_grows_past_the_room_for_it_comes_whole() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let target = format!("/{}", "é".repeat(7000));
    assert_eq!(harness.get("a", &target).status(), 200);
    assert_eq!(backend.heard().target(), format!("/{}", "%C3%A9".repeat(7000)));
}

#[test]
fn a_stripped_prefix_leaves_one_slash_and_is_told() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let key = harness.session("shop", "shop-1");
    harness.route(key, 1, "*", "/api/v1", &backend.url());
    harness.apply(key, vec![option(Target::Route(RouteId(1)), "strip_prefix", "true")]);
    for (target, passed) in [
        ("/api/v1", "/"),
        ("/api/v1/", "/"),
        ("/api/v1?q=/", "/?q=/"),
        ("/api/v1//evil.example/x", "/evil.example/x"),
        ("//%61pi//v1/x//y", "/x//y"),
        ("/api/v1/x/../y", "/y"),
        ("/api/v1/%2F/x", "/%2F/x"),
    ] {
        assert_eq!(harness.get("a", target).status(), 200, "{target}");
        let heard = backend.heard();
        assert_eq!((heard.target(), heard.field("x-forwarded-prefix")), (passed, Some("/api/v1")), "{target}");
    }
    assert_eq!(harness.get("a", "/api/v1/../../x").status(), 404);
    harness.ask("GET /api/v1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /outer/\r\n\r\n");
    assert_eq!(backend.heard().field("x-forwarded-prefix"), Some("/outer/api/v1"));
}

#[test]
fn a_stripped_prefix_is_put_back_where_that_is_asked_for() {
    let backend = Backend::answering(
        "HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2; path=/x\r\n\
         Content-Length: 0\r\n\r\n",
    );
    for (restores, location, cookies) in [
        ("true", "/api/login", ["a=1; Path=/api; HttpOnly", "b=2; Path=/api/x"]),
        ("false", "/login", ["a=1; Path=/; HttpOnly", "b=2; path=/x"]),
    ] {
        let mut harness = ProxyHarness::new();
        let key = harness.session("shop", "shop-1");
        harness.route(key, 1, "*", "/api", &backend.url());
        let own = Target::Route(RouteId(1));
        harness.apply(key, vec![option(own, "strip_prefix", "true"), option(own, "restore_prefix", restores)]);
        let answer = harness.get("a", "/api/x");
        assert_eq!(answer.field("location"), Some(location));
        assert_eq!(answer.all("set-cookie").collect::<Vec<_>>(), cookies);
    }
}
