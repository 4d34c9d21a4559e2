//! Rules that every interface keeps: conditional requests, framing of bodies, readable names, and types.

use serde_json::json;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::{v1, v1alpha};

use crate::rest::api::Api;
use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;
use crate::support::wire::Wire;

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";

/// Bodies of which a line of the framing ends without CR LF.
const GARBLED: [&str; 14] = [
    "0\r\n\n",
    "0\n\r\n",
    "0\n\n",
    "0\r\r\n",
    "0\r\n\r\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3;x\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\n\n",
    "0\r\na: b\n\r\n",
    "0\r\na: b\r\n\n",
    "0\r\na: b\n\n",
    "0\r\na: b\rc: d\r\n\r\n",
    "0\r\n\na: b\r\n\r\n",
];

#[test]
fn a_bare_line_feed_in_a_bodys_framing_is_refused_and_swallows_no_request() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for garbled in GARBLED {
        for first in [
            "",
            "GET /first HTTP/1.1\r\nhost: a\r\n\r\n",
            &format!("{CHUNKED}1\r\nx\r\n0\r\na: b\r\n\r\n"),
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n\n\n\n",
        ] {
            for follow in [NEXT, ""] {
                let mut wire = harness.connect();
                wire.send(format!("{first}{CHUNKED}{garbled}{follow}"));
                if !first.is_empty() {
                    assert_eq!(wire.message().unwrap().status(), 200, "{first:?}");
                    backend.heard();
                }
                assert_eq!(wire.message().map(|answer| answer.status()), Some(400), "{garbled:?} behind {first:?}");
                assert!(wire.has_ended(), "{garbled:?}");
            }
        }
        assert!(backend.heard_nothing(), "{garbled:?}");
    }
}

#[test]
fn a_bare_line_feed_that_comes_later_is_refused_too() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for garbled in GARBLED {
        let mut wire = harness.connect();
        wire.send(CHUNKED);
        for byte in garbled.as_bytes() {
            wire.send([*byte]);
        }
        wire.send(NEXT);
        assert_eq!(wire.message().map(|answer| answer.status()), Some(400), "{garbled:?}");
        assert!(wire.has_ended(), "{garbled:?}");
    }
    assert!(backend.heard_nothing());
}

#[test]
fn a_well_framed_body_is_followed_by_the_next_request() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    let bodies = ["0\r\n\r\n", "3;x=\"y\"\r\n\n\n\n\r\n0\r\n\r\n", "1\r\nx\r\n0\r\na: b\r\nc: d\r\n\r\n"];
    for body in bodies.iter().chain(&bodies) {
        wire.send(format!("{CHUNKED}{body}{NEXT}"));
        for target in ["/", "/next"] {
            assert_eq!(wire.message().unwrap().status(), 200, "{body:?}");
            assert_eq!(backend.heard().target(), target, "{body:?}");
        }
    }
}

#[test]
fn a_bare_line_feed_on_the_api_port_swallows_no_request() {
    let api = Api::start();
    let host = api.address();
    let body = json!({ "service_name": "shop", "instance_name": "shop-1" }).to_string();
    for (garbled, sent) in [("0\r\n\n", true), ("0\r\na: b\n\n", true), ("0\n\n", true), ("0\r\n\n", false)] {
        let mut wire = Wire::connect(host);
        let first = if sent { format!("{:x}\r\n{body}\r\n", body.len()) } else { String::new() };
        let target = if sent { "POST /v1/sessions" } else { "GET /healthz" };
        wire.send(format!(
            "{target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
             {first}{garbled}GET /readyz HTTP/1.1\r\nhost: {host}\r\n\r\n"
        ));
        let answer = wire.message().unwrap();
        if sent {
            assert_eq!(answer.status(), 400, "{garbled:?}");
        }
        assert!(wire.has_ended(), "{garbled:?}: nothing is answered behind it");
    }
    assert_eq!(api.register("shop", "shop-1").split('-').next(), Some("shop"), "nothing was registered before");
}

