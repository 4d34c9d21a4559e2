//! gRPC calls through the proxy. Calls of real clients and servers are in `.ci/grpc`; here are the parts that the proxy decides.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::server::eventually;
use crate::support::backend::closed_port;
use crate::support::http2::{Exchange, HEADERS, Http2Backend, RST_STREAM, raw_backend};
use crate::support::proxy_harness::ProxyHarness;
use crate::support::server_harness::{Instance, ServerHarness};
use crate::support::wire::Message;

/// A call without a message. HTTP/1.1 can carry it, though gRPC does not use it.
fn call(fields: &str) -> String {
    format!("POST /shop.Orders/List HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc+proto\r\n{fields}\r\n")
}

/// Returns the status of a call that has no body.
fn status(answer: &Message) -> (u16, &str) {
    assert!(answer.body.is_empty());
    (answer.status(), answer.field("grpc-status").unwrap_or("none"))
}

/// Answers calls of the path `/N` with a message and then the gRPC status N in the trailers; with a status in the head if
/// the target has a query.
async fn serve(mut exchange: Exchange) {
    let code = exchange.request.uri().path().trim_start_matches('/').to_owned();
    let is_check = exchange.request.method() == "GET";
    if is_check || exchange.request.uri().query().is_some() {
        let mut stream = exchange.head(200, &[("content-type", "application/grpc"), ("grpc-status", &code)]);
        let _ = stream.send_data(Bytes::new(), true);
        return;
    }
    let mut stream = exchange.head(200, &[("content-type", "application/grpc")]);
    let _ = stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), false);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_str(&code).unwrap());
    let _ = stream.send_trailers(trailers);
}

#[test]
fn refusals_of_calls_are_grpc_statuses_and_those_of_grpc_web_are_not() {
    let harness = ProxyHarness::new();
    assert_eq!(status(&harness.ask(call(""))), (200, "12"), "no route");
    let web = call("").replace("grpc+proto", "grpc-web+proto");
    assert_eq!(harness.ask(web).status(), 404);

    let harness = ProxyHarness::serving(&format!("h2c://{}", closed_port()), &[]);
    let refused = harness.ask(call(""));
    assert_eq!(status(&refused), (200, "14"), "no backend");
    assert_eq!(refused.field("grpc-message"), Some("The service behind this address could not be reached."));

    let backend = Http2Backend::new(serve);
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "1")]);
    assert_eq!(status(&harness.ask(call("content-length: 2\r\n"))), (200, "8"), "too large");
}

#[test]
fn the_deadline_of_a_call_ends_the_wait_and_cancels_it_at_the_backend() {
    let (tell, told) = std::sync::mpsc::channel();
    let backend = raw_backend(move |_, mut raw| {
        let head = raw.wait(HEADERS).unwrap();
        let reset = raw.wait(RST_STREAM).unwrap();
        let _ = tell.send((reset.stream == head.stream, reset.payload));
    });
    let harness = ProxyHarness::serving(&backend, &[]);
    assert_eq!(status(&harness.ask(call("grpc-timeout: 100m\r\n"))), (200, "4"));
    assert_eq!(told.recv().unwrap(), (true, 8_u32.to_be_bytes().to_vec()), "CANCEL");
}

fn served(harness: &ServerHarness, backend: &str) -> Instance {
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", backend);
    instance.apply();
    instance
}

#[test]
fn statistics_and_breakers_judge_a_call_by_its_status_wherever_it_stands() {
    let (harness, backend) = (ServerHarness::open(), Http2Backend::new(serve));
    let mut instance = served(&harness, &backend.url());
    instance.set("CIRCUIT_BREAKER_SET", "r1|2|1h|1");
    let ask = |target: &str| {
        let mut wire = harness.connect();
        wire.send(call("").replace("/shop.Orders/List", target));
        wire.message().unwrap()
    };
    for target in ["/0", "/14", "/5", "/14", "/16?x", "/13?x", "/0?x"] {
        assert_eq!(ask(target).status(), 200, "{target}");
    }
    eventually("all are counted", || instance.payload("STATS_GET", "r1")["requests"] == 7);
    let statistics = instance.payload("STATS_GET", "r1");
    assert_eq!(statistics["errors"], 3, "{statistics}");
    let counted = |status: &str| statistics["status_codes"][status].as_u64().unwrap_or(0);
    assert_eq!(["200", "404", "401", "503", "500"].map(counted), [2, 1, 1, 2, 1], "{statistics}");
    assert_eq!(instance.breaker(), "closed", "never two failures in a row");

    for target in ["/14", "/13?x"] {
        ask(target);
    }
    eventually("the breaker is open", || instance.breaker() == "open");
    let refused = ask("/0");
    assert_eq!(status(&refused), (200, "14"));
    let pushback: u64 = refused.field("grpc-retry-pushback-ms").unwrap().parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&pushback), "{pushback}");
}

