//! Event streams over gRPC: what they bind, what they send, how they resume and end.

use std::time::Duration;

use signalbox::api_listener::ClientTimeouts;
use signalbox::domain::SessionId;
use signalbox::domain::Span;
use signalbox::grpc::proto::event::Payload;
use signalbox::grpc::proto::registry_client::RegistryClient;
use signalbox::grpc::proto::subscribe_response::Item;
use signalbox::grpc::proto::*;
use signalbox::registry::commands::Reconnect;
use signalbox::registry::{CallOrigin, RegistryLimits};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use super::support::{
    PATIENCE, Server, Setup, next, next_event, next_item, next_payload, plainly, register, subscribe, told,
};

const ALL: i32 = EventType::All as i32;

fn apply(session: &str) -> ApplyConfigRequest {
    ApplyConfigRequest { session_id: session.to_owned(), expected_revision: None, ..Default::default() }
}

async fn add(client: &mut RegistryClient<Channel>, session: &str, domain: &str) {
    let route = Some(super::support::route(domain, "/"));
    client.add_route(AddRouteRequest { session_id: session.to_owned(), route }).await.unwrap();
}

#[tokio::test]
async fn a_session_is_connected_while_its_stream_is_open() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    server.until(&session, |session| session.bound.is_none()).await;
    let events = subscribe(&mut client, &session, &[], None).await;
    server.until(&session, |session| session.bound.is_some()).await;
    drop(events);
    server.until(&session, |session| session.bound.is_none()).await;
    let events = subscribe(&mut client, &session, &[], None).await;
    server.until(&session, |session| session.bound.is_some()).await;
    // The whole connection goes, as when a client is killed.
    drop((client, events));
    server.until(&session, |session| session.bound.is_none()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_without_a_stream_ends_after_its_grace() {
    let limits = RegistryLimits { grace: Span::from_secs(1), ..RegistryLimits::default() };
    let server = Server::start_with(Setup { limits, ..Setup::default() }).await;
    let (mut client, session) = server.register("shop-1").await;
    let events = subscribe(&mut client, &session, &[], None).await;
    let (_, short) = server.register("shop-2").await;
    let gone = async {
        while server.registry.catalog().session(&short).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it ends");
    client.ping(PingRequest { session_id: session }).await.expect("who is connected lives on");
    drop(events);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_tells_what_its_session_subscribed_to() {
    let server = Server::start().await;
    let (mut client, session) = server.serving("shop-1").await;
    let types = [EventType::ConfigApplied.into()];
    let mut events = subscribe(&mut client, &session, &types, None).await;
    let drain = StartDrainRequest { session_id: session.clone(), duration: super::support::seconds(3600) };
    client.start_drain(drain).await.unwrap();
    add(&mut client, &session, "a.example").await;
    client.apply_config(apply(&session)).await.unwrap();
    let event = next_event(&mut events).await;
    assert_eq!((event.service_name.as_str(), event.instance_name.as_str()), ("shop", "shop-1"));
    assert_eq!((event.r#type(), event.at.is_some(), event.sequence > 0), (EventType::ConfigApplied, true, true));
    assert_eq!(event.payload, Some(Payload::ConfigApplied(ConfigApplied { revision: 2 })));
    // A stream without types hears of all.
    let mut events = subscribe(&mut client, &session, &[], None).await;
    add(&mut client, &session, "b.example").await;
    client.apply_config(apply(&session)).await.unwrap();
    assert_eq!(next_payload(&mut events).await, Payload::ConfigApplied(ConfigApplied { revision: 3 }));
    server.stop().await;
}

#[tokio::test]
async fn events_without_a_subscription_are_not_sent() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    let types = vec![EventType::MaintenanceChanged.into()];
    client.unsubscribe(UnsubscribeRequest { session_id: session.clone(), types }).await.unwrap();
    let enter =
        EnterMaintenanceRequest { session_id: session.clone(), targets: vec!["ALL".to_owned()], page_url: None };
    client.enter_maintenance(enter).await.unwrap();
    add(&mut client, &session, "a.example").await;
    client.apply_config(apply(&session)).await.unwrap();
    assert_eq!(next_event(&mut events).await.r#type(), EventType::ConfigApplied);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_takes_the_session_over_ends_its_streams() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut first = subscribe(&mut client, &session, &[ALL], None).await;
    let bound = server.registry.open_mailbox();
    let id = SessionId::restore(&session);
    let reconnect = Reconnect { session: id, connection: Some(bound.connection()) };
    server.registry.execute_one(CallOrigin::SERVER, reconnect.into()).await.unwrap();
    let ended = next(&mut first).await.unwrap_err();
    assert_eq!(told(&ended), plainly(Code::Aborted, "CONFLICT"));
    server.until(&session, |session| session.bound == Some(bound.connection())).await;
    server.stop().await;
}

#[tokio::test]
async fn streams_of_one_session_all_tell_and_a_ninth_is_refused() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(subscribe(&mut client, &session, &[ALL], None).await);
    }
    let request = SubscribeRequest { session_id: session.clone(), types: vec![ALL], after: None };
    let refused = client.subscribe(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("of this session (limit 8)"), "{}", refused.message());
    add(&mut client, &session, "a.example").await;
    client.apply_config(apply(&session)).await.unwrap();
    for events in &mut open {
        assert_eq!(next_event(events).await.r#type(), EventType::ConfigApplied);
    }
    open.truncate(1);
    server.until(&session, |session| session.bound.is_some()).await;
    open.clear();
    server.until(&session, |session| session.bound.is_none()).await;
    server.stop().await;
}

/// The way to a server, until it goes dark: then nothing passes, and neither side hears of it.
async fn way_to(server: std::net::SocketAddr) -> (std::net::SocketAddr, oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dark, goes_dark) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(server).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = goes_dark => std::future::pending().await,
        }
    });
    (address, dark)
}

