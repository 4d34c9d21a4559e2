//! The TXT records that prove control: `signalbox certs dns`, and records that stay (dns-persist-01).

use std::fs;
use std::process::Command;

use serde_json::json;

use super::AcmeServer;
use crate::support::name_server::{Manner, NameServer};

/// Runs `signalbox certs dns` with the configuration of a server, and returns its exit status and what it said.
fn certs_dns(server: &AcmeServer, name: &str, names: &NameServer) -> (Option<i32>, String) {
    let folder = server.folder.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    command.args(["certs", "dns", name]).arg(folder.join("signalbox.toml"));
    command.args(["--store-url", &format!("sqlite://{}/signalbox.db", folder.display())]);
    let output = command.args(["--dns-server", &names.address.to_string()]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_record_that_stays_proves_control_of_names_and_wildcards_and_the_command_tells_and_checks_it() {
    let names = NameServer::start();
    let mut server = AcmeServer::start("", |behaviour| {
        behaviour.offers = vec!["dns-01", "dns-persist-01"];
        behaviour.meta = json!({"caaIdentities": ["CA.example", "ca.example.net"]});
    });
    let (code, said) = certs_dns(&server, "shop.example", &names);
    assert!(code == Some(1) && said.contains("holds no account at https://127.0.0.1"), "{said}");

    server.serve(&["shop.example"]);
    let error = server.failed("shop.example");
    assert!(error.contains("`signalbox certs dns 'shop.example'` tells the record"), "{error}");
    let (account, _) = server.directory.account();
    for (name, policy) in [("a.shop.example", ""), ("*.shop.example", "; policy=wildcard")] {
        let base = name.trim_start_matches("*.");
        let record = format!("_validation-persist.{base}");
        let value = format!("ca.example; accounturi={account}{policy}");
        let line = format!("{record}. IN TXT \"{value}\"\n");
        let (code, said) = certs_dns(&server, name, &names);
        assert!(code == Some(1) && said.starts_with(&line) && said.contains("found no TXT record"), "{said}");
        names.add(&record, "ca.example; accounturi=https://127.0.0.1/other");
        let (code, said) = certs_dns(&server, name, &names);
        assert!(code == Some(1) && said.starts_with(&line) && said.contains("that of another account"), "{said}");
        names.add(&record, &value);
        let (code, said) = certs_dns(&server, name, &names);
        assert_eq!((code, said), (Some(0), format!("{line}the record is in place: \"{value}\"\n")));

        fs::write(server.folder.path().join("records").join(record), value).unwrap();
        server.serve(&[name]);
        crate::server::eventually("it is served", || server.is_served(&name.replace('*', "any")));
    }
    let (code, said) = certs_dns(&server, "other.example", &names);
    assert!(code == Some(1) && said.contains("acme.domains does not name other.example"), "{said}");
}

#[test]
fn the_record_does_not_show_the_account_where_the_directory_takes_hashes() {
    let names = NameServer::start();
    let mut server = AcmeServer::start("", |behaviour| {
        behaviour.meta = json!({
            "issuerDomainNames": ["authority.example"],
            "accountHashPrefix": "https://ca.example/hash/",
            "caaIdentities": ["ca.example"],
        });
    });
    server.serve(&["a.shop.example"]);
    server.served("a.shop.example");
    let (code, said) = certs_dns(&server, "shop.example", &names);
    let begin =
        "_validation-persist.shop.example. IN TXT \"authority.example; accounturi=https://ca.example/hash/sha-256/";
    assert!(code == Some(1) && said.starts_with(begin) && !said.contains(&server.directory.account().0), "{said}");
    server.directory.change(|behaviour| behaviour.meta = json!({}));
    let (code, said) = certs_dns(&server, "shop.example", &names);
    assert!(code == Some(1) && said.contains("names no issuer"), "{said}");
}

#[test]
fn with_a_hook_the_command_tells_which_record_the_hook_gets() {
    let names = NameServer::start();
    names.add("_acme-challenge.shop.example", "of-the-last-order");
    let server = AcmeServer::start("dns_hook = \"/bin/true\"", |_| {});
    let (code, said) = certs_dns(&server, "*.shop.example", &names);
    assert!(said.contains("\n_acme-challenge.shop.example. IN TXT \"…\"\n"), "{said}");
    assert!(
        code == Some(0) && said.contains("_acme-challenge.shop.example holds now: \"of-the-last-order\""),
        "{said}"
    );
}

#[test]
fn a_name_server_may_be_slow_wrong_or_attacked_and_the_command_ends() {
    let server = AcmeServer::start("dns_hook = \"/bin/true\"", |_| {});
    let value = "x".repeat(400);
    std::thread::scope(|scope| {
        for (manner, status, words) in [
            (Manner::Well, 0, value.get(..300).unwrap()),
            (Manner::Truncated, 0, value.get(..300).unwrap()),
            (Manner::AfterStrangers, 0, value.get(..300).unwrap()),
            (Manner::Refuses, 1, "cannot answer: Refused"),
            (Manner::Garbage, 1, "gave no answer in time"),
            (Manner::Silent, 1, "gave no answer in time"),
        ] {
            let (server, value) = (&server, &value);
            scope.spawn(move || {
                let names = NameServer::start();
                names.add("_acme-challenge.shop.example", value);
                names.answer(manner);
                let (code, said) = certs_dns(server, "shop.example", &names);
                assert!(code == Some(status) && said.contains(words), "{said}");
            });
        }
    });
}

#[test]
fn a_wrong_name_or_server_is_refused_with_what_to_write() {
    let server = AcmeServer::start("", |_| {});
    for (words, told) in [
        (["10.0.0.7", "127.0.0.1:1"], "gets no certificate"),
        (["a b", "127.0.0.1:1"], "a b"),
        (["shop.example", "dns.example"], "write an address such as 9.9.9.9"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        command.args(["certs", "dns", words[0]]).arg(server.folder.path().join("signalbox.toml"));
        let output = command.args(["--dns-server", words[1]]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(told), "{said}");
    }
}
