//! Single requests from the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signalbox::domain::{Forbidden, PageUrl, Span};
use signalbox::proxy::{Addresses, Fetched, Names, Prober, Tls, Trust};

use crate::support::backend::{Backend, closed_port};

fn get_with(prober: &Prober, url: &str, millis: u64) -> Result<Fetched, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (prober, page) = (prober.clone(), PageUrl::parse(url).unwrap());
    // Spawned, because the control plane needs it to be `Send`.
    let got = runtime.spawn(async move { prober.get(&page, Span::from_millis(millis), Trust::Reported).await });
    runtime.block_on(got).unwrap()
}

pub fn probe(tls: &Tls, url: &str, trust: Trust) -> Result<Fetched, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Prober::new(&Addresses::default(), tls).get(
        &PageUrl::parse(url).unwrap(),
        Span::from_secs(5),
        trust,
    ))
}

fn get(url: &str) -> Result<Fetched, String> {
    get_with(&Prober::new(&Addresses::default(), &Tls::new()), url, 5_000)
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
fn what_went_wrong_is_told_in_plain_words() {
    assert_eq!(get(&format!("http://{}", closed_port())).unwrap_err(), "the connection was refused");
    assert_eq!(get("http://no-such-name.invalid").unwrap_err(), "its name does not resolve");
    let nonsense = Backend::answering("nonsense\r\n\r\n");
    assert_eq!(get(&nonsense.url()).unwrap_err(), "the answer is not HTTP");
    let silent = Backend::new(|mut wire| {
        wire.head();
        wire.has_ended();
    });
    assert_eq!(
        get_with(&Prober::new(&Addresses::default(), &Tls::new()), &silent.url(), 50).unwrap_err(),
        "no answer within 50ms"
    );
}

#[test]
fn a_denied_network_is_not_asked() {
    let backend = Backend::named("b");
    let prober = Prober::new(
        &Addresses::new(Names::default(), Forbidden::new(&["127.0.0.0/8".parse().unwrap()], &[])),
        &Tls::new(),
    );
    let error = get_with(&prober, &backend.url(), 5_000).unwrap_err();
    assert_eq!(error, "its address is in a network that is denied");
    assert_eq!(backend.connections(), 0);
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