#[tokio::test]
async fn a_session_whose_client_is_gone_without_a_word_is_disconnected_and_others_are_not() {
    let [silence, pong] = [Duration::from_millis(200); 2];
    let patience = ClientTimeouts { silence, pong, ..ClientTimeouts::default() };
    // With something to say now and then, and without.
    for keep_alive in [Duration::from_hours(1), Duration::from_millis(50)] {
        let server = Server::start_with(Setup { keep_alive, patience, ..Setup::default() }).await;
        let (mut client, alive) = server.register("shop-1").await;
        let _events = subscribe(&mut client, &alive, &[ALL], None).await;
        let (address, dark) = way_to(server.address).await;
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = RegistryClient::new(channel);
        let gone = register(&mut client, "shop-2").await;
        let _gone_events = subscribe(&mut client, &gone, &[ALL], None).await;
        server.until(&gone, |session| session.bound.is_some()).await;
        dark.send(()).unwrap();
        server.until(&gone, |session| session.bound.is_none()).await;
        server.until(&alive, |session| session.bound.is_some()).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_silent_stream_says_where_to_resume() {
    let server = Server::start_with(Setup { keep_alive: Duration::from_millis(50), ..Setup::default() }).await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    let Item::Heartbeat(Heartbeat { sequence: Some(first) }) = next_item(&mut events).await else { panic!("quiet") };
    // Events of others advance it.
    server.register("shop-2").await;
    loop {
        match next_item(&mut events).await {
            Item::Heartbeat(Heartbeat { sequence }) if sequence > Some(first) => break,
            Item::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    client.end_session(EndSessionRequest { session_id: session }).await.unwrap();
    let ended = next(&mut events).await.unwrap_err();
    assert_eq!(told(&ended), plainly(Code::Unauthenticated, "INVALID_SESSION"));
    let session = register(&mut client, "shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    register(&mut client, "shop-1").await;
    let replaced = next(&mut events).await.unwrap_err();
    assert!(matches!(replaced.code(), Code::Aborted | Code::Unauthenticated), "{replaced:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    server.registry.announce_shutdown();
    let ended = next(&mut events).await.unwrap_err();
    assert_eq!(told(&ended), plainly(Code::Unavailable, "UNAVAILABLE"));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_resumes_behind_the_last_event_that_was_seen() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    for domain in ["a.example", "b.example", "c.example"] {
        add(&mut client, &session, domain).await;
        client.apply_config(apply(&session)).await.unwrap();
    }
    let first = next_event(&mut events).await;
    assert_eq!(first.payload, Some(Payload::ConfigApplied(ConfigApplied { revision: 1 })));
    drop(events);
    let mut resumed = subscribe(&mut client, &session, &[], Some(first.sequence)).await;
    for revision in [2, 3] {
        assert_eq!(next_payload(&mut resumed).await, Payload::ConfigApplied(ConfigApplied { revision }));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_asks_for_what_is_not_known_is_told_so_and_goes_on() {
    let server = Server::start().await;
    let (mut client, session) = server.register("shop-1").await;
    let mut events = subscribe(&mut client, &session, &[ALL], Some(u64::MAX)).await;
    assert!(matches!(next_item(&mut events).await, Item::Compacted(_)));
    add(&mut client, &session, "a.example").await;
    client.apply_config(apply(&session)).await.unwrap();
    assert_eq!(next_event(&mut events).await.r#type(), EventType::ConfigApplied);
    server.stop().await;
}

/// More events than a stream's outbox and the window below hold together.
const FLOOD: usize = 1000;
/// The number of bytes of a stream that its client accepts without reading them.
const WINDOW: u32 = 16 * 1024;

#[tokio::test]
async fn a_stream_that_is_not_read_is_told_how_much_it_missed() {
    let server = Server::start().await;
    let (mut writer, session) = server.register("shop-1").await;
    let channel = server.endpoint().initial_stream_window_size(WINDOW).connect().await.unwrap();
    let mut events = subscribe(&mut RegistryClient::new(channel), &session, &[ALL], None).await;
    let targets = vec!["ALL".to_owned()];
    let enter = EnterMaintenanceRequest { session_id: session.clone(), targets, page_url: None };
    let mut seen = 0;
    for _ in 0..FLOOD {
        match writer.enter_maintenance(enter.clone()).await {
            Ok(_) => seen += 1,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
    assert!(seen > 0);
    loop {
        match next_item(&mut events).await {
            Item::Lagged(lagged) => break assert!(lagged.missed > 0),
            Item::Event(_) | Item::Heartbeat(_) => {}
            Item::Compacted(_) => panic!("nothing was asked for"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_maintenance_request_is_seen_through_though_its_caller_has_gone() {
    let server = Server::start().await;
    server.world.answers.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut client, session) = server.serving("shop-1").await;
    let targets = || vec!["ALL".to_owned()];
    let enter = EnterMaintenanceRequest { session_id: session.clone(), targets: targets(), page_url: None };
    client.enter_maintenance(enter).await.unwrap();
    let mut events = subscribe(&mut client, &session, &[ALL], None).await;
    let held = server.world.hold.lock().await;
    // A command that the store holds up keeps the next one waiting.
    let (mut blocked, id) = (client.clone(), session.clone());
    let stuck = tokio::spawn(async move {
        add(&mut blocked, &id, "a.example").await;
    });
    let (mut asking, id) = (client.clone(), session.clone());
    let (asked, was_asked) = oneshot::channel();
    let call = tokio::spawn(async move {
        let _ = asked.send(());
        asking.exit_maintenance(ExitMaintenanceRequest { session_id: id, targets: targets() }).await
    });
    was_asked.await.unwrap();
    // A later call on the same connection is answered, so this one has arrived.
    client.ping(PingRequest { session_id: session.clone() }).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    client.ping(PingRequest { session_id: session.clone() }).await.unwrap();
    drop(held);
    stuck.await.unwrap();
    let left = MaintenanceChanged { target: "ALL".to_owned(), in_maintenance: false };
    assert_eq!(next_payload(&mut events).await, Payload::MaintenanceChanged(left));
    server.stop().await;
}
