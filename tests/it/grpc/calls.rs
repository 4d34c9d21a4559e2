//! Every gRPC call once, in the order in which a service makes them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use signalbox::grpc::proto::registry_client::RegistryClient;
use signalbox::grpc::proto::test_backend_response::Result as Tested;
use signalbox::grpc::proto::*;
use tonic::Code;
use tonic::transport::Channel;

use super::support::{Server, next_payload, registration, route, seconds, subscribe, told};

const ALL: &str = "ALL";

/// A client that speaks for one session.
struct Service {
    client: RegistryClient<Channel>,
    session: String,
}

/// `call!(service.ping(PingRequest { fields }))`: the answer of a call that must go well.
macro_rules! call {
    ($service:ident.$call:ident($request:ident { $($fields:tt)* })) => {
        $service.client
            .$call($request { session_id: $service.session.clone(), $($fields)* })
            .await
            .map(tonic::Response::into_inner)
            .unwrap_or_else(|status| panic!("{}: {status:?}", stringify!($call)))
    };
}

fn metadata() -> Struct {
    let value = |kind| Value { kind: Some(kind) };
    Struct {
        fields: BTreeMap::from([
            ("shards".to_owned(), value(Kind::NumberValue(3.0))),
            ("version".to_owned(), value(Kind::StringValue("1.4".to_owned()))),
        ]),
    }
}

fn statuses(routes: &[Route]) -> Vec<(&str, RouteStatus)> {
    routes.iter().map(|route| (route.route_id.as_str(), route.status())).collect()
}

#[tokio::test]
async fn every_call_of_the_protocol_is_answered() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let register = RegisterRequest { metadata: Some(metadata()), ..registration("shop-1") };
    let session = client.register(register).await.unwrap().into_inner().session_id;
    let mut service = Service { client, session };
    sessions(&mut service).await;
    routes(&mut service).await;
    settings(&mut service).await;
    configuration(&mut service).await;
    breakers_and_drain(&mut service).await;
    maintenance_and_events(&server, &mut service).await;
    numbers_and_backends(&server, &mut service).await;
    call!(service.end_session(EndSessionRequest {}));
    let gone = service.client.ping(PingRequest { session_id: service.session.clone() }).await.unwrap_err();
    assert_eq!(told(&gone).0, Code::Unauthenticated);
    server.stop().await;
}

async fn sessions(service: &mut Service) {
    call!(service.reconnect(ReconnectRequest {}));
    call!(service.ping(PingRequest {}));
    let session = call!(service.get_session(GetSessionRequest {}));
    assert_eq!((session.service_name.as_str(), session.instance_name.as_str()), ("shop", "shop-1"));
    assert_eq!((session.maintenance_port, session.revision, session.last_apply), (9001, 0, None));
    assert_eq!(session.metadata, Some(metadata()));
    assert!(session.session_id == service.session && session.connected_at.is_some());
}

async fn routes(service: &mut Service) {
    let added = call!(service.add_route(AddRouteRequest { route: Some(route("Shop.example.", "/api/")) }));
    assert_eq!(added.route_id, "r1");
    let more = vec![route("a.example", "/"), route("b.example", "/")];
    assert_eq!(call!(service.add_routes(AddRoutesRequest { routes: more })).route_ids, ["r2", "r3"]);
    call!(service.update_route(UpdateRouteRequest {
        route_id: "r2".to_owned(),
        backend_url: Some("https://10.0.0.7:8443/base/".to_owned()),
        priority: Some(-7),
        domains: vec!["*.a.example".to_owned(), "a.example".to_owned()],
        path: Some("/x".to_owned()),
    }));
    call!(service.remove_route(RemoveRouteRequest { route_id: "r3".to_owned() }));
    let listed = call!(service.list_routes(ListRoutesRequest {})).routes;
    assert_eq!(statuses(&listed), [("r1", RouteStatus::Staged), ("r2", RouteStatus::Staged)]);
    assert_eq!((listed[0].domains.join(","), listed[0].path.as_str()), ("shop.example".to_owned(), "/api"));
    let expected = Route {
        route_id: "r2".to_owned(),
        domains: vec!["*.a.example".to_owned(), "a.example".to_owned()],
        path: "/x".to_owned(),
        backend_url: "https://10.0.0.7:8443/base".to_owned(),
        priority: -7,
        status: RouteStatus::Staged.into(),
    };
    assert_eq!(listed[1], expected);
}

