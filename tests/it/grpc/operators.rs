//! Calls of operators: who may make them, what they show, and that they show no session id.

use signalbox::domain::{OperatorName, Secret};
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::watch_response::Item;
use signalbox::grpc::proto::*;
use signalbox::operator_auth::{NamedToken, OperatorAuth};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::support::{PATIENCE, Server, Setup, next, plainly, registration, route, seconds, told, wrong};

const TOKEN: &str = "an-operator-token-of-ours";

type Bearing =
    OperatorClient<InterceptedService<Channel, Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send>>>;

/// A client that shows `authorization` as it stands.
fn showing(channel: Channel, authorization: &'static str) -> Bearing {
    OperatorClient::with_interceptor(
        channel,
        Box::new(move |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", MetadataValue::from_static(authorization));
            Ok(request)
        }),
    )
}

async fn guarded() -> Server {
    let operators = OperatorAuth::new(&[NamedToken { name: OperatorName::unnamed(), secret: Secret::new(TOKEN) }]);
    Server::start_with(Setup { operators, ..Setup::default() }).await
}

#[tokio::test]
async fn with_tokens_only_those_who_show_one_are_answered() {
    let server = guarded().await;
    let refused = plainly(Code::Unauthenticated, "UNAUTHENTICATED");
    let mut nobody = server.operator().await;
    let overview = nobody.get_overview(GetOverviewRequest {}).await.unwrap_err();
    assert_eq!(told(&overview), refused);
    assert_eq!(told(&nobody.watch(WatchRequest::default()).await.unwrap_err()), refused);
    let evict = EvictInstanceRequest { service_name: "shop".to_owned(), instance_name: "shop-1".to_owned() };
    assert_eq!(told(&nobody.evict_instance(evict).await.unwrap_err()), refused);
    for wrong in ["Bearer", "Bearer ", "Bearer another-token-than-ours", "Basic an-operator-token-of-ours", ""] {
        let mut client = showing(server.channel().await, wrong);
        let status = client.get_overview(GetOverviewRequest {}).await.unwrap_err();
        assert_eq!(told(&status), refused, "{wrong}");
        assert!(!format!("{status:?}").contains("another-token"), "{status:?}");
    }
    for good in ["Bearer an-operator-token-of-ours", "bearer  an-operator-token-of-ours"] {
        let mut client = showing(server.channel().await, good);
        client.get_overview(GetOverviewRequest {}).await.expect(good);
    }
    // Services need no operator token.
    server.client().await.register(registration("shop-1")).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn without_tokens_only_this_machine_by_its_own_name_is_answered() {
    let server = Server::start().await;
    server.operator().await.get_overview(GetOverviewRequest {}).await.unwrap();
    for (origin, answered) in [("http://localhost:1", true), ("http://[::1]", true), ("http://evil.example", false)] {
        let channel = server.endpoint().origin(origin.parse().unwrap()).connect().await.unwrap();
        let overview = OperatorClient::new(channel).get_overview(GetOverviewRequest {}).await;
        match overview {
            Ok(_) => assert!(answered, "{origin}"),
            Err(status) => assert_eq!((told(&status), answered), (plainly(Code::PermissionDenied, "DENIED"), false)),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn operators_see_everything_but_session_ids() {
    let server = Server::start().await;
    let (_, first) = server.serving("shop-1").await;
    let (_, second) = server.serving("shop-2").await;
    let mut operator = server.operator().await;
    let overview = operator.get_overview(GetOverviewRequest {}).await.unwrap().into_inner();
    assert_eq!((overview.services, overview.instances, overview.routes_active), (1, 2, 2));
    let instances = operator.list_instances(ListInstancesRequest::default()).await.unwrap().into_inner();
    let names: Vec<&str> = instances.instances.iter().map(|instance| instance.instance_name.as_str()).collect();
    assert_eq!((names, &instances.next_cursor), (vec!["shop-1", "shop-2"], &None));
    let named = GetInstanceRequest { service_name: "shop".to_owned(), instance_name: "shop-1".to_owned() };
    let instance = operator.get_instance(named).await.unwrap().into_inner();
    assert_eq!((instance.instance.as_ref().unwrap().maintenance_port, instance.drain), (9001, None));
    let routes = operator.list_all_routes(ListAllRoutesRequest::default()).await.unwrap().into_inner();
    assert_eq!((routes.routes.len(), routes.routes[0].domains[0].as_str()), (2, "shop.example"));
    let of = InstanceRef { service_name: "shop".to_owned(), instance_name: "shop-2".to_owned() };
    let only = ListAllStatsRequest { instance: Some(of), ..ListAllStatsRequest::default() };
    let stats = operator.list_all_stats(only).await.unwrap().into_inner();
    let counted: Vec<_> = stats.stats.iter().map(|stats| stats.stats.as_ref().unwrap().requests).collect();
    assert_eq!((counted, stats.stats[0].instance_name.as_str()), (vec![3], "shop-2"));
    let (host, path) = ("shop.example:80".to_owned(), "/cart?x=1".to_owned());
    let ask = ExplainRequest { host, path, method: Some("GET".to_owned()), staged: None };
    let explained = operator.explain(ask).await.unwrap().into_inner();
    assert_eq!((explained.outcome(), explained.candidates[0].members_total), (Outcome::Forwarded, 2));
    assert_eq!((explained.host.as_str(), explained.path.as_str(), explained.staged), ("shop.example", "/cart", false));
    let shown = format!("{overview:?}{instances:?}{instance:?}{routes:?}{stats:?}{explained:?}");
    for session in [first, second] {
        let secret = session.rsplit('-').next().unwrap();
        assert!(!shown.contains(&session) && !shown.contains(secret), "{shown}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_operator_steers_the_staged_configuration_of_an_instance() {
    let server = Server::start().await;
    let (mut service, session_id) = server.serving("shop-1").await;
    let stage = AddRouteRequest { session_id, route: Some(route("two.example", "/")) };
    service.add_route(stage.clone()).await.unwrap();
    let mut operator = server.operator().await;
    let (service_name, instance_name) = ("shop".to_owned(), "shop-1".to_owned());
    macro_rules! named {
        ($message:ident { $($field:ident: $value:expr)* }) => {
            $message { service_name: service_name.clone(), instance_name: instance_name.clone(), $($field: $value,)* }
        };
    }
    let diff = operator.diff_instance_config(named!(DiffInstanceConfigRequest {})).await.unwrap().into_inner();
    assert_eq!((diff.revision, diff.routes.unwrap().added), (1, vec!["r2".to_owned()]));
    operator.validate_instance_config(named!(ValidateInstanceConfigRequest {})).await.unwrap();
    let config = operator.get_instance_config(named!(GetInstanceConfigRequest {})).await.unwrap().into_inner();
    assert_eq!((config.active.unwrap().routes.len(), config.staged.unwrap().routes.len()), (1, 2));
    let headers = ApplyInstanceConfigRequest {
        sections: vec![Section::Headers.into()],
        expected_revision: Some(1),
        ..named!(ApplyInstanceConfigRequest { sections: vec![] expected_revision: None reason: None confirm_within: None guard: false })
    };
    assert_eq!(operator.apply_instance_config(headers.clone()).await.unwrap().into_inner().revision, 1);
    let all = ApplyInstanceConfigRequest { sections: vec![], ..headers };
    assert_eq!(operator.apply_instance_config(all.clone()).await.unwrap().into_inner().revision, 2);
    assert_eq!(operator.apply_instance_config(all).await.unwrap_err().code(), Code::Aborted);
    service.add_route(AddRouteRequest { route: Some(route("three.example", "/")), ..stage }).await.unwrap();
    operator.rollback_instance_config(named!(RollbackInstanceConfigRequest {})).await.unwrap();
    let config = operator.get_instance_config(named!(GetInstanceConfigRequest {})).await.unwrap().into_inner();
    assert_eq!(config.staged, None);
    server.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = Server::start().await;
    for instance in ["c", "a", "b"] {
        server.serving(instance).await;
    }
    let mut operator = server.operator().await;
    let (mut cursor, mut names) = (None, Vec::new());
    loop {
        let page = ListInstancesRequest { limit: Some(2), cursor };
        let page = operator.list_instances(page).await.unwrap().into_inner();
        assert!(page.instances.len() <= 2);
        names.extend(page.instances.into_iter().map(|instance| instance.instance_name));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    for (limit, cursor, field) in
        [(Some(0), None, "limit"), (Some(1001), None, "limit"), (None, Some("?".to_owned()), "cursor")]
    {
        let page = ListAllRoutesRequest { limit, cursor: cursor.clone(), ..Default::default() };
        assert_eq!(told(&operator.list_all_routes(page).await.unwrap_err()), wrong(field));
    }
    server.stop().await;
}

#[tokio::test]
async fn operators_drain_maintain_and_evict_instances_by_name() {
    let server = Server::start().await;
    let (mut client, session) = server.serving("shop-1").await;
    let mut operator = server.operator().await;
    let (service_name, instance_name) = ("shop".to_owned(), "shop-1".to_owned());
    let mut events = operator.watch(WatchRequest { after: None }).await.unwrap().into_inner();
    let start = StartInstanceDrainRequest {
        service_name: service_name.clone(),
        instance_name: instance_name.clone(),
        duration: seconds(60),
    };
    let completes_at = operator.start_instance_drain(start).await.unwrap().into_inner().completes_at;
    assert!(client.get_drain(GetDrainRequest { session_id: session.clone() }).await.is_ok());
    let cancel =
        CancelInstanceDrainRequest { service_name: service_name.clone(), instance_name: instance_name.clone() };
    operator.cancel_instance_drain(cancel.clone()).await.unwrap();
    let again = operator.cancel_instance_drain(cancel).await.unwrap_err();
    assert_eq!(told(&again), plainly(Code::FailedPrecondition, "REFUSED"));
    let targets = vec!["ALL".to_owned()];
    let enter = EnterInstanceMaintenanceRequest {
        service_name: service_name.clone(),
        instance_name: instance_name.clone(),
        targets: targets.clone(),
        page_url: None,
    };
    operator.enter_instance_maintenance(enter).await.unwrap();
    server.world.answers.store(true, std::sync::atomic::Ordering::Relaxed);
    let (service, instance) = (service_name.clone(), instance_name.clone());
    let exit = ExitInstanceMaintenanceRequest { service_name: service, instance_name: instance, targets };
    operator.exit_instance_maintenance(exit).await.unwrap();
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(event::Payload::MaintenanceChanged(left)) if !left.in_maintenance) {
        let message = next(&mut events).await.unwrap().expect("a message");
        let Some(Item::Event(event)) = message.item else { panic!("{message:?}") };
        assert_eq!((event.service_name.as_str(), event.instance_name.as_str()), ("shop", "shop-1"));
        assert!(!format!("{event:?}").contains(&session));
        seen.extend(event.payload);
    }
    assert_eq!(seen[0], event::Payload::DrainStarted(DrainStarted { completes_at }));
    let evict = EvictInstanceRequest { service_name, instance_name };
    operator.evict_instance(evict.clone()).await.unwrap();
    let gone = client.ping(PingRequest { session_id: session }).await.unwrap_err();
    assert_eq!(told(&gone), plainly(Code::Unauthenticated, "INVALID_SESSION"));
    let again = operator.evict_instance(evict).await.unwrap_err();
    assert_eq!((told(&again), again.message()), (plainly(Code::NotFound, "NOT_FOUND"), "no instance shop/shop-1"));
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_hears_of_everybody_and_resumes() {
    let server = Server::start().await;
    let mut operator = server.operator().await;
    let mut events = operator.watch(WatchRequest { after: None }).await.unwrap().into_inner();
    let (mut client, session) = server.register("shop-1").await;
    let registered = next(&mut events).await.unwrap().unwrap();
    let Some(Item::Event(registered)) = registered.item else { panic!("{registered:?}") };
    assert_eq!(registered.r#type(), EventType::InstanceRegistered);
    let stream = super::support::subscribe(&mut client, &session, &[], None).await;
    client.end_session(EndSessionRequest { session_id: session }).await.unwrap();
    drop((events, stream));
    let after = Some(registered.sequence);
    let mut resumed = operator.watch(WatchRequest { after }).await.unwrap().into_inner();
    let mut types = Vec::new();
    while types.last() != Some(&EventType::InstanceEnded) {
        let message = next(&mut resumed).await.unwrap().unwrap();
        let Some(Item::Event(event)) = message.item else { panic!("{message:?}") };
        types.push(event.r#type());
    }
    assert_eq!(types[0], EventType::InstanceConnected);
    let mut lost = operator.watch(WatchRequest { after: Some(u64::MAX) }).await.unwrap().into_inner();
    let compacted = next(&mut lost).await.unwrap().unwrap().item;
    assert!(matches!(compacted, Some(Item::Compacted(_))), "{compacted:?}");
    server.registry.announce_shutdown();
    let ended = tokio::time::timeout(PATIENCE, resumed.message()).await.unwrap().unwrap_err();
    assert_eq!(told(&ended), plainly(Code::Unavailable, "UNAVAILABLE"));
    server.stop().await;
}

#[tokio::test]
async fn staged_routes_can_be_explained() {
    let server = Server::start().await;
    let (mut client, session_id) = server.register("shop-1").await;
    let route = Some(route("new.example", "/"));
    client.add_route(AddRouteRequest { session_id, route }).await.unwrap();
    let mut operator = server.operator().await;
    let mut explain = async |staged| {
        let (host, path) = ("new.example".to_owned(), "/".to_owned());
        operator.explain(ExplainRequest { host, path, method: None, staged }).await
    };
    assert_eq!(explain(None).await.unwrap().into_inner().outcome(), Outcome::NoRoute);
    let of = |instance: &str| Some(InstanceRef { service_name: "shop".to_owned(), instance_name: instance.to_owned() });
    let explained = explain(of("shop-1")).await.unwrap().into_inner();
    assert_eq!((explained.outcome(), explained.staged, explained.problem), (Outcome::Forwarded, true, None));
    assert_eq!(told(&explain(of("shop-9")).await.unwrap_err()), plainly(Code::NotFound, "NOT_FOUND"));
    assert_eq!(told(&explain(of("")).await.unwrap_err()), wrong("instance_name"));
    server.stop().await;
}
