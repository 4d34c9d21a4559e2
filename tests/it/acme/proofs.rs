//! The ways to prove control of a name, and the names that get certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::AcmeServer;
use crate::server::eventually;
use crate::support::wire::Wire;

#[test]
fn a_token_on_the_http_port_proves_control_also_while_http_redirects() {
    for proxy in ["", "https_redirect = true"] {
        let mut server = AcmeServer::with("contact = [\"a@shop.example\"]", proxy, |behaviour| {
            behaviour.offers = vec!["dns-01", "http-01"];
        });
        server.serve(&["shop.example", "a.shop.example"]);
        for name in ["shop.example", "a.shop.example"] {
            server.served(name);
            eventually("the state is told", || server.seen(name)["state"] == "valid");
            let seen = server.seen(name);
            assert!(seen["last_error"].is_null() && seen["not_after"].is_string(), "{seen}");
            // A third of 90 days is left, and at most 3 days more.
            let days = super::seconds_until(&seen["next_attempt"]) / 86_400.0;
            assert!((56.9..=60.0).contains(&days), "{seen}");
        }
        assert_eq!(server.directory.heard("newAccount").len(), 1, "the names share an account");
        assert_eq!(server.directory.heard("newAccount")[0].payload["contact"][0], "mailto:a@shop.example");
        let mut wire = Wire::connect(server.server().proxy);
        wire.send("GET /.well-known/acme-challenge/token-0-http-01 HTTP/1.1\r\nhost: shop.example\r\n\r\n");
        let status = wire.message().unwrap().status();
        assert_eq!(status, if proxy.is_empty() { 502 } else { 308 }, "the token is withdrawn");
    }
}

#[test]
fn a_certificate_on_the_https_port_proves_control() {
    let mut server = AcmeServer::start("", |behaviour| behaviour.offers = vec!["tls-alpn-01"]);
    server.serve(&["shop.example"]);
    server.served("shop.example");
    let challenges = server.directory.heard("challenge");
    assert_eq!(challenges.len(), 1, "{:?}", server.log());
}

/// Writes a hook that sets a record in the folder where the directory looks.
fn hook(folder: &Path) -> String {
    let hook = folder.join("hook");
    let records = folder.join("records");
    fs::write(&hook, format!("#!/bin/sh\nprintf '%s\\n' \"$2\" > '{}'/\"$1\"\n", records.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    format!("dns_hook = \"{}\"", hook.display())
}

#[test]
fn a_record_that_the_hook_sets_proves_control_of_names_and_wildcards() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("records")).unwrap();
    let records = folder.path().join("records");
    let mut server = AcmeServer::start(&hook(folder.path()), |behaviour| {
        behaviour.offers = vec!["dns-01"];
        behaviour.records = records;
    });
    server.serve(&["*.shop.example", "shop.example"]);
    server.served("any.shop.example");
    server.served("shop.example");
    let mut ordered = server.directory.ordered();
    ordered.sort();
    assert_eq!(ordered, ["*.shop.example", "shop.example"]);
}

#[test]
fn only_domains_of_applied_routes_on_the_allow_list_get_certificates() {
    let mut server = AcmeServer::start("", |_| {});
    server.add(&["a.shop.example"]);
    server.add(&["other.example", "a.b.shop.example", "10.0.0.7", "*"]);
    server.apply();
    server.add(&["staged.shop.example"]);
    server.served("a.shop.example");
    assert_eq!(server.directory.ordered(), ["a.shop.example"]);
    for name in ["other.example", "a.b.shop.example", "staged.shop.example", "absent.shop.example"] {
        assert!(server.seen(name).is_null() && !server.is_served(name), "{name}");
    }
    server.apply();
    server.served("staged.shop.example");
    assert_eq!(server.directory.ordered(), ["a.shop.example", "staged.shop.example"]);
}

#[test]
fn an_account_is_bound_to_one_outside_of_acme() {
    let key = b"a key of thirty-two bytes, right".to_vec();
    let mut server = AcmeServer::start(
        "eab_kid = \"kid-1\"\neab_key = \"YSBrZXkgb2YgdGhpcnR5LXR3byBieXRlcywgcmlnaHQ\"",
        |behaviour| behaviour.external_account = Some(("kid-1", key)),
    );
    server.serve(&["shop.example"]);
    server.served("shop.example");
}

#[test]
fn files_are_only_for_the_user_of_the_server() {
    fn modes(path: &Path, found: &mut Vec<(String, u32)>) {
        for entry in fs::read_dir(path).unwrap().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            found.push((entry.file_name().into_string().unwrap(), mode));
            if entry.path().is_dir() {
                modes(&entry.path(), found);
            }
        }
    }
    let mut server = AcmeServer::start("", |_| {});
    server.serve(&["shop.example"]);
    server.served("shop.example");
    let folder = server.folder.path().join("signalbox.db-acme");
    eventually("all files are there", || {
        let mut found = Vec::new();
        modes(&folder, &mut found);
        let is = |name: &str| found.iter().any(|(file, _)| file.starts_with(name));
        for (file, mode) in &found {
            let is_folder = matches!(file.as_str(), "names" | "shop.example");
            assert_eq!(*mode, if is_folder { 0o700 } else { 0o600 }, "{file}");
        }
        is("account-") && is("certificate.pem") && is("record.json") && !is("order.json")
    });
}
