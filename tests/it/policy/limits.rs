//! Rate limits: how many requests pass, and what the client is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use signalbox::domain::{Edit, RateLimit, Span, Target};

use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;
use crate::support::server_harness::ServerHarness;

#[test]
fn a_client_gets_its_budget_and_not_one_request_more() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    assert!(harness.get("/").field("ratelimit-policy").is_none(), "nothing is said where there is no limit");
    instance.set("RATELIMIT_SET", "r1|5|1h");
    for left in (0..5).rev() {
        let answer = harness.get("/");
        assert_eq!((answer.status(), answer.field("ratelimit-policy")), (200, Some("\"default\";q=5;w=3600")));
        assert!(answer.field("ratelimit").unwrap().starts_with(&format!("\"default\";r={left};t=")), "{answer:?}");
        assert_eq!(answer.field("retry-after"), None);
    }
    for _ in 0..3 {
        let refused = harness.get("/");
        let retry: u32 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!(refused.status() == 429 && (600..=720).contains(&retry), "one comes back every 12 minutes: {retry}");
        assert_eq!(refused.field("ratelimit").unwrap(), format!("\"default\";r=0;t={retry}"));
        assert_eq!(refused.field("ratelimit-policy"), Some("\"default\";q=5;w=3600"));
    }
}

#[test]
fn it_is_exact_over_all_workers() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    instance.set("RATELIMIT_SET", "r1|100|24h");
    let passed = AtomicUsize::new(0);
    let run = || {
        let passes = (0..50).filter(|_| harness.status("/") == 200).count();
        passed.fetch_add(passes, Ordering::SeqCst);
    };
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(run))));
    assert_eq!(passed.load(Ordering::SeqCst), 100);
}

#[test]
fn all_is_one_budget_over_the_routes_that_have_none_of_their_own() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    for path in ["/one", "/two", "/own"] {
        instance.add("*", path, &backend.url());
    }
    instance.expect("RATELIMIT_SET", "r3|2|1h", "RATELIMIT_OK");
    instance.set("RATELIMIT_SET", "ALL|3|1h");
    let paths = ["/one", "/two", "/one", "/two", "/one", "/own", "/own", "/own"];
    assert_eq!(paths.map(|path| harness.status(path)), [200, 200, 200, 429, 429, 200, 200, 429]);
    instance.set("HEADERS_SET", "ALL|X-A|1");
    assert_eq!(paths.map(|path| harness.status(path)), [429; 8], "an apply of something else gives nothing back");
    instance.set("RATELIMIT_SET", "r2|1|1h");
    assert_eq!(["/one", "/two", "/two"].map(|path| harness.status(path)), [429, 200, 429]);
}

#[test]
fn the_strictest_members_limit_holds_for_a_pool() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut first = harness.instance("shop-1", &backend);
    let mut second = harness.instance("shop-2", &backend);
    first.set("RATELIMIT_SET", "ALL|10|1h");
    second.set("RATELIMIT_SET", "ALL|3|1h");
    assert_eq!([(); 5].map(|()| harness.status("/")), [200, 200, 200, 429, 429]);
    second.expect("CLIENT_SHUTDOWN", "", "SHUTDOWN_OK");
    assert_eq!(harness.status("/"), 200);
}

#[test]
fn behind_a_trusted_proxy_the_client_is_whom_it_names() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let limit = RateLimit { requests: 1, window: Span::from_secs(3600) };
    harness.apply(key, vec![Edit::RateLimit(Target::All, Some(limit))]);
    let status =
        |named: &str| harness.ask(format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {named}\r\n\r\n")).status();
    for (named, expected) in [
        ("1.2.3.4", 200),
        ("9.9.9.9, 1.2.3.4", 429),
        ("1.2.3.4, 127.0.0.9", 429),
        ("::ffff:1.2.3.4", 429),
        ("1.2.3.5", 200),
        ("2001:db8::1", 200),
        ("2001:db8::ffff:2", 429),
        ("2001:db8:0:1::1", 200),
    ] {
        assert_eq!(status(named), expected, "{named}");
    }
}

#[test]
fn rate_limit_fields_of_a_backend_are_replaced_by_those_of_the_proxy() {
    let answer =
        "HTTP/1.1 200 OK\r\nratelimit: \"x\";r=7;t=7\r\nratelimit-policy: \"x\";q=7\r\ncontent-length: 0\r\n\r\n";
    let (harness, backend) = (ServerHarness::open(), Backend::answering(answer));
    let mut instance = harness.instance("shop-1", &backend);
    assert_eq!(harness.get("/").field("ratelimit-policy"), Some("\"x\";q=7"));
    instance.set("RATELIMIT_SET", "r1|5|1m");
    assert_eq!(harness.get("/").field("ratelimit-policy"), Some("\"default\";q=5;w=60"));
}