#[test]
fn a_refused_connect_ends_the_connection() {
    let harness = ProxyHarness::serving("http://127.0.0.1:1", &[]);
    let api = Api::start();
    for address in [harness.address(), api.address()] {
        for target in ["a:443", "a.example:80", "[::1]:1"] {
            let mut wire = Wire::connect(address);
            wire.send(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"));
            let answer = wire.message().unwrap();
            assert!((400..500).contains(&answer.status()), "{answer:?}");
            assert_eq!(answer.field("connection"), Some("close"), "{answer:?}");
            assert!(wire.has_ended(), "what was meant for a tunnel is no request");
        }
    }
}

#[test]
fn an_expectation_other_than_100_continue_is_refused_at_once() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for field in [
        "expect: 200-ok",
        "expect: 100-continue, x",
        "expect: x, 100-continue",
        "expect: 100-continue;q=1",
        "expect: 100-continue, 100-continue",
        "expect: 100-continue\r\nexpect: x",
        "expect: x\r\nexpect: 100-continue",
    ] {
        let mut wire = harness.connect();
        wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\ncontent-length: 5\r\n\r\n"));
        assert_eq!(wire.message().unwrap().status(), 417, "{field}");
        assert!(wire.has_ended(), "{field}");
    }
    assert!(backend.heard_nothing());
}

#[test]
fn an_expectation_means_nothing_where_there_is_none() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for (version, field) in [("1.0", "expect: 100-continue"), ("1.0", "expect: x"), ("1.1", "expect:")] {
        let request = format!("POST / HTTP/{version}\r\nhost: a\r\n{field}\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(harness.ask(request).status(), 200, "{field}");
        let heard = backend.heard();
        assert_eq!(heard.text(), "hello");
        assert_ne!(heard.field("expect"), Some("100-continue"), "the client would not have asked for it");
    }
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nExpect: 100-Continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 100, "in any case");
    wire.send("hello");
    assert_eq!(wire.message().unwrap().status(), 200);
}

#[test]
fn if_match_is_a_list_of_strong_entity_tags() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let (counter, revision) = (std::cell::Cell::new(1), std::cell::Cell::new(0));
    let apply = |lines: &str| {
        // Something else each time, or there would be nothing to apply.
        let limit = json!({ "requests": counter.replace(counter.get() + 1), "window": "1m" });
        assert_eq!(api.ask("PUT", "/v1/session/rate-limits/ALL", &session, Some(&limit)).status, 204);
        let now = revision.get().to_string();
        let fields: String =
            lines.split('\n').map(|line| format!("if-match: {}\r\n", line.replace('N', &now))).collect();
        let fields = format!("authorization: Bearer {session}\r\n{fields}");
        let answer = api.send("POST", "/v1/session/config/apply", &fields, "");
        if answer.status == 200 {
            revision.set(answer.json["revision"].as_u64().unwrap());
        }
        answer.status
    };
    for good in ["\"N\"", "*", "\"77\", \"N\"", "\"N\",\"77\"", "\"x\", W/\"N\", \"N\"", ", \"N\",", "\"77\"\n\"N\""] {
        assert_eq!(apply(good), 200, "{good}");
    }
    for stale in
        ["\"77\"", "W/\"N\"", "W/\"N\", \"77\"", "\"77\"\n\"78\"", "\"0N\"", "\"x\"", "\"\"", "\"N,\"", "", ","]
    {
        assert_eq!(apply(stale), 412, "{stale}");
    }
    for malformed in ["N", "'N'", "\"N", "w/\"N\"", "\"N\" \"77\"", "*, \"N\"", "*\n\"N\"", "\"N\"\n*", "\"a b\""] {
        assert_eq!(apply(malformed), 400, "{malformed}");
    }
    assert_eq!(apply("\"N\""), 200, "none of them changed anything");
}

#[test]
fn an_event_of_a_session_says_its_type() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let (_, mut stream) = api.stream("/v1/session/events", &session, "");
    api.route(&session, "shop.example", "http://127.0.0.1:9");
    api.apply(&session);
    let told = stream.event().unwrap();
    assert_eq!((told.name.as_str(), &told.data["type"]), ("config_applied", &json!("config_applied")));
    assert_eq!(told.data, json!({ "type": "config_applied", "revision": 1 }));
}

