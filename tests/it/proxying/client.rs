//! The client's address: which fields count, and what backends receive.

use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;

fn trusting() -> ProxyHarness {
    ProxyHarness::with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    })
}

#[test]
fn an_untrusted_peers_claims_are_replaced_or_removed_in_every_spelling() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let claims = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-Scheme",
        "X-Forwarded-By",
        "X-Forwarded-Client-Cert",
        "X-Real-IP",
        "Forwarded",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
    ];
    for claim in claims {
        let spellings =
            [claim.to_owned(), claim.replace('-', "_"), claim.replacen('-', "_", 1), claim.replace('-', ".")];
        for name in spellings {
            harness.ask(format!("GET / HTTP/1.1\r\nHost: a.example:8080\r\n{name}: evil\r\nX-Kept: 1\r\n\r\n"));
            let heard = backend.heard();
            assert!(heard.fields.iter().all(|(_, value)| value != "evil"), "{name}: {heard:?}");
            let told = ["for", "proto", "host", "port"].map(|what| heard.field(&format!("x-forwarded-{what}")));
            assert_eq!(told, ["127.0.0.1", "http", "a.example:8080", "8080"].map(Some), "{name}");
            assert_eq!((heard.field("x-real-ip"), heard.field("x-kept")), (Some("127.0.0.1"), Some("1")));
        }
    }
}

#[test]
fn a_trusted_proxys_address_of_the_client_is_read_in_every_form() {
    let backend = Backend::named("b");
    let mut harness = trusting();
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    for (said, client) in [
        ("X-Forwarded-For: 6.6.6.6:4711", "6.6.6.6"),
        ("X-Forwarded-For: \"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("X-Forwarded-For: [2001:db8::1]", "2001:db8::1"),
        ("X-Forwarded-For: , 6.6.6.6 ,, 10.1.1.1:80,", "6.6.6.6"),
        ("X-Forwarded-For: 7.7.7.7\r\nX-Forwarded-For: 6.6.6.6", "6.6.6.6"),
        ("Forwarded: for=7.7.7.7, For=\"[2001:db8::1]:80\";proto=https", "2001:db8::1"),
        ("X-Forwarded-For: 6.6.6.6\r\nForwarded: for=7.7.7.7", "6.6.6.6"),
        ("X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 7.7.7.7", "6.6.6.6"),
        ("X-Real-IP: 6.6.6.6", "6.6.6.6"),
        ("X-Forwarded-For: 7.7.7.7, unknown", "127.0.0.1"),
        ("X_Forwarded_For: 7.7.7.7", "127.0.0.1"),
    ] {
        harness.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{said}\r\n\r\n"));
        let heard = backend.heard();
        assert_eq!(heard.field("x-real-ip"), Some(client), "{said}");
        assert!(heard.field("x-forwarded-for").unwrap().ends_with("127.0.0.1"), "{said}");
        assert_eq!(heard.field("x_forwarded_for"), None);
    }
}

#[test]
fn requests_of_one_client_go_to_one_member_in_whatever_form_its_address_is_written() {
    let backends = ["one", "two", "three", "four"].map(Backend::named);
    let mut harness = trusting();
    for (number, backend) in backends.iter().enumerate() {
        harness.serve("shop", &format!("shop-{number}"), &backend.url(), &[("load_balancing", "client_ip")]);
    }
    for client in 1..=8 {
        let forms = [
            format!("X-Forwarded-For: 6.6.6.{client}"),
            format!("X-Forwarded-For: 6.6.6.{client}:4711"),
            format!("X-Forwarded-For: \"6.6.6.{client}:4712\", 10.0.0.9:80"),
            format!("Forwarded: for=6.6.6.{client};proto=http"),
        ];
        let served =
            forms.map(|form| harness.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{form}\r\n\r\n")).text().to_owned());
        assert!(served.iter().all(|name| *name == served[0]), "{client}: {served:?}");
    }
}
