//! Refusals over gRPC: code, reason and field; and a refusal changes nothing.

use std::sync::atomic::Ordering;

use prost_types::Duration;
use signalbox::domain::{Fingerprint, Host, LeaseBound, RegistrationToken, Secret, Span, TokenName};
use signalbox::grpc::proto::*;
use signalbox::registry::RegistryLimits;
use tonic::Code;
use tonic_types::StatusExt;

use super::support::{Server, Setup, plainly, register, registration, route, seconds, told, wrong};

macro_rules! refused {
    ($client:ident.$call:ident($request:expr)) => {
        told(&$client.$call($request).await.err().expect(stringify!($call)))
    };
}

#[tokio::test]
async fn a_session_that_is_missing_or_unknown_is_refused_in_every_family() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (session_id, expected) in [
        (String::new(), wrong("session_id")),
        ("shop-1-1-nobody".to_owned(), plainly(Code::Unauthenticated, "INVALID_SESSION")),
    ] {
        let id = || session_id.clone();
        let target = || "ALL".to_owned();
        assert_eq!(refused!(client.ping(PingRequest { session_id: id() })), expected);
        assert_eq!(refused!(client.reconnect(ReconnectRequest { session_id: id() })), expected);
        assert_eq!(refused!(client.end_session(EndSessionRequest { session_id: id() })), expected);
        let route = Some(route("a.example", "/"));
        assert_eq!(refused!(client.add_route(AddRouteRequest { session_id: id(), route })), expected);
        assert_eq!(refused!(client.list_routes(ListRoutesRequest { session_id: id() })), expected);
        let key = "retries".to_owned();
        let removal = RemoveOptionRequest { session_id: id(), target: target(), key };
        assert_eq!(refused!(client.remove_option(removal)), expected);
        assert_eq!(refused!(client.get_config(GetConfigRequest { session_id: id() })), expected);
        let apply = ApplyConfigRequest { session_id: id(), expected_revision: None, ..Default::default() };
        assert_eq!(refused!(client.apply_config(apply)), expected);
        let drain = StartDrainRequest { session_id: id(), duration: seconds(1) };
        assert_eq!(refused!(client.start_drain(drain)), expected);
        let exit = ExitMaintenanceRequest { session_id: id(), targets: vec![target()] };
        assert_eq!(refused!(client.exit_maintenance(exit)), expected);
        let test = TestBackendRequest { session_id: id(), backend_url: "http://b".to_owned() };
        assert_eq!(refused!(client.test_backend(test)), expected);
        let subscribe = SubscribeRequest { session_id: id(), types: vec![], after: None };
        assert_eq!(refused!(client.subscribe(subscribe)), expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_never_says_the_session_id() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let session_id = "shop-1-1-0123456789abcdef".to_owned();
    let status = client.ping(PingRequest { session_id: session_id.clone() }).await.unwrap_err();
    assert!(!format!("{status:?}").contains(&session_id), "{status:?}");
    assert_eq!(status.message(), "invalid session: it has ended or never was; REGISTER again");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_registration_is_refused_by_field() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let service_name = "a b".to_owned();
    assert_eq!(
        refused!(client.register(RegisterRequest { service_name, ..registration("shop-1") })),
        wrong("service_name")
    );
    assert_eq!(refused!(client.register(registration(""))), wrong("instance_name"));
    assert_eq!(refused!(client.register(RegisterRequest::default())), wrong("service_name"));
    let maintenance_port = 65536;
    let port = RegisterRequest { maintenance_port, ..registration("shop-1") };
    assert_eq!(refused!(client.register(port)), wrong("maintenance_port"));
    let value = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) };
    let metadata = Some(prost_types::Struct { fields: [("n".to_owned(), value)].into() });
    let register = RegisterRequest { metadata, ..registration("shop-1") };
    assert_eq!(refused!(client.register(register)), wrong("metadata"));
    assert_eq!(server.registry.catalog().sessions_len(), 0);
    server.stop().await;
}

