//! The time of renewal, and the order that replaces a certificate.

use std::time::Duration;

use super::{AcmeServer, seconds_until};
use crate::server::eventually;

#[test]
fn without_windows_a_certificate_is_renewed_when_a_third_of_its_lifetime_is_left() {
    let mut server = AcmeServer::start("", |behaviour| behaviour.lifetime = Duration::from_secs(6));
    server.serve(&["shop.example"]);
    let (client, session) = server.client.as_mut().unwrap();
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|cert_renewed")), "SUBSCRIBE_OK");
    let renewed = || server.directory.issued("shop.example").len() >= 2;
    eventually("it is renewed", || {
        let seen = server.seen("shop.example");
        if seen["next_attempt"].is_string() && !renewed() && seen["not_after"].is_string() {
            let left = seconds_until(&seen["not_after"]) - seconds_until(&seen["next_attempt"]);
            assert!((1.9..=2.3).contains(&left), "{seen}");
        }
        renewed()
    });
    let orders = server.directory.heard("newOrder");
    assert!(orders.iter().all(|order| order.payload["replaces"].is_null()), "a directory without windows knows none");
    assert!(orders[1].at - orders[0].at > Duration::from_secs(3), "not long before");
    let told = server.client.as_mut().unwrap().0.pushed_line();
    assert!(told.starts_with("EVENT|cert_renewed|{\"domain\":\"shop.example\",\"expiry\":\""), "{told}");
}

#[test]
fn the_window_of_the_authority_is_obeyed_and_the_order_names_what_it_replaces() {
    let mut server = AcmeServer::start("", |behaviour| {
        behaviour.lifetime = Duration::from_secs(30);
        // Without a window both would be renewed when 10 s to 11 s are left.
        behaviour.window = Some(|name| if name == "revoked.shop.example" { (-20, -10) } else { (20, 22) });
    });
    server.serve(&["revoked.shop.example", "late.shop.example"]);
    eventually("the late window decides", || {
        let seen = server.seen("late.shop.example");
        !server.directory.heard("renewalInfo").is_empty()
            && seen["next_attempt"].is_string()
            && seconds_until(&seen["not_after"]) - seconds_until(&seen["next_attempt"]) < 8.0
    });
    eventually("one with a window in the past is renewed at once", || {
        server.directory.issued("revoked.shop.example").len() >= 2
    });
    assert!(server.is_served("late.shop.example"));
    assert_eq!(server.directory.issued("late.shop.example").len(), 1);
    let first = server.directory.issued("revoked.shop.example").remove(0);
    let orders = server.directory.heard("newOrder");
    let mut replaced = orders.iter().filter(|order| order.name == "revoked.shop.example").skip(1);
    assert_eq!(replaced.next().unwrap().payload["replaces"], first);
}

#[test]
fn a_certificate_that_ends_soon_by_the_clock_of_the_server_is_not_ordered_all_the_time() {
    let mut server = AcmeServer::start("", |behaviour| behaviour.lifetime = Duration::ZERO);
    server.serve(&["shop.example"]);
    eventually("it is ordered three times", || server.directory.issued("shop.example").len() >= 3);
    let orders = server.directory.heard("newOrder");
    for pair in orders.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(900), "they are a second apart");
    }
}
