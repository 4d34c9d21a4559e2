//! Maintenance pages are fetched once for all clients, and only valid pages are shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signalbox::connect::{AddressResolver, BackendTls, NameLookup};
use signalbox::domain::{Forbidden, PageUrl, SessionKey, Span};
use signalbox::fetch::PageFetcher;
use signalbox::lifecycle::Lifecycle;
use signalbox::maintenance_pages::MaintenancePages;

use crate::support::PATIENCE;
use crate::support::backend::{Backend, closed_port};

const SESSION: SessionKey = SessionKey(1);

/// The body and type of what is shown for a URL, asked for by a few at once.
fn shown(prober: PageFetcher, url: &str) -> Option<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (lifecycle, (pages, refresher)) = (Lifecycle::new(), MaintenancePages::new(prober, Span::from_secs(10)));
        lifecycle.spawn("pages", refresher.run(lifecycle.stopping().clone()));
        let page = PageUrl::parse(url).unwrap();
        let all = tokio::join!(pages.page(SESSION, &page), pages.page(SESSION, &page), pages.page(SESSION, &page));
        assert!(all.0 == all.1 && all.1 == all.2);
        assert_eq!(pages.page(SESSION, &page).await, all.0);
        assert!(lifecycle.end(Duration::from_secs(10)).await);
        all.0.map(|(body, kind)| (String::from_utf8(body.to_vec()).unwrap(), kind.to_str().unwrap().to_owned()))
    })
}

fn answering(head: &str, body: &str) -> Backend {
    Backend::answering(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn a_page_is_fetched_once_for_all_and_taken_over_with_its_type_alone() {
    let server = answering("200 OK\r\ncontent-type: Text/HTML; charset=utf-8\r\nset-cookie: a=b", "<p>soon</p>");
    let page = shown(
        PageFetcher::new(&AddressResolver::default(), &BackendTls::default()),
        &format!("{}/down?x", server.url()),
    );
    assert_eq!(page, Some(("<p>soon</p>".to_owned(), "Text/HTML; charset=utf-8".to_owned())));
    assert_eq!((server.heard().target(), server.connections()), ("/down?x", 1));
}

#[test]
fn a_page_that_cannot_be_shown_is_not_used() {
    let html = "content-type: text/html";
    let large = "x".repeat(64 * 1024 + 1);
    for (head, body) in [
        (format!("200 OK\r\n{html}"), large.as_str()),
        (format!("302 Found\r\nlocation: /\r\n{html}"), "x"),
        (format!("500 Oh\r\n{html}"), "x"),
        (format!("200 OK\r\ncontent-encoding: gzip\r\n{html}"), "x"),
        ("200 OK\r\ncontent-type: text/plain".to_owned(), "x"),
        ("200 OK".to_owned(), "x"),
    ] {
        let server = answering(&head, body);
        assert_eq!(
            shown(PageFetcher::new(&AddressResolver::default(), &BackendTls::default()), &server.url()),
            None,
            "{head}"
        );
        assert_eq!(server.connections(), 1);
    }
    let broken = Backend::new(move |mut wire| {
        wire.head();
        wire.send(format!("HTTP/1.1 200 OK\r\n{html}\r\ncontent-length: 2\r\n\r\nx"));
    });
    assert_eq!(shown(PageFetcher::new(&AddressResolver::default(), &BackendTls::default()), &broken.url()), None);
    assert_eq!(
        shown(
            PageFetcher::new(&AddressResolver::default(), &BackendTls::default()),
            &format!("http://{}", closed_port())
        ),
        None
    );
}

#[test]
fn the_largest_page_is_taken_over() {
    let server = answering("200 OK\r\ncontent-type: text/html", &"x".repeat(64 * 1024));
    assert!(shown(PageFetcher::new(&AddressResolver::default(), &BackendTls::default()), &server.url()).is_some());
}

#[test]
fn a_page_in_a_denied_network_is_not_fetched() {
    let server = answering("200 OK\r\ncontent-type: text/html", "x");
    let loopback = Forbidden::new(&["127.0.0.0/8".parse().unwrap()], &[]);
    let denied = AddressResolver::new(NameLookup::default(), loopback);
    assert_eq!(shown(PageFetcher::new(&denied, &BackendTls::default()), &server.url()), None);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_page_is_fetched_again_while_it_is_asked_for_and_the_last_good_one_is_shown_meanwhile() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let server = Backend::hearing(move |mut wire, tell| {
        let Some(request) = wire.message() else { return };
        let kind = if failing.load(Ordering::SeqCst) { "text/plain" } else { "text/html" };
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 1\r\n\r\nx"));
        tell(request);
    });
    let (pages, refresher) = MaintenancePages::new(
        PageFetcher::new(&AddressResolver::default(), &BackendTls::default()),
        Span::from_millis(20),
    );
    let page = PageUrl::parse(&server.url()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("pages", refresher.run(lifecycle.stopping().clone()));
        assert!(pages.page(SESSION, &page).await.is_some());
        fails.store(true, Ordering::SeqCst);
        let seen = server.connections();
        let again = async {
            while server.connections() < seen + 3 {
                assert!(pages.page(SESSION, &page).await.is_some(), "the last good one is shown");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("it is fetched again");
        assert!(lifecycle.end(Duration::from_secs(10)).await);
    });
}
