//! Refusals of the authority: they are told, and the next attempt waits.

use std::time::Duration;

use super::{AcmeServer, seconds_until};
use crate::server::eventually;
use crate::support::acme_directory::Fault;
use crate::support::server_harness::Gate;

#[test]
fn a_refused_name_waits_and_holds_up_nobody() {
    let mut server = AcmeServer::start("", |_| {});
    let never = Gate::default();
    server.directory.answer(move |heard| match (heard.resource.as_str(), heard.name.as_str()) {
        ("newOrder", "blocked.shop.example") => Some(Fault::Problem(400, "rejectedIdentifier", "")),
        ("newOrder", "slow.shop.example") => Some(Fault::Wait(never.clone())),
        _ => None,
    });
    server.serve(&["blocked.shop.example", "slow.shop.example", "a.shop.example", "b.shop.example"]);
    eventually("the others have certificates", || {
        server.is_served("a.shop.example") && server.is_served("b.shop.example")
    });
    assert_eq!(server.failed("blocked.shop.example"), "because of rejectedIdentifier (rejectedIdentifier)");
    let seen = server.seen("blocked.shop.example");
    assert!(seen["state"] == "pending" && (50.0..=66.0).contains(&seconds_until(&seen["next_attempt"])), "{seen}");
    assert!(server.log().contains("no certificate was obtained"), "{}", server.log());
    let seen = server.seen("slow.shop.example");
    assert!(seen["state"] == "pending" && seen["next_attempt"].is_null(), "{seen}");

    // The wait outlives a restart.
    server.crash();
    eventually("the others are served at once", || {
        server.is_served("a.shop.example") && server.seen("blocked.shop.example")["last_error"].is_string()
    });
    let before = server.directory.heard("newOrder").len();
    eventually("the slow one is tried again", || server.directory.heard("newOrder").len() > before - 1);
    let of_blocked =
        server.directory.heard("newOrder").iter().filter(|order| order.name.starts_with("blocked")).count();
    assert_eq!(of_blocked, 1);
}

#[test]
fn a_proof_that_the_authority_does_not_accept_is_told_in_its_words() {
    let mut server = AcmeServer::start("", |behaviour| behaviour.offers = vec!["http-01"]);
    let nowhere = crate::support::backend::closed_port();
    server.directory.change(|behaviour| behaviour.ports = Some((nowhere, nowhere)));
    server.serve(&["shop.example"]);
    let error = server.failed("shop.example");
    assert!(error.contains("http-01 does not prove shop.example (incorrectResponse)"), "{error}");
}

#[test]
fn a_wildcard_without_a_way_says_what_it_needs() {
    let mut server = AcmeServer::start("", |_| {});
    server.serve(&["*.shop.example"]);
    let error = server.failed("*.shop.example");
    assert!(error.contains("acme.dns_hook"), "{error}");
}

#[test]
fn requests_with_a_bad_nonce_are_made_again() {
    let mut server = AcmeServer::start("", |behaviour| behaviour.good_nonce_each = 9);
    server.serve(&["shop.example"]);
    server.served("shop.example");
    assert_eq!(server.error("shop.example"), None);
}

#[test]
fn the_next_attempt_waits_as_long_as_the_authority_asks() {
    let mut server = AcmeServer::start("", |_| {});
    server.directory.answer(|heard| {
        let told =
            if heard.name == "a.shop.example" { "retry-after: 7200\r\n" } else { "retry-after: 99999999999\r\n" };
        (heard.resource == "newOrder").then_some(Fault::Problem(429, "rateLimited", told))
    });
    server.serve(&["a.shop.example", "b.shop.example"]);
    for (name, from, to) in [("a.shop.example", 2.0, 2.3), ("b.shop.example", 7.0 * 24.0, 8.0 * 24.0)] {
        assert!(server.failed(name).contains("rateLimited"));
        let hours = seconds_until(&server.seen(name)["next_attempt"]) / 3600.0;
        assert!((from - 0.1..=to).contains(&hours), "{name}: {hours}");
    }
}

#[test]
fn an_order_is_looked_at_no_sooner_than_the_authority_asks() {
    let gate = Gate::default();
    let held = gate.clone();
    let mut server = AcmeServer::start("", |behaviour| behaviour.hold = Some(held));
    server.directory.answer(|heard| (heard.resource == "order").then_some(Fault::Fields("retry-after: 1\r\n")));
    server.serve(&["shop.example"]);
    eventually("it looks three times", || server.directory.heard("order").len() >= 3);
    gate.open();
    server.served("shop.example");
    for pair in server.directory.heard("order").windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(900));
    }
}
