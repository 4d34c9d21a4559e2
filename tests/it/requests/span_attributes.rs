//! What the spans of a request say: the failures of calls and of responses, the addresses and URLs that were asked for, the state of the trace.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::spans::{Collector, texts};
use crate::support::backend::{Backend, closed_port};
use crate::support::http2::{Exchange, Http2Backend};
use crate::support::server_harness::ServerHarness;

const ERROR: i32 = 2;
const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

fn harness(collector: &Collector, flags: &[&str]) -> ServerHarness {
    collector.harness("grpc", &[&["--telemetry-sampling-ratio", "1"], flags].concat())
}

/// Sends a request. Returns its span and those of its attempts, with their attributes.
fn spans_of(collector: &Collector, harness: &ServerHarness, sent: &str) -> Vec<(Span, BTreeMap<String, String>)> {
    let mut wire = harness.connect();
    wire.send(sent);
    let _ = wire.message();
    let (spans, ..) = collector.next();
    spans.into_iter().map(|span| (span.clone(), texts(&span.attributes))).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == ERROR)
}

fn of<'a>(attributes: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    attributes.get(key).map_or("", String::as_str)
}

/// Answers calls of `/shop.Orders/N` with a message and then the gRPC status N in the trailers; with the status in the head if the target has a
/// query, and with status 0 in the head before the trailers if that is `early`. `/shop.Orders/none` ends without a status, and `/shop.Orders/never` has no answer.
async fn serve(mut exchange: Exchange) {
    let code = exchange.request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    if code == "never" {
        std::future::pending::<()>().await;
    }
    let (is_check, query) = (exchange.request.method() == "GET", exchange.request.uri().query());
    let is_early = query == Some("early");
    if is_check || (query.is_some() && !is_early) {
        let mut stream = exchange.head(200, &[("content-type", "application/grpc"), ("grpc-status", &code)]);
        let _ = stream.send_data(Bytes::new(), true);
        return;
    }
    let early: &[(&str, &str)] = if is_early { &[("grpc-status", "0")] } else { &[] };
    let mut stream = exchange.head(200, &[&[("content-type", "application/grpc")], early].concat());
    let _ = stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), code == "none");
    if code != "none" {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_str(&code).unwrap());
        let _ = stream.send_trailers(trailers);
    }
}

#[test]
fn a_call_that_fails_is_an_error_by_its_own_status_wherever_that_stands() {
    let (collector, backend) = (Collector::over_grpc(), Http2Backend::new(serve));
    let harness = harness(&collector, &[]);
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &backend.url());
    instance.add("dead", "/", &format!("h2c://{}", closed_port()));
    instance.apply();
    // The code on both spans, and the types of their errors.
    for (host, method, fields, code, server, client) in [
        ("a", "0", "", "0", "", ""),
        ("a", "0?x", "", "0", "", ""),
        ("a", "13", "", "13", "INTERNAL", "INTERNAL"),
        ("a", "5", "", "5", "", "NOT_FOUND"),
        ("a", "5?x", "", "5", "", "NOT_FOUND"),
        ("a", "12?x", "", "12", "UNIMPLEMENTED", "UNIMPLEMENTED"),
        ("a", "13?early", "", "13", "INTERNAL", "INTERNAL"),
        ("a", "99", "", "2", "UNKNOWN", "UNKNOWN"),
        ("a", "none", "", "2", "UNKNOWN", "UNKNOWN"),
        ("a", "never", "grpc-timeout: 50m\r\n", "4", "deadline_passed", "http_response_timeout"),
        ("dead", "0", "", "14", "backend_failed", "connection_refused"),
    ] {
        let head = format!("POST /shop.Orders/{method} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/grpc\r\n");
        let spans = spans_of(&collector, &harness, &format!("{head}{fields}\r\n"));
        let what = format!("{host} {method}: {spans:?}");
        assert_eq!(spans.len(), 2, "{what}");
        for ((span, told), error) in spans.iter().zip([server, client]) {
            assert_eq!((of(told, "rpc.system"), of(told, "rpc.service")), ("grpc", "shop.Orders"), "{what}");
            assert_eq!(of(told, "rpc.method"), method.split('?').next().unwrap(), "{what}");
            assert_eq!(of(told, "rpc.grpc.status_code"), code, "{what}");
            assert_eq!((of(told, "error.type"), is_error(span)), (error, !error.is_empty()), "{what}");
        }
        assert_eq!(of(&spans[0].1, "http.response.status_code"), "200", "{what}");
        let answered = if matches!(client, "http_response_timeout" | "connection_refused") { "" } else { "200" };
        assert_eq!(of(&spans[1].1, "http.response.status_code"), answered, "{what}");
    }
    let refused = "POST /shop.Orders/0 HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nexpect: x\r\n\r\n";
    let (span, told) = spans_of(&collector, &harness, refused).remove(0);
    assert_eq!((of(&told, "rpc.grpc.status_code"), is_error(&span)), ("13", true));
}

