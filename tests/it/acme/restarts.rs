//! Restarts: orders go on, and certificates are served at once.

use super::AcmeServer;
use crate::server::eventually;
use crate::support::server_harness::Gate;

#[test]
fn an_order_goes_on_after_a_kill_whatever_proves_control() {
    for offer in ["http-01", "tls-alpn-01"] {
        let gate = Gate::default();
        let held = gate.clone();
        let mut server = AcmeServer::start("", |behaviour| {
            behaviour.offers = vec![offer];
            behaviour.hold = Some(held);
        });
        server.serve(&["shop.example"]);
        eventually("the authority looks", || !server.directory.heard("challenge").is_empty());
        let before = server.directory.heard("authorization").len();
        server.crash();
        // It shows the proof before it looks at the order again.
        eventually("the order is taken up, and the proof is shown", || {
            let authorizations = server.directory.heard("authorization");
            let looks = server.directory.heard("order");
            authorizations.get(before).is_some_and(|taken_up| looks.iter().any(|look| look.at > taken_up.at))
        });
        gate.open();
        server.served("shop.example");
        assert_eq!(server.directory.ordered(), ["shop.example"], "{offer}");
        assert_eq!(server.directory.heard("challenge").len(), 1, "{offer}");
        assert_eq!(server.directory.heard("newAccount").len(), 1, "{offer}");
    }
}

#[test]
fn certificates_are_served_at_once_after_a_kill() {
    let mut server = AcmeServer::start("", |_| {});
    server.serve(&["shop.example"]);
    eventually("the certificate is kept", || server.seen("shop.example")["state"] == "valid");
    server.crash();
    assert!(server.is_served("shop.example"));
    assert_eq!(server.directory.ordered(), ["shop.example"]);
}