#[test]
fn names_that_cannot_be_read_are_refused_on_every_interface() {
    let api = Api::start();
    for hidden in
        ['\u{200b}', '\u{202e}', '\u{2066}', '\u{ad}', '\u{feff}', '\u{e0041}', '\u{fe0f}', '\u{3164}', '\u{a0}']
    {
        let name = format!("shop{hidden}");
        for (service, instance) in [(name.as_str(), "shop-1"), ("shop", name.as_str())] {
            let body = json!({ "service_name": service, "instance_name": instance });
            let answer = api.ask("POST", "/v1/sessions", "", Some(&body));
            assert_eq!(answer.status, 400, "{name:?}");
            let said = format!("U+{:04X}", u32::from(hidden));
            let whole = "visible characters";
            assert!(answer.detail().contains(&said) || answer.detail().contains(whole), "{answer:?}");
            let told = api.server.once(&format!("REGISTER|{service}|{instance}|0|{{}}"));
            assert!(told.starts_with("ERROR|"), "{name:?}: {told}");
        }
    }
}

fn question(message: MessageRequest) -> v1::ServerReflectionRequest {
    v1::ServerReflectionRequest { host: "h".to_owned(), message_request: Some(message) }
}

#[tokio::test]
async fn reflection_knows_the_details_of_errors_and_survives_unknown_symbols() {
    let server = crate::grpc::support::Server::start().await;
    let symbol = |name: &str| question(MessageRequest::FileContainingSymbol(name.to_owned()));
    let found = [
        "google.rpc.Status",
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
        "google.rpc.BadRequest.FieldViolation",
        "google.rpc.RetryInfo",
        "google.protobuf.Any",
        "google.protobuf.Duration",
        "signalbox.v1.Registry.Ping",
        "signalbox.v1.EVENT_TYPE_ALL",
        "grpc.reflection.v1.ServerReflection",
        "grpc.health.v1.Health",
    ];
    let unknown = [
        symbol("google.rpc.Nothing"),
        symbol(""),
        symbol(&"x".repeat(5000)),
        question(MessageRequest::FileByFilename("nothing.proto".to_owned())),
        question(MessageRequest::AllExtensionNumbersOfType("no.Message".to_owned())),
        question(MessageRequest::FileContainingExtension(v1::ExtensionRequest::default())),
    ];
    let asked: Vec<_> = unknown.iter().flat_map(|wrong| [wrong.clone(), symbol(found[0])]).collect();
    let asked: Vec<_> = asked.into_iter().chain(found.iter().map(|name| symbol(name))).collect();
    let mut client = ServerReflectionClient::new(server.channel().await);
    let questions = futures_util::stream::iter(asked.clone());
    let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
    for asked in asked {
        let answer = answers.message().await.unwrap().expect("the stream goes on");
        assert_eq!((answer.valid_host.as_str(), answer.original_request.as_ref()), ("h", Some(&asked)));
        match answer.message_response.unwrap() {
            MessageResponse::ErrorResponse(error) => {
                assert!(unknown.contains(&asked), "{asked:?}: {error:?}");
                assert_eq!(error.error_code, tonic::Code::NotFound as i32);
            }
            MessageResponse::FileDescriptorResponse(_) => assert!(!unknown.contains(&asked), "{asked:?}"),
            other => panic!("{asked:?}: {other:?}"),
        }
    }
    assert!(answers.message().await.unwrap().is_none(), "it ends with the questions");
}

#[tokio::test]
async fn the_reflection_that_older_tools_ask_for_answers_alike() {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let server = crate::grpc::support::Server::start().await;
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let asked = ["no.Symbol", "google.rpc.ErrorInfo"].map(|name| v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(name.to_owned())),
    });
    let mut answers = client.server_reflection_info(futures_util::stream::iter(asked)).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(first, Some(MessageResponse::ErrorResponse(_))), "{first:?}");
    let second = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(second, Some(MessageResponse::FileDescriptorResponse(_))), "{second:?}");
}

#[tokio::test]
async fn a_subscription_without_types_hears_of_all() {
    use crate::grpc::support::{Server, next_payload, route, subscribe};
    use signalbox::grpc::proto::event::Payload;
    use signalbox::grpc::proto::{AddRouteRequest, ApplyConfigRequest};
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[], None).await;
    let route = Some(route("shop.example", "/"));
    client.add_route(AddRouteRequest { session_id: session.clone(), route }).await.unwrap();
    client
        .apply_config(ApplyConfigRequest { session_id: session, expected_revision: None, ..Default::default() })
        .await
        .unwrap();
    let told = next_payload(&mut events).await;
    assert!(matches!(told, Payload::ConfigApplied(_)), "{told:?}");
}