/// Fails calls in the way that the path names.
async fn fail(mut exchange: Exchange) {
    let path = exchange.request.uri().path().to_owned();
    if path == "/in-the-head" {
        let mut stream = exchange.head(200, &[("content-type", "application/grpc"), ("grpc-status", "13")]);
        let _ = stream.send_data(Bytes::new(), true);
        return;
    }
    let mut stream = exchange.head(200, &[("content-type", "application/grpc")]);
    let _ = stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), path == "/without-status");
    match &*path {
        "/in-the-trailers" => {
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "14".parse().unwrap())]);
            let _ = stream.send_trailers(trailers);
        }
        // The head would be dropped with a reset that comes at once.
        "/broken-off" => {
            let _ = exchange.body().await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        _ => {}
    }
}

#[test]
fn the_last_failure_of_a_call_names_the_grpc_status_that_was_sent_and_none_that_was_not() {
    let (harness, backend) = (ServerHarness::open(), Http2Backend::new(fail));
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &backend.url());
    instance.expect("OPTIONS_SET", "r1|max_body_size|10", "OPTIONS_OK");
    instance.set("CIRCUIT_BREAKER_SET", "r1|100|1h|1");
    let reason = || harness.told("/v1/routes")["items"][0]["last_failure"]["reason"].clone();

    let begin = |path: &str| {
        let mut wire = harness.connect();
        wire.send(call("transfer-encoding: chunked\r\n").replace("/shop.Orders/List", path));
        assert_eq!(wire.head().unwrap().status(), 200);
        wire
    };

    // A call that breaks off because of its own body says nothing of the backend.
    let mut wire = begin("/broken-off");
    wire.send(format!("20\r\n{}\r\n", "x".repeat(32)));
    while wire.chunk().is_some() {}
    eventually("the call has ended", || instance.payload("STATS_GET", "r1")["requests"] == 1);
    assert_eq!(reason(), serde_json::Value::Null);

    for (path, words) in [
        ("/in-the-head", "it answered with the gRPC status INTERNAL (13)"),
        ("/in-the-trailers", "it answered with the gRPC status UNAVAILABLE (14)"),
        ("/without-status", "its response ended without a gRPC status"),
        ("/broken-off", "it broke its response off"),
    ] {
        let mut wire = begin(path);
        wire.send("0\r\n\r\n");
        eventually(words, || reason() == words);
    }
}

#[test]
fn a_rate_limit_refuses_calls_with_the_time_of_the_next_one() {
    let (harness, backend) = (ServerHarness::open(), Http2Backend::new(serve));
    let mut instance = served(&harness, &backend.url());
    instance.set("RATELIMIT_SET", "r1|1|1h");
    let ask = || {
        let mut wire = harness.connect();
        wire.send(call("").replace("/shop.Orders/List", "/0?x"));
        wire.message().unwrap()
    };
    assert_eq!(status(&ask()), (200, "0"));
    let refused = ask();
    assert_eq!(status(&refused), (200, "8"));
    assert!(refused.field("grpc-retry-pushback-ms").is_some() && refused.field("grpc-status-details-bin").is_some());
}

/// A server that answers health checks as gRPC does, with the state that stands in the name of the service.
async fn serve_health(mut exchange: Exchange) {
    assert_eq!(exchange.request.uri().path(), "/grpc.health.v1.Health/Check");
    let Ok((body, _)) = exchange.body().await else { return };
    let state = match body.get(7..) {
        Some(b"good") => 1,
        _ => 2,
    };
    let mut stream = exchange.head(200, &[("content-type", "application/grpc")]);
    let _ = stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, state]), false);
    let _ = stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]));
}

#[test]
fn a_health_check_may_ask_the_health_service_and_h2c_backends_are_checked_over_http2() {
    let harness = ServerHarness::open();
    let (asking, plain) = (Http2Backend::new(serve_health), Http2Backend::named("two"));
    let mut instance = harness.empty("shop-1");
    instance.add("good.example", "/", &asking.url());
    instance.add("bad.example", "/", &asking.url().replace("h2c://", "http://"));
    instance.add("plain.example", "/", &plain.url());
    instance.expect("HEALTH_SET", "r1|grpc:good|1s|1s", "HEALTH_OK");
    instance.expect("HEALTH_SET", "r2|grpc:bad|1s|1s", "HEALTH_OK");
    instance.apply();
    let mut status = |route: &str| instance.payload("CIRCUIT_BREAKER_STATUS", route);
    eventually("two are healthy", || status("r1")["healthy"] == true && status("r3")["healthy"] == true);
    eventually("one is not", || status("r2")["healthy"] == false);
    let said = status("r2")["last_failed_check"].to_string();
    assert!(said.contains("it says that it is not serving"), "{said}");
    assert_eq!(plain.heard().method(), "GET");
}