#[test]
fn an_attempt_whose_response_is_not_whole_is_an_error() {
    for (answer, server, client) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "response_broken_off", "http_response_incomplete"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "backend_failed", "http_protocol_error"),
        ("HTTP/1.1 200 OK\r\n", "backend_failed", "http_response_incomplete"),
    ] {
        let collector = Collector::over_grpc();
        let harness = harness(&collector, &[]);
        let backend = Backend::new(move |mut wire| {
            while wire.message().is_some_and(|request| request.field("user-agent") == Some("signalbox")) {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
            wire.send(answer);
        });
        let _instance = harness.instance("shop-1", &backend);
        let spans = spans_of(&collector, &harness, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        for ((span, told), error) in spans.iter().zip([server, client]) {
            assert_eq!((of(told, "error.type"), is_error(span)), (error, true), "{answer:?}: {spans:?}");
        }
        assert_eq!(spans.len(), 2, "{answer:?}");
    }
}

#[test]
fn a_request_without_an_answer_has_no_status() {
    let collector = Collector::over_grpc();
    let harness = harness(&collector, &["--proxy-unmatched", "close"]);
    let (tell, asked) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let silent = Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            if request.field("user-agent") == Some("signalbox") {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            } else {
                let _ = tell.lock().unwrap().send(());
            }
        }
    });
    let mut instance = harness.empty("shop-1");
    instance.add("a", "/", &silent.url());
    instance.apply();
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    asked.recv().unwrap();
    wire.reset();
    let gone = collector.next().0.remove(0);
    let closed = spans_of(&collector, &harness, "GET / HTTP/1.1\r\nhost: other\r\n\r\n").remove(0).0;
    for (span, error) in [(gone, "client_gone"), (closed, "no_route")] {
        let told = texts(&span.attributes);
        assert_eq!((of(&told, "error.type"), is_error(&span)), (error, true), "{told:?}");
        assert!(!told.contains_key("http.response.status_code"), "{told:?}");
    }
}

