//! The id of a request: who names it, and who learns it.

use crate::support::backend::{Backend, closed_port};
use crate::support::http2_client::Http2Client;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Message;

const TRUSTED: &[&str] = &["--proxy-trusted-proxies", "127.0.0.1"];
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Asks for a path with these fields.
fn ask(harness: &ServerHarness, path: &str, fields: &str) -> Message {
    let mut wire = harness.connect();
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    wire.message().unwrap()
}

fn is_made(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn a_backend_gets_the_id_of_each_request_and_only_a_trusted_peer_names_it() {
    for (flags, is_trusted) in [(&[][..], false), (TRUSTED, true)] {
        let harness = ServerHarness::with(flags);
        let backend = Backend::named("b");
        let _instance = harness.instance("shop-1", &backend);
        for (fields, named) in [
            (String::new(), None),
            ("x-request-id: a-1\r\n".to_owned(), Some("a-1")),
            (format!("traceparent: {PARENT}\r\n"), Some(TRACE)),
            ("x-request-id: \"a\"\r\n".to_owned(), None),
            ("x-request-id: a\r\nx-request-id: b\r\n".to_owned(), None),
        ] {
            ask(&harness, "/", &fields);
            let heard = backend.heard();
            let ids: Vec<&str> = heard.all("x-request-id").collect();
            assert_eq!(ids.len(), 1, "{fields}");
            match named.filter(|_| is_trusted) {
                Some(named) => assert_eq!(ids[0], named, "{fields}"),
                None => assert!(is_made(ids[0]), "{fields}: {ids:?}"),
            }
            // The trace goes on.
            assert_eq!(heard.field("traceparent").is_some(), fields.contains("traceparent"));
        }
    }
}

#[test]
fn every_refusal_shows_its_id_on_the_page_and_in_its_head_and_operators_find_it() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/down", &format!("http://{}", closed_port()));
    instance.add("*", "/kept", "http://192.0.2.1:9");
    instance.apply();
    instance.expect("RATELIMIT_SET", "r2|1|1h", "RATELIMIT_OK");
    instance.expect("MAINT_ENTER", "r2|", "ACK");
    let mut http2 = Http2Client::connect(harness.server().proxy);
    for (path, accept, status, error, reason) in [
        ("/", "text/html", 404, "destination_not_found", "no_route"),
        ("/", "application/json", 404, "destination_not_found", "no_route"),
        ("/down", "text/html", 502, "connection_refused", "backend_failed"),
        ("/kept", "text/html", 503, "destination_unavailable", "maintenance"),
        ("/../x", "text/html", 400, "http_request_error", "bad_request"),
    ] {
        let page = ask(&harness, path, &format!("accept: {accept}\r\n"));
        assert_eq!(page.status(), status, "{path}");
        let id = page.field("x-request-id").unwrap().to_owned();
        assert!(is_made(&id) && page.text().contains(&id), "{path}: {}", page.text());
        let named = format!("signalbox; error={error}; request-id=\"{id}\"");
        assert_eq!(page.field("proxy-status"), Some(&*named), "{path}");
        let told = harness.told(&format!("/v1/requests/{id}"));
        assert_eq!((&told["status"], &told["reason"], &told["id"]), (&status.into(), &reason.into(), &id.into()));

        let request = http::Request::get(format!("http://a{path}")).header("accept", accept).body(()).unwrap();
        let (asked, _) = http2.begin(request, true);
        let answer = http2.finish(asked).unwrap();
        assert_eq!(answer.status, status, "{path}");
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(harness.told(&format!("/v1/requests/{id}"))["protocol"], "HTTP/2", "{path}");
    }
    // A head that HTTP/2 does not allow is refused before it is looked up.
    let request = http::Request::get("http://a/").header("host", "b").body(()).unwrap();
    let (asked, _) = http2.begin(request, true);
    let answer = http2.finish(asked).unwrap();
    let id = answer.headers["x-request-id"].to_str().unwrap();
    assert_eq!(harness.told(&format!("/v1/requests/{id}"))["reason"], "bad_request");
}

#[test]
fn clients_learn_the_reason_of_a_failure_only_if_the_configuration_says_so() {
    let port = closed_port();
    for (flags, shows) in [(&[][..], false), (&["--proxy-error-details"][..], true)] {
        let harness = ServerHarness::with(flags);
        let mut instance = harness.empty("shop-1");
        instance.add("*", "/", &format!("http://{port}"));
        instance.apply();
        let status = harness.get("/").field("proxy-status").unwrap().to_owned();
        assert!(status.starts_with("signalbox; error=connection_refused"), "{status}");
        let details = format!("; details=\"http://{port} (shop/shop-1): the connection was refused\"");
        assert_eq!(status.ends_with(&details), shows, "{status}");
        assert_eq!(status.contains(&port.to_string()), shows, "{status}");
    }
}
