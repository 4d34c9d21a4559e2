//! Changes of `[acme]` while the server runs.

use super::AcmeServer;
use crate::server::eventually;
use crate::support::acme_directory::{AcmeDirectory, Fault};
use crate::support::tls::TlsClient;

#[test]
fn a_longer_allow_list_and_another_directory_take_effect_without_a_restart() {
    let mut server = AcmeServer::start("", |_| {});
    server.add(&["shop.example", "a.other.example"]);
    server.apply();
    server.served("shop.example");
    assert!(server.seen("a.other.example").is_null());
    server.reconfigure(&[("domains = [", "domains = [\"*.other.example\", ")]);
    server.served("a.other.example");
    assert_eq!(server.directory.ordered(), ["shop.example", "a.other.example"]);

    let other = AcmeDirectory::start(|_| {});
    other.change(|behaviour| behaviour.ports = Some((server.server().proxy, server.server().https.unwrap())));
    let ca = server.folder.path().join("other.pem");
    std::fs::write(&ca, &other.authority.pem).unwrap();
    let [ca, before] = [ca, server.folder.path().join("ca.pem")].map(|path| path.display().to_string());
    server.reconfigure(&[(&server.directory.url(), &other.url()), (&before, &ca)]);
    let client = TlsClient::trusting(&other.authority);
    let https = server.server().https.unwrap();
    for name in ["shop.example", "a.other.example"] {
        eventually("the other authority has issued it", || client.connect(https, name).is_ok());
    }
}

#[test]
fn an_order_in_flight_goes_on_under_new_settings() {
    let never = crate::support::server_harness::Gate::default();
    let mut server = AcmeServer::start("", |_| {});
    server.directory.answer(move |heard| (heard.resource == "finalize").then(|| Fault::Wait(never.clone())));
    server.serve(&["shop.example"]);
    eventually("it waits for the directory", || !server.directory.heard("finalize").is_empty());
    server.directory.change(|behaviour| behaviour.answer = None);
    let contact = "terms_accepted = true\ncontact = [\"a@shop.example\"]";
    server.reconfigure(&[("terms_accepted = true", contact)]);
    server.served("shop.example");
    assert_eq!(server.directory.ordered(), ["shop.example"], "the order goes on under the new settings");
}