#[test]
fn spans_tell_the_address_and_the_url_that_were_asked_for_and_no_secret() {
    let (collector, backend) = (Collector::over_grpc(), Backend::named("b"));
    let harness = harness(&collector, &[]);
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &backend.url());
    instance.add("*", "/cut", &format!("{}/base", backend.url()));
    instance.set("OPTIONS_SET", "r2|strip_prefix|true");
    instance.apply();
    let own_port = backend.address().port().to_string();
    for (sent, name, address, port, path) in [
        ("GET /p?q=1&token=SECRET HTTP/1.1\r\nhost: a.example:8080", "GET /", "a.example", "8080", "/p?q=1&token=***"),
        ("GET /x/../p HTTP/1.1\r\nhost: [::1]:81", "GET /", "::1", "81", "/p"),
        ("GET /cut/p?token=SECRET HTTP/1.1\r\nhost: [::1]", "GET /cut", "::1", "80", "/base/p?token=***"),
        ("GET http://t.example/p HTTP/1.1\r\nhost: other", "GET /", "t.example", "80", "/p"),
        ("GET / HTTP/1.0", "GET /", "", "", "/"),
        ("OPTIONS * HTTP/1.1\r\nhost: a", "OPTIONS /", "a", "80", ""),
        ("ZORK /p HTTP/1.1\r\nhost: a", "HTTP /", "a", "80", "/p"),
    ] {
        let spans = spans_of(&collector, &harness, &format!("{sent}\r\n\r\n"));
        let ((server, of_server), (client, of_client)) = (&spans[0], &spans[1]);
        let what = format!("{sent}: {spans:?}");
        let method = name.split(' ').next().unwrap_or_default();
        assert_eq!((&*server.name, &*client.name), (name, method), "{what}");
        assert_eq!((of(of_server, "server.address"), of(of_server, "server.port")), (address, port), "{what}");
        assert_eq!(of_server.contains_key("server.address"), !address.is_empty(), "{what}");
        assert_eq!(of(of_client, "url.full"), format!("{}{path}", backend.url()), "{what}");
        assert_eq!(
            (of(of_client, "server.address"), of(of_client, "server.port")),
            ("127.0.0.1", &*own_port),
            "{what}"
        );
        for told in [of_server, of_client] {
            let (known, original) = if method == "HTTP" { ("_OTHER", "ZORK") } else { (method, "") };
            assert_eq!(of(told, "http.request.method"), known, "{what}");
            assert_eq!(of(told, "http.request.method_original"), original, "{what}");
        }
        assert!(!what.replace(sent, "").contains("SECRET"), "{what}");
    }
    let refused = spans_of(&collector, &harness, "GET http://user:SECRET@t.example/ HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(of(&refused[0].1, "server.address"), "t.example");
    assert!(!format!("{refused:?}").contains("SECRET"));

    let secure = Http2Backend::named("b");
    instance.add("h2c", "/", &secure.url());
    instance.apply();
    let spans = spans_of(&collector, &harness, "GET /p HTTP/1.1\r\nhost: h2c\r\n\r\n");
    assert_eq!(of(&spans[1].1, "url.full"), format!("http://{}/p", secure.address()));
}

#[test]
fn only_a_trusted_proxy_says_what_the_client_asked_for() {
    for (trusted, scheme, address, port) in [(true, "https", "shop.example", "443"), (false, "http", "inner", "80")] {
        let trust: &[&str] = if trusted { &["--proxy-trusted-proxies", "127.0.0.1"] } else { &[] };
        let collector = Collector::over_grpc();
        let harness = harness(&collector, trust);
        let backend = Backend::named("b");
        let _instance = harness.instance("shop-1", &backend);
        let fields = "x-forwarded-proto: https\r\nx-forwarded-host: shop.example, inner\r\n";
        let spans = spans_of(&collector, &harness, &format!("GET / HTTP/1.1\r\nhost: inner\r\n{fields}\r\n"));
        let told = ["url.scheme", "server.address", "server.port"].map(|key| of(&spans[0].1, key));
        assert_eq!(told, [scheme, address, port], "trusted {trusted}");
    }
}

#[test]
fn spans_have_the_state_of_the_trace_that_they_go_on_with() {
    let (collector, backend) = (Collector::over_grpc(), Backend::named("b"));
    let harness = harness(&collector, &[]);
    let _instance = harness.instance("shop-1", &backend);
    let state = "tracestate: a=1\r\ntracestate: b=2\r\n";
    for (fields, told) in [
        (format!("{PARENT}{state}"), "a=1,b=2"),
        (PARENT.to_owned(), ""),
        (state.to_owned(), ""),
        (format!("{PARENT}tracestate: not a state\r\n"), ""),
    ] {
        let spans = spans_of(&collector, &harness, &format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
        assert_eq!(spans.len(), 2);
        assert!(spans.iter().all(|(span, _)| span.trace_state == told), "{fields:?}: {spans:?}");
    }
}
