//! Rules for all calls: deadlines, sizes, compression, unknown paths, health and reflection.

use std::collections::BTreeSet;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use signalbox::grpc::is_call;
use signalbox::grpc::proto::*;
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::support::{Server, Setup, next, plainly, register, registration, route, subscribe, told};

/// A call as it stands on the wire: its headers, and its status from wherever it comes.
async fn raw(server: &Server, path: &str, headers: &[(&str, &str)], message: &[u8]) -> (http::HeaderMap, String) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let mut request = http::Request::post(format!("http://{}{path}", server.address)).header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    let trailers = trailers.unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).expect("a status");
    let status = status.to_str().unwrap().to_owned();
    (head.headers, status)
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const PING: &str = "/signalbox.v1.Registry/Ping";

fn ping(session: &str) -> Vec<u8> {
    PingRequest { session_id: session.to_owned() }.encode_to_vec()
}

#[tokio::test]
async fn a_call_ends_with_its_deadline() {
    let server = Server::start().await;
    let (_, session) = server.register("shop-1").await;
    let held = server.world.hold.lock().await;
    let message = registration("shop-2").encode_to_vec();
    let register = "/signalbox.v1.Registry/Register";
    let (_, status) = raw(&server, register, &[GRPC, ("grpc-timeout", "50m")], &message).await;
    assert_eq!(status, "4");
    drop(held);
    let (_, status) = raw(&server, PING, &[GRPC, ("grpc-timeout", "0n")], &ping(&session)).await;
    assert_eq!(status, "4", "no time at all");
    let (_, status) = raw(&server, PING, &[GRPC, ("grpc-timeout", "1H")], &ping(&session)).await;
    assert_eq!(status, "0");
    let (_, status) = raw(&server, PING, &[GRPC, ("grpc-timeout", "soon")], &ping(&session)).await;
    assert_eq!(status, "3");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_deadline_and_lets_its_session_go() {
    let server = Server::start().await;
    let (_, session) = server.register("shop-1").await;
    let message = SubscribeRequest { session_id: session.clone(), types: vec![], after: None }.encode_to_vec();
    let subscribe = "/signalbox.v1.Registry/Subscribe";
    let (_, status) = raw(&server, subscribe, &[GRPC, ("grpc-timeout", "300m")], &message).await;
    assert_eq!(status, "4");
    server.until(&session, |session| session.bound.is_none()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_packed_or_not() {
    let server = Server::start_with(Setup { max_body: 4096, ..Setup::default() }).await;
    let (client, session_id) = server.register("shop-1").await;
    let long = SetOptionRequest {
        session_id: session_id.clone(),
        target: "ALL".to_owned(),
        key: "retries".to_owned(),
        value: "1".repeat(5000),
    };
    let refused = plainly(Code::ResourceExhausted, "LIMITED");
    let status = client.clone().set_option(long.clone()).await.unwrap_err();
    assert_eq!(told(&status), refused);
    let status = client.clone().send_compressed(Gzip).set_option(long).await.unwrap_err();
    assert_eq!(told(&status), refused);
    client.clone().ping(PingRequest { session_id }).await.expect("the connection lives on");
    server.stop().await;
}

#[tokio::test]
async fn compression_is_understood_both_ways() {
    let server = Server::start().await;
    let mut client = server.client().await.send_compressed(Gzip).accept_compressed(Gzip);
    let session_id = register(&mut client, "shop-1").await;
    let routes = (0..100).map(|number| route(&format!("{number}.example"), "/")).collect();
    client.add_routes(AddRoutesRequest { session_id: session_id.clone(), routes }).await.unwrap();
    let listed = client.list_routes(ListRoutesRequest { session_id: session_id.clone() }).await.unwrap();
    assert_eq!(listed.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(listed.into_inner().routes.len(), 100);
    let mut events = subscribe(&mut client, &session_id, &[EventType::All.into()], None).await;
    client
        .apply_config(ApplyConfigRequest { session_id, expected_revision: None, ..Default::default() })
        .await
        .unwrap();
    assert!(next(&mut events).await.unwrap().is_some());
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_none_is_refused() {
    let server = Server::start().await;
    for garbage in [&[0xff; 20][..], &[0x0a, 0x7f], &[0x0a, 0x01, 0xff]] {
        let (_, status) = raw(&server, PING, &[GRPC], garbage).await;
        assert_ne!(status, "0");
    }
    let (_, session) = server.register("shop-1").await;
    assert_eq!(raw(&server, PING, &[GRPC], &ping(&session)).await.1, "0");
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let server = Server::start().await;
    for path in
        ["/signalbox.v1.Registry/Nothing", "/signalbox.v1.Operator/Nothing", "/signalbox.v2.Registry/Ping", "/x"]
    {
        let (headers, status) = raw(&server, path, &[GRPC], &[]).await;
        assert_eq!((status.as_str(), headers["content-type"].to_str().unwrap()), ("12", "application/grpc"), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn refusals_of_the_transport_have_a_reason_too() {
    let server = Server::start().await;
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/signalbox.v1.Registry/Nothing");
    let codec = tonic_prost::ProstCodec::<PingRequest, PingResponse>::default();
    let status = client.unary(Request::new(PingRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(told(&status), plainly(Code::Unimplemented, "UNIMPLEMENTED"));
    let packed = [GRPC, ("grpc-encoding", "br")];
    let (headers, status) = raw(&server, PING, &packed, &ping("")).await;
    assert_eq!((status.as_str(), headers["grpc-accept-encoding"].to_str().unwrap()), ("12", "gzip,identity"));
    assert!(headers.contains_key("grpc-status-details-bin"));
    server.stop().await;
}

#[test]
fn a_grpc_call_is_told_by_its_content_type() {
    let of = |value: &'static str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static(value));
        is_call(&headers)
    };
    assert!(of("application/grpc") && of("application/grpc+proto") && of("application/grpc;charset=utf-8"));
    assert!(!of("application/grpc-web+proto") && !of("application/json") && !of("text/plain"));
    assert!(!is_call(&http::HeaderMap::new()));
}

#[tokio::test]
async fn health_is_told_until_the_server_stops() {
    let server = Server::start().await;
    // Some clients compress whatever they ask.
    let mut client = HealthClient::new(server.channel().await).send_compressed(Gzip);
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "signalbox.v1.Registry", "signalbox.v1.Operator"] {
        let status = client.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let unknown = client.check(of("signalbox.v1.Nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut unknown = client.watch(of("nothing")).await.unwrap().into_inner();
    assert_eq!(next(&mut unknown).await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    drop(unknown);
    server.registry.announce_shutdown();
    assert_eq!(next(&mut watch).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(next(&mut watch).await.unwrap(), None);
    let status = client.check(of("")).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::NotServing, "while requests under way still finish");
    server.stop().await;
}

#[tokio::test]
async fn reflection_tells_what_there_is() {
    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await).send_compressed(Gzip);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let asks = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("signalbox.v1.Registry.Subscribe".to_owned())),
        ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned())),
    ];
    let request = Request::new(futures_util::stream::iter(asks));
    let mut answers = client.server_reflection_info(request).await.unwrap().into_inner();
    let listed = next(&mut answers).await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else { panic!("{listed:?}") };
    let names: BTreeSet<String> = listed.service.into_iter().map(|service| service.name).collect();
    for name in ["signalbox.v1.Registry", "signalbox.v1.Operator", "grpc.health.v1.Health"] {
        assert!(names.contains(name), "{names:?}");
    }
    for _ in 0..2 {
        let file = next(&mut answers).await.unwrap().unwrap().message_response;
        assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
    }
    let mut before =
        tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await)
            .send_compressed(Gzip);
    let ask = tonic_reflection::pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let answers = before.server_reflection_info(Request::new(futures_util::stream::iter([ask]))).await;
    assert!(next(&mut answers.unwrap().into_inner()).await.unwrap().is_some());
    server.stop().await;
}

#[tokio::test]
async fn a_large_session_has_a_few_answers_under_way_at_once() {
    let server = Server::start().await;
    let (mut client, session_id) = server.register("shop-1").await;
    let routes = (0..2000).map(|number| route(&format!("h{number}.example"), "/")).collect();
    client.add_routes(AddRoutesRequest { session_id: session_id.clone(), routes }).await.unwrap();
    // In the process itself, so that an answer is held that nobody reads.
    let operators = std::sync::Arc::new(signalbox::operator_auth::OperatorAuth::default());
    let lifecycle = signalbox::lifecycle::Lifecycle::new();
    let settings = signalbox::grpc::GrpcSettings {
        max_body: 1 << 20,
        nonce: || 7,
        keep_alive: std::time::Duration::from_secs(15),
        requests: <_>::default(),
    };
    let router = signalbox::grpc::routes(server.registry.clone(), operators, lifecycle, &settings);
    let message = ListRoutesRequest { session_id }.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let list = async || {
        let request = http::Request::post("/signalbox.v1.Registry/ListRoutes")
            .header("content-type", "application/grpc")
            .body(axum::body::Body::from(body.clone()))
            .unwrap();
        tower::ServiceExt::oneshot(router.clone(), request).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        let answer = list().await;
        assert!(answer.headers().get("grpc-status").is_none(), "answered, and not read");
        held.push(answer);
    }
    assert_eq!(list().await.headers()["grpc-status"], "8");
    held.pop();
    assert!(list().await.headers().get("grpc-status").is_none(), "one has been read");
    server.stop().await;
}
