//! Single requests from the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signalbox::connect::{AddressResolver, BackendTls, NameLookup};
use signalbox::domain::{Forbidden, PageUrl, SessionKey, Span};
use signalbox::fetch::{CertificatePolicy, FetchedPage, PageFetcher};

use crate::support::backend::{Backend, closed_port};
use crate::support::proxy_harness::{ProxyHarness, until};

/// The session for which is asked.
const ASKER: SessionKey = SessionKey(1);

fn get_with(prober: &PageFetcher, url: &str, millis: u64) -> Result<FetchedPage, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (prober, page) = (prober.clone(), PageUrl::parse(url).unwrap());
    // Spawned, because the control plane needs it to be `Send`.
    let got = runtime
        .spawn(async move { prober.get(ASKER, &page, Span::from_millis(millis), CertificatePolicy::Reported).await });
    runtime.block_on(got).unwrap()
}

pub fn probe(tls: &BackendTls, url: &str, trust: CertificatePolicy) -> Result<FetchedPage, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(PageFetcher::new(&AddressResolver::default(), tls).get(
        ASKER,
        &PageUrl::parse(url).unwrap(),
        Span::from_secs(5),
        trust,
    ))
}

fn get(url: &str) -> Result<FetchedPage, String> {
    get_with(&PageFetcher::new(&AddressResolver::default(), &BackendTls::new()), url, 5_000)
}

#[test]
fn the_status_is_told_and_redirects_are_not_followed() {
    let backend = Backend::answering("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(get(&format!("{}/page?x=1", backend.url())).unwrap().status, 302);
    let heard = backend.heard();
    assert_eq!((heard.target(), heard.field("host")), ("/page?x=1", Some(&*backend.address().to_string())));
    assert!(backend.heard_nothing());
}

#[test]
fn an_endless_page_is_not_read_to_its_end() {
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        while wire.send([b'x'; 1024]) {}
    });
    assert_eq!(get(&backend.url()).unwrap().status, 200);
}

#[test]
fn failures_are_described_in_plain_words() {
    assert_eq!(get(&format!("http://{}", closed_port())).unwrap_err(), "the connection was refused");
    assert_eq!(get("http://no-such-name.invalid").unwrap_err(), "its name does not resolve");
    let nonsense = Backend::answering("nonsense\r\n\r\n");
    assert_eq!(get(&nonsense.url()).unwrap_err(), "the answer is not HTTP");
    let silent = Backend::new(|mut wire| {
        wire.head();
        wire.has_ended();
    });
    assert_eq!(
        get_with(&PageFetcher::new(&AddressResolver::default(), &BackendTls::new()), &silent.url(), 50).unwrap_err(),
        "no answer within 50ms"
    );
}

#[test]
fn a_denied_network_is_not_asked() {
    let backend = Backend::named("b");
    let prober = PageFetcher::new(
        &AddressResolver::new(NameLookup::default(), Forbidden::new(&["127.0.0.0/8".parse().unwrap()], &[])),
        &BackendTls::new(),
    );
    let error = get_with(&prober, &backend.url(), 5_000).unwrap_err();
    assert_eq!(error, "its address is in a network that is denied");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn slow_names_in_the_tests_of_some_sessions_delay_no_test_and_no_connection_of_another() {
    let backend = Backend::named("b");
    let (begun, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (slow, open) = (Arc::clone(&begun), Arc::clone(&opened));
    let names = NameLookup::with(move |name| {
        if name.starts_with("slow") {
            slow.fetch_add(1, Ordering::SeqCst);
            while !open.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(vec!["127.0.0.1".parse().unwrap()])
    });
    let prober = PageFetcher::new(&AddressResolver::new(names.clone(), Forbidden::default()), &BackendTls::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask = |session: u64, host: &str| {
        let page = PageUrl::parse(&format!("http://{host}.example:{}/", backend.address().port())).unwrap();
        let prober = prober.clone();
        runtime.spawn(async move {
            prober.get(SessionKey(session), &page, Span::from_secs(20), CertificatePolicy::Reported).await
        })
    };
    // More sessions would take all threads, were they not of tests: none has more than its part.
    let greedy: Vec<_> = (100..110).flat_map(|session| (0..32).map(move |at| (session, at))).collect();
    let greedy: Vec<_> =
        greedy.into_iter().map(|(session, at)| ask(session, &format!("slow-{session}-{at}"))).collect();
    until("each has its part", || begun.load(Ordering::SeqCst) == 40);
    for session in 200..220 {
        let got = runtime.block_on(ask(session, &format!("quick-{session}"))).unwrap();
        assert_eq!(got.unwrap().status, 200, "a test of session {session}");
    }
    let mut harness = ProxyHarness::with(|settings| settings.names = names);
    harness.serve("shop", "shop-1", &format!("http://route.example:{}", backend.address().port()), &[]);
    assert_eq!(harness.get("a", "/").text(), "b", "a connection for a route");
    assert_eq!(begun.load(Ordering::SeqCst), 40);
    opened.store(true, Ordering::SeqCst);
    for test in greedy {
        assert_eq!(runtime.block_on(test).unwrap().unwrap().status, 200);
    }
}

#[test]
fn no_more_is_read_than_a_page_may_hold_whatever_it_is() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(25_000);
    let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1_000_000));
    for block in [interim, head] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let backend = Backend::new(move |mut wire| {
            wire.head();
            while counted.load(Ordering::SeqCst) < 1000 && wire.send(&block) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert_eq!(get(&backend.url()).unwrap_err(), "the answer is not HTTP");
        assert!(sent.load(Ordering::SeqCst) <= 24, "more MiB were read than sockets hold");
    }
}