#[tokio::test]
async fn every_call_is_counted_once_whether_it_reaches_the_writer_or_not() {
    let server = Server::start().await;
    let (mut client, session_id) = server.register("shop-1").await;
    let id = || session_id.clone();
    refused!(client.register(registration("")));
    refused!(client.add_route(AddRouteRequest { session_id: id(), route: None }));
    refused!(client.add_route(AddRouteRequest { session_id: String::new(), route: None }));
    let route_id = "r9".to_owned();
    refused!(client.remove_route(RemoveRouteRequest { session_id: id(), route_id }));
    refused!(client.ping(PingRequest { session_id: "nobody".to_owned() }));
    client.ping(PingRequest { session_id: id() }).await.unwrap();
    client.list_routes(ListRoutesRequest { session_id: id() }).await.unwrap();
    server.operator().await.list_instances(ListInstancesRequest::default()).await.unwrap();
    let counted: Vec<_> = server.registry.totals().writer.commands.into_iter().collect();
    let expected = [
        (("Ping", "invalid_session"), 1),
        (("Ping", "ok"), 1),
        (("Register", "invalid"), 1),
        (("Register", "ok"), 1),
        (("RouteAdd", "invalid"), 2),
        (("RouteList", "ok"), 1),
        (("RouteRemove", "not_found"), 1),
    ];
    assert_eq!(counted, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_route_is_refused_by_field() {
    let server = Server::start().await;
    let (mut client, session_id) = server.serving("shop-1").await;
    let id = || session_id.clone();
    let good = || route("a.example", "/");
    assert_eq!(refused!(client.add_route(AddRouteRequest { session_id: id(), route: None })), wrong("route"));
    for (route, field) in [
        (NewRoute { domains: vec![], ..good() }, "domains"),
        (NewRoute { domains: vec!["a.example:80".to_owned()], ..good() }, "domains"),
        (NewRoute { path: "x".to_owned(), ..good() }, "path"),
        (NewRoute { backend_url: "ftp://b".to_owned(), ..good() }, "backend_url"),
        (NewRoute { backend_url: String::new(), ..good() }, "backend_url"),
    ] {
        let request = AddRouteRequest { session_id: id(), route: Some(route.clone()) };
        assert_eq!(refused!(client.add_route(request)), wrong(field));
        let request = AddRoutesRequest { session_id: id(), routes: vec![good(), route] };
        assert_eq!(refused!(client.add_routes(request)), wrong(&format!("routes[1].{field}")));
    }
    assert_eq!(refused!(client.add_routes(AddRoutesRequest { session_id: id(), routes: vec![] })), wrong("routes"));
    let update = |route_id: &str| UpdateRouteRequest {
        session_id: id(),
        route_id: route_id.to_owned(),
        ..UpdateRouteRequest::default()
    };
    assert_eq!(refused!(client.update_route(update("r1"))), plainly(Code::InvalidArgument, "INVALID"));
    assert_eq!(refused!(client.update_route(update("1"))), wrong("route_id"));
    let (priority, path) = (Some(9), Some("x".to_owned()));
    let half = UpdateRouteRequest { priority, path: path.clone(), ..update("r1") };
    assert_eq!(refused!(client.update_route(half)), wrong("path"));
    let nobody = UpdateRouteRequest { priority, path: Some("/x".to_owned()), ..update("r9") };
    assert_eq!(refused!(client.update_route(nobody)), plainly(Code::NotFound, "NOT_FOUND"));
    let removal = RemoveRouteRequest { session_id: id(), route_id: "r9".to_owned() };
    assert_eq!(refused!(client.remove_route(removal)), plainly(Code::NotFound, "NOT_FOUND"));
    let staged = client.get_config(GetConfigRequest { session_id: id() }).await.unwrap().into_inner().staged;
    assert_eq!(staged, None, "what was refused changed nothing");
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_refused_by_field() {
    let server = Server::start().await;
    let (mut client, session_id) = server.serving("shop-1").await;
    let (id, all) = (|| session_id.clone(), || "ALL".to_owned());
    let header = |target: &str, name: &str, value: &str| SetHeaderRequest {
        session_id: id(),
        target: target.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(refused!(client.set_header(header("", "x-a", "1"))), wrong("target"));
    assert_eq!(refused!(client.set_header(header("ALL", "content-length", "1"))), wrong("name"));
    assert_eq!(refused!(client.set_header(header("ALL", "x-a", "a\nb"))), wrong("value"));
    assert_eq!(refused!(client.set_header(header("r9", "x-a", "1"))), plainly(Code::NotFound, "NOT_FOUND"));
    let option = |key: &str, value: &str| SetOptionRequest {
        session_id: id(),
        target: all(),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(refused!(client.set_option(option("foo", "1"))), wrong("key"));
    assert_eq!(refused!(client.set_option(option("", "1"))), wrong("key"));
    assert_eq!(refused!(client.set_option(option("retries", "many"))), wrong("value"));
    assert_eq!(refused!(client.set_option(option("timeout", "0s"))), wrong("value"));
    assert_eq!(refused!(client.set_option(option("retries", &"1".repeat(9000)))), wrong("value"));
    let check = |interval, timeout| SetHealthCheckRequest {
        session_id: id(),
        route_id: "r1".to_owned(),
        path: "/".to_owned(),
        interval,
        timeout,
    };
    assert_eq!(refused!(client.set_health_check(check(None, seconds(1)))), wrong("interval"));
    assert_eq!(refused!(client.set_health_check(check(seconds(1), seconds(0)))), wrong("timeout"));
    assert_eq!(refused!(client.set_health_check(check(seconds(1), seconds(-1)))), wrong("timeout"));
    let limit = |requests, window| SetRateLimitRequest { session_id: id(), target: all(), requests, window };
    assert_eq!(refused!(client.set_rate_limit(limit(0, seconds(1)))), wrong("requests"));
    let far = Some(Duration { seconds: i64::MAX, nanos: 999_999_999 });
    assert_eq!(refused!(client.set_rate_limit(limit(1, far))), wrong("window"));
    let breaker = |threshold, half_open_requests| SetCircuitBreakerRequest {
        session_id: id(),
        target: all(),
        threshold,
        timeout: seconds(1),
        half_open_requests,
    };
    assert_eq!(refused!(client.set_circuit_breaker(breaker(1_000_001, 1))), wrong("threshold"));
    assert_eq!(refused!(client.set_circuit_breaker(breaker(1, 0))), wrong("half_open_requests"));
    server.stop().await;
}

#[tokio::test]
async fn wrong_operations_are_refused_by_field_or_for_the_state() {
    let server = Server::start().await;
    let (mut client, session_id) = server.serving("shop-1").await;
    let id = || session_id.clone();
    let refusal = plainly(Code::FailedPrecondition, "REFUSED");
    assert_eq!(refused!(client.get_drain(GetDrainRequest { session_id: id() })), refusal);
    assert_eq!(refused!(client.cancel_drain(CancelDrainRequest { session_id: id() })), refusal);
    let reset = ResetCircuitBreakerRequest { session_id: id(), route_id: "r1".to_owned() };
    assert_eq!(refused!(client.reset_circuit_breaker(reset)), refusal);
    let drain = StartDrainRequest { session_id: id(), duration: None };
    assert_eq!(refused!(client.start_drain(drain)), wrong("duration"));
    let enter = |targets: &[&str], page: Option<&str>| EnterMaintenanceRequest {
        session_id: id(),
        targets: targets.iter().map(ToString::to_string).collect(),
        page_url: page.map(ToOwned::to_owned),
    };
    assert_eq!(refused!(client.enter_maintenance(enter(&[], None))), wrong("targets"));
    assert_eq!(refused!(client.enter_maintenance(enter(&["ALL", "?"], None))), wrong("targets"));
    assert_eq!(refused!(client.enter_maintenance(enter(&vec!["r1"; 2000], None))), wrong("targets"));
    assert_eq!(refused!(client.enter_maintenance(enter(&["ALL"], Some("")))), wrong("page_url"));
    let nowhere = plainly(Code::NotFound, "NOT_FOUND");
    assert_eq!(refused!(client.enter_maintenance(enter(&["/nowhere"], None))), nowhere);
    let exit = ExitMaintenanceRequest { session_id: id(), targets: vec!["r9".to_owned()] };
    assert_eq!(refused!(client.exit_maintenance(exit)), nowhere);
    let stats = |target: &str| GetStatsRequest { session_id: id(), target: Some(target.to_owned()) };
    assert_eq!(refused!(client.get_stats(stats(""))), wrong("target"));
    assert_eq!(refused!(client.get_stats(stats("r9"))), nowhere);
    let test = TestBackendRequest { session_id: id(), backend_url: "b".to_owned() };
    assert_eq!(refused!(client.test_backend(test)), wrong("backend_url"));
    let partial = |sections| ApplyConfigPartialRequest {
        session_id: id(),
        sections,
        expected_revision: None,
        ..Default::default()
    };
    assert_eq!(refused!(client.apply_config_partial(partial(vec![]))), wrong("sections"));
    assert_eq!(refused!(client.apply_config_partial(partial(vec![1, 99]))), wrong("sections"));
    let subscribe = |types| SubscribeRequest { session_id: id(), types, after: None };
    assert_eq!(refused!(client.subscribe(subscribe(vec![0]))), wrong("types"));
    let operators = EventType::InstanceEnded.into();
    assert_eq!(refused!(client.subscribe(subscribe(vec![operators]))), wrong("types"));
    let unsubscribe = UnsubscribeRequest { session_id: id(), types: vec![] };
    assert_eq!(refused!(client.unsubscribe(unsubscribe)), wrong("types"));
    server.stop().await;
}

#[tokio::test]
async fn a_claim_of_another_service_is_a_conflict() {
    let server = Server::start().await;
    let (mut client, _) = server.serving("shop-1").await;
    let service_name = "blog".to_owned();
    let other = client.register(RegisterRequest { service_name, ..registration("blog-1") }).await.unwrap();
    let id = || other.get_ref().session_id.clone();
    let route = Some(route("shop.example", "/"));
    client.add_route(AddRouteRequest { session_id: id(), route }).await.unwrap();
    let conflict = plainly(Code::Aborted, "CONFLICT");
    assert_eq!(refused!(client.validate_config(ValidateConfigRequest { session_id: id() })), conflict);
    let apply = ApplyConfigRequest { session_id: id(), expected_revision: None, ..Default::default() };
    assert_eq!(refused!(client.apply_config(apply)), conflict);
    server.stop().await;
}

#[tokio::test]
async fn a_bound_that_is_reached_says_when_to_try_again() {
    let limits = RegistryLimits { sessions_max: 1, streams_max: 1, ..RegistryLimits::default() };
    let server = Server::start_with(Setup { limits, ..Setup::default() }).await;
    let (mut client, session_id) = server.register("shop-1").await;
    let status = client.register(registration("shop-2")).await.err().unwrap();
    assert_eq!(told(&status), plainly(Code::ResourceExhausted, "LIMITED"));
    assert!(status.get_details_retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    let subscribe = || SubscribeRequest { session_id: session_id.clone(), types: vec![], after: None };
    let first = client.subscribe(subscribe()).await.unwrap();
    assert_eq!(refused!(client.subscribe(subscribe())), plainly(Code::ResourceExhausted, "LIMITED"));
    drop(first);
    server.stop().await;
}

#[tokio::test]
async fn a_registry_that_cannot_store_says_so_and_changes_nothing() {
    let server = Server::start().await;
    let (mut client, _) = server.register("shop-1").await;
    server.world.store_fails.store(true, Ordering::Relaxed);
    let status = client.register(registration("shop-2")).await.err().unwrap();
    assert_eq!(told(&status), plainly(Code::Unavailable, "UNAVAILABLE"));
    assert!(status.get_details_retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    assert_eq!(server.registry.catalog().sessions_len(), 1);
    server.world.store_fails.store(false, Ordering::Relaxed);
    register(&mut client, "shop-2").await;
    server.stop().await;
}

#[tokio::test]
async fn the_longest_duration_is_taken() {
    let server = Server::start().await;
    let (mut client, session_id) = server.register("shop-1").await;
    let longest = i64::try_from(Span::MAX.millis() / 1000).unwrap();
    let drain =
        |seconds| StartDrainRequest { session_id: session_id.clone(), duration: Some(Duration { seconds, nanos: 0 }) };
    client.start_drain(drain(longest)).await.unwrap();
    assert_eq!(refused!(client.start_drain(drain(longest + 1))), wrong("duration"));
    server.stop().await;
}

#[tokio::test]
async fn commands_that_a_token_does_not_allow_are_denied_and_change_nothing() {
    let grant = RegistrationToken {
        name: TokenName::parse("team-a").unwrap(),
        secret: Fingerprint::of(&Secret::new("s3cret")),
        services: vec!["shop".to_owned()],
        domains: vec![Host::parse("*.a.example").unwrap()],
        path_prefixes: vec![],
        backends: vec![],
        max_routes: None,
        max_sessions: None,
        lease_max: LeaseBound::Any,
    };
    let server = Server::start_with(Setup { grants: vec![grant].into(), ..Setup::default() }).await;
    let mut client = server.client().await;
    let denied = plainly(Code::PermissionDenied, "DENIED");
    assert_eq!(refused!(client.register(registration("shop-1"))), denied);
    let with = |token: &str| RegisterRequest { token: Some(token.to_owned()), ..registration("shop-1") };
    let status = client.register(with("guess-of-mine")).await.err().unwrap();
    assert_eq!((told(&status), format!("{status:?}").contains("guess-of-mine")), (denied.clone(), false));
    let other = RegisterRequest { service_name: "till".to_owned(), ..with("s3cret") };
    let status = client.register(other).await.err().unwrap();
    assert_eq!((told(&status), status.message().starts_with("service_name: token team-a")), (denied.clone(), true));
    let session_id = client.register(with("s3cret")).await.unwrap().into_inner().session_id;
    let id = || session_id.clone();
    let foreign = AddRouteRequest { session_id: id(), route: Some(route("b.example", "/")) };
    assert_eq!(refused!(client.add_route(foreign)), denied);
    let own = AddRouteRequest { session_id: id(), route: Some(route("x.a.example", "/")) };
    client.add_route(own).await.unwrap();
    let update = UpdateRouteRequest {
        session_id: id(),
        route_id: "r1".to_owned(),
        path: Some("/new".to_owned()),
        domains: vec!["b.example".to_owned()],
        ..UpdateRouteRequest::default()
    };
    assert_eq!(refused!(client.update_route(update)), denied);
    let listed = client.list_routes(ListRoutesRequest { session_id: id() }).await.unwrap().into_inner().routes;
    assert_eq!((listed[0].path.as_str(), listed[0].domains[0].as_str()), ("/", "x.a.example"), "all or none");
    let named = GetInstanceRequest { service_name: "shop".to_owned(), instance_name: "shop-1".to_owned() };
    let shown = server.operator().await.get_instance(named).await.unwrap().into_inner();
    assert_eq!(shown.instance.as_ref().unwrap().token_name.as_deref(), Some("team-a"));
    assert!(!format!("{shown:?}").contains("s3cret"));
    server.stop().await;
}
