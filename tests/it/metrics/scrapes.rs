//! Who may scrape, in which form, and what goes on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::exposition::{OPEN_METRICS, ask, scrape, scrape_as};
use crate::server::Server;
use crate::support::backend::Backend;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

#[test]
fn a_scraper_gets_the_format_and_the_coding_that_it_asks_for() {
    let harness = ServerHarness::open();
    let api = harness.server().api;
    let plain = ask(api, "");
    assert_eq!(plain.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!((plain.field("content-encoding"), plain.field("vary")), (None, Some("accept, accept-encoding")));
    let open = ask(api, OPEN_METRICS);
    assert_eq!(open.field("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let zipped = ask(api, "accept-encoding: gzip\r\n");
    assert_eq!(zipped.field("content-encoding"), Some("gzip"));
    assert!(zipped.body.len() * 2 < plain.body.len());
    let in_both = [scrape(api), scrape_as(api, &format!("{OPEN_METRICS}accept-encoding: gzip\r\n"))];
    let names = in_both.map(|told| {
        told.series.into_keys().filter(|name| !name.contains("protocol") && !name.contains("le=")).collect::<Vec<_>>()
    });
    assert_eq!(names[0], names[1], "both formats have the same series");
}

#[test]
fn only_operators_scrape() {
    let token = "0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--api-operator-tokens", token]);
    assert_eq!(ask(server.api, "").status(), 401);
    assert_eq!(ask(server.api, "authorization: Bearer 0123456789abcdee\r\n").status(), 401);
    assert_eq!(ask(server.api, &format!("authorization: Bearer {token}\r\n")).status(), 200);
    drop(server);
    let server = Server::start(folder.path());
    let mut wire = Wire::connect(server.api);
    wire.send("GET /metrics HTTP/1.1\r\nhost: evil.example\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 403, "a page that a browser was led to");
    assert_eq!(ask(server.api, "").status(), 200);
}

/// Scrapes in both formats while `change` runs; each scrape must be valid.
fn scrape_meanwhile(change: impl FnOnce(&ServerHarness, &Backend)) {
    let harness = ServerHarness::open();
    let backend = Backend::named("b");
    let _stays = harness.instance("shop-1", &backend);
    let (api, is_over) = (harness.server().api, AtomicBool::new(false));
    thread::scope(|scope| {
        let scrapers = ["", OPEN_METRICS].map(|fields| {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut scrapes = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert!(scrape_as(api, fields).count("signalbox_instance_routes") > 0);
                    scrapes += 1;
                }
                scrapes
            })
        });
        change(&harness, &backend);
        is_over.store(true, Ordering::Relaxed);
        for scraper in scrapers {
            assert!(scraper.join().unwrap() > 0);
        }
    });
}

#[test]
fn scrapes_are_valid_while_routes_change() {
    scrape_meanwhile(|harness, backend| {
        let (mut instance, mut last) = (harness.empty("shop-2"), None);
        for number in 0..120 {
            let reply = instance.ask("ROUTE_ADD", &format!("h{number}.example|/|{}|0", backend.url()));
            let id = reply.strip_prefix("ROUTE_OK|").unwrap_or_else(|| panic!("{reply}")).to_owned();
            if let Some(old) = last.replace(id) {
                instance.expect("ROUTE_REMOVE", &old, "ROUTE_OK");
            }
            instance.apply();
            assert_eq!(harness.get_of(&format!("h{number}.example"), "/").status(), 200);
            if number % 20 == 19 {
                // The routes of the old session serve until the first apply of the new one.
                (instance, last) = (harness.empty("shop-2"), None);
            }
        }
    });
}

#[test]
#[ignore = "storm: scrapes during 100,000 changes of routes, 200 in each apply"]
fn storm_of_100_000_changes_of_routes_under_scrapes() {
    scrape_meanwhile(|harness, backend| {
        for round in 0..500 {
            let route = |number| {
                let (host, url) = (format!("h{round}-{number}.example"), backend.url());
                format!(r#"{{"domains":["{host}"],"path":"/","backend_url":"{url}"}}"#)
            };
            let routes: Vec<String> = (0..100).map(route).collect();
            let mut instance = harness.empty("shop-2");
            let reply = instance.ask("ROUTE_ADD_BULK", &format!("[{}]", routes.join(",")));
            assert!(reply.starts_with("ROUTE_BULK_OK|"), "{reply}");
            // It takes away the hundred routes of the session before, too.
            instance.apply();
            assert_eq!(harness.get_of(&format!("h{round}-99.example"), "/").status(), 200);
        }
    });
}