async fn settings(service: &mut Service) {
    let (target, name) = (ALL.to_owned(), "X-Frame-Options".to_owned());
    let (key, route_id) = ("retries".to_owned(), "r1".to_owned());
    let value = "DENY".to_owned();
    call!(service.set_header(SetHeaderRequest { target: target.clone(), name: name.clone(), value }));
    call!(service.remove_header(RemoveHeaderRequest { target: "r2".to_owned(), name }));
    let value = "3".to_owned();
    call!(service.set_option(SetOptionRequest { target: target.clone(), key: key.clone(), value }));
    call!(service.remove_option(RemoveOptionRequest { target: "r2".to_owned(), key }));
    let path = "/health".to_owned();
    call!(service.set_health_check(SetHealthCheckRequest {
        route_id,
        path,
        interval: seconds(10),
        timeout: seconds(2),
    }));
    call!(service.set_rate_limit(SetRateLimitRequest {
        target: target.clone(),
        requests: 100,
        window: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
    }));
    call!(service.set_circuit_breaker(SetCircuitBreakerRequest {
        target,
        threshold: 5,
        timeout: seconds(30),
        half_open_requests: 2,
    }));
}

async fn configuration(service: &mut Service) {
    call!(service.validate_config(ValidateConfigRequest {}));
    let diff = call!(service.diff_config(DiffConfigRequest {}));
    assert_eq!(diff.routes.unwrap().added, ["r1", "r2"]);
    let added = Some(Tally { added: 1, removed: 0, modified: 0 });
    assert_eq!([diff.headers, diff.options, diff.health, diff.rate_limits, diff.circuit_breakers], [added; 5]);
    let sections = vec![Section::Routes.into(), Section::Circuit.into()];
    let partial = ApplyConfigPartialRequest {
        session_id: String::new(),
        sections,
        expected_revision: Some(0),
        ..Default::default()
    };
    let applied = call!(service.apply_config_partial(ApplyConfigPartialRequest {
        sections: partial.sections,
        expected_revision: partial.expected_revision,
        ..Default::default()
    }));
    assert_eq!(applied.revision, 1);
    let stale = service.client.apply_config(ApplyConfigRequest {
        session_id: service.session.clone(),
        expected_revision: Some(0),
        ..Default::default()
    });
    let stale = stale.await.unwrap_err();
    assert_eq!(told(&stale), (Code::Aborted, "STALE".to_owned(), vec![]));
    assert_eq!(
        call!(service.apply_config(ApplyConfigRequest { expected_revision: Some(1), ..Default::default() })).revision,
        2
    );
    assert_eq!(
        call!(service.apply_config(ApplyConfigRequest { expected_revision: None, ..Default::default() })).revision,
        2
    );
    call!(service.remove_route(RemoveRouteRequest { route_id: "r2".to_owned() }));
    let listed = call!(service.list_routes(ListRoutesRequest {})).routes;
    assert_eq!(statuses(&listed), [("r1", RouteStatus::Active), ("r2", RouteStatus::PendingRemoval)]);
    let config = call!(service.get_config(GetConfigRequest {}));
    let (active, staged) = (config.active.unwrap(), config.staged.unwrap());
    assert_eq!((config.revision, active.routes.len(), staged.routes.len()), (2, 2, 1));
    assert_eq!(active.headers[0].name, "x-frame-options");
    assert_eq!((active.options[0].target.as_str(), active.options[0].value.as_str()), (ALL, "3"));
    assert_eq!((active.health_checks[0].path.as_str(), active.health_checks[0].timeout), ("/health", seconds(2)));
    assert_eq!(active.rate_limits[0].window, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    assert_eq!((active.circuit_breakers[0].threshold, active.circuit_breakers[0].half_open_requests), (5, 2));
    call!(service.rollback_config(RollbackConfigRequest {}));
    assert_eq!(call!(service.get_config(GetConfigRequest {})).staged, None);
}

async fn breakers_and_drain(service: &mut Service) {
    let breaker = call!(service.get_circuit_breaker(GetCircuitBreakerRequest { route_id: "r1".to_owned() }));
    assert_eq!((breaker.state(), breaker.healthy, breaker.draining), (CircuitState::Closed, true, false));
    assert_eq!((breaker.last_failure, breaker.next_attempt), (None, None));
    call!(service.reset_circuit_breaker(ResetCircuitBreakerRequest { route_id: "r1".to_owned() }));
    assert!(call!(service.start_drain(StartDrainRequest { duration: seconds(3600) })).completes_at.is_some());
    let drain = call!(service.get_drain(GetDrainRequest {})).drain.unwrap();
    assert_eq!((drain.active, drain.duration_seconds, drain.traffic_percent), (true, 3600, 100));
    call!(service.cancel_drain(CancelDrainRequest {}));
}

async fn maintenance_and_events(server: &Server, service: &mut Service) {
    let types = [EventType::MaintenanceChanged.into()];
    let mut events = subscribe(&mut service.client, &service.session, &types, None).await;
    let targets = vec!["/api".to_owned(), "r2".to_owned()];
    let page_url = Some("http://pages.example/down?x=1".to_owned());
    call!(service.enter_maintenance(EnterMaintenanceRequest { targets, page_url: page_url.clone() }));
    for target in ["r1", "r2"] {
        let changed = MaintenanceChanged { target: target.to_owned(), in_maintenance: true };
        assert_eq!(next_payload(&mut events).await, event::Payload::MaintenanceChanged(changed));
    }
    let maintenance = call!(service.get_maintenance(GetMaintenanceRequest {}));
    assert_eq!((maintenance.in_maintenance.join(","), maintenance.page_url), ("r1,r2".to_owned(), page_url));
    server.world.answers.store(true, Ordering::Relaxed);
    call!(service.exit_maintenance(ExitMaintenanceRequest { targets: vec![ALL.to_owned()] }));
    // Entering waits for its page, and leaving takes its place: that is told, too.
    let ended = loop {
        match next_payload(&mut events).await {
            event::Payload::MaintenanceFailed(failed) => assert!(failed.in_maintenance, "{failed:?}"),
            other => break other,
        }
    };
    let left = MaintenanceChanged { target: ALL.to_owned(), in_maintenance: false };
    assert_eq!(ended, event::Payload::MaintenanceChanged(left));
    assert_eq!(call!(service.get_maintenance(GetMaintenanceRequest {})), GetMaintenanceResponse::default());
    call!(service.unsubscribe(UnsubscribeRequest { types: vec![EventType::All.into()] }));
}

async fn numbers_and_backends(server: &Server, service: &mut Service) {
    let all = call!(service.get_stats(GetStatsRequest { target: None })).routes;
    assert_eq!(all.iter().map(|stats| stats.route_id.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
    let one = call!(service.get_stats(GetStatsRequest { target: Some("r2".to_owned()) })).routes;
    assert_eq!((one.len(), one[0].requests, one[0].status_codes[&502]), (1, 3, 1));
    let backend_url = "http://127.0.0.1:3000".to_owned();
    let tested = call!(service.test_backend(TestBackendRequest { backend_url: backend_url.clone() })).result.unwrap();
    let Tested::Reachable(found) = tested else { panic!("{tested:?}") };
    assert_eq!((found.status_code, found.response_time.unwrap().nanos, found.tls_valid), (200, 3_000_000, false));
    server.world.answers.store(false, Ordering::Relaxed);
    let tested = call!(service.test_backend(TestBackendRequest { backend_url })).result.unwrap();
    let Tested::Unreachable(lost) = tested else { panic!("{tested:?}") };
    assert_eq!(lost.error, "connection refused");
}
