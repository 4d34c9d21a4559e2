//! The real program through its gRPC interface: traffic follows, the pipe sees the same sessions, and all of it
//! survives a restart.

use signalbox::grpc::proto::event::Payload;
use signalbox::grpc::proto::registry_client::RegistryClient;
use signalbox::grpc::proto::subscribe_response::Item;
use signalbox::grpc::proto::*;
use tonic::Code;
use tonic::transport::Channel;

use super::support::{next, next_event, next_item, plainly, register, subscribe, told};
use crate::server::{Backend, Server, eventually};

async fn connect(server: &Server) -> RegistryClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", server.api)).unwrap();
    RegistryClient::new(endpoint.connect().await.unwrap())
}

/// Adds a route to `backend` and applies it.
async fn serve(client: &mut RegistryClient<Channel>, session: &str, domain: &str, backend: &Backend) {
    let backend_url = format!("http://{}", backend.address);
    let route = Some(NewRoute { backend_url, ..super::support::route(domain, "/") });
    client.add_route(AddRouteRequest { session_id: session.to_owned(), route }).await.unwrap();
    apply(client, session).await;
}

async fn apply(client: &mut RegistryClient<Channel>, session: &str) {
    let request = ApplyConfigRequest { session_id: session.to_owned(), expected_revision: None, ..Default::default() };
    client.apply_config(request).await.unwrap();
}

/// Waits on another thread: a client that stands still cannot answer the server's goodbye.
async fn off_thread<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(wait).await.unwrap()
}

#[tokio::test]
async fn applied_routes_serve_and_traffic_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (server, backend) = (Server::start(folder.path()), Backend::start("blue"));
    let mut client = connect(&server).await;
    let session = register(&mut client, "shop-1").await;
    let mut events = subscribe(&mut client, &session, &[EventType::All.into()], None).await;
    serve(&mut client, &session, "shop.example", &backend).await;
    assert_eq!(server.get("shop.example", "/x"), (200, "blue: GET /x HTTP/1.1".to_owned()));
    let stats = || GetStatsRequest { session_id: session.clone(), target: Some("r1".to_owned()) };
    // The answer is counted once its body is gone.
    while client.get_stats(stats()).await.unwrap().get_ref().routes[0].requests == 0 {}
    let backend_url = format!("http://{}", backend.address);
    let test = TestBackendRequest { session_id: session.clone(), backend_url };
    let tested = client.test_backend(test).await.unwrap().into_inner().result;
    assert!(matches!(tested, Some(test_backend_response::Result::Reachable(_))), "{tested:?}");
    let enter = EnterMaintenanceRequest {
        session_id: session.clone(),
        targets: vec!["shop.example".to_owned()],
        page_url: None,
    };
    client.enter_maintenance(enter).await.unwrap();
    assert_eq!(server.get("shop.example", "/").0, 503);
    let exit = ExitMaintenanceRequest { session_id: session.clone(), targets: vec!["ALL".to_owned()] };
    client.exit_maintenance(exit).await.unwrap();
    loop {
        let event = next_event(&mut events).await;
        if matches!(&event.payload, Some(Payload::MaintenanceChanged(changed)) if !changed.in_maintenance) {
            break;
        }
    }
    assert_eq!(server.get("shop.example", "/").0, 200);
}

#[tokio::test]
async fn the_pipe_and_the_stream_take_a_session_over_from_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = connect(&server).await;
    let session = register(&mut client, "shop-1").await;
    let mut events = subscribe(&mut client, &session, &[EventType::All.into()], None).await;
    let mut pipe = server.connect();
    assert_eq!(pipe.ask(&format!("RECONNECT|{session}")), "OK");
    let ended = next(&mut events).await.unwrap_err();
    assert_eq!(told(&ended), plainly(Code::Aborted, "CONFLICT"));
    let again = subscribe(&mut client, &session, &[], None).await;
    assert_eq!(pipe.ask(&format!("PING|{session}")), "PONG", "the connection lives on, only unbound");
    drop(again);
}

#[tokio::test]
async fn a_session_survives_the_end_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let (server, backend) = (Server::start(folder.path()), Backend::start("blue"));
    let mut client = connect(&server).await;
    let session = register(&mut client, "shop-1").await;
    let mut events = subscribe(&mut client, &session, &[EventType::ConfigApplied.into()], None).await;
    serve(&mut client, &session, "shop.example", &backend).await;
    let last = next_event(&mut events).await.sequence;
    server.kill();
    assert!(next(&mut events).await.is_err());

    let server = Server::start(folder.path());
    assert_eq!(server.get("shop.example", "/").0, 200);
    let mut client = connect(&server).await;
    client.reconnect(ReconnectRequest { session_id: session.clone() }).await.unwrap();
    let mut events = subscribe(&mut client, &session, &[], Some(last)).await;
    serve(&mut client, &session, "new.example", &backend).await;
    let event = match next_item(&mut events).await {
        Item::Event(event) => event,
        // Events from before the restart may be lost, but the stream must say so.
        Item::Compacted(_) => next_event(&mut events).await,
        Item::Lagged(_) | Item::Heartbeat(_) => panic!("it has something to tell"),
    };
    assert!(event.sequence > last, "sequences go on where they were");
    assert_eq!(event.payload, Some(Payload::ConfigApplied(ConfigApplied { revision: 2 })));

    server.signal("TERM");
    let ended = next(&mut events).await.unwrap_err();
    assert_eq!(told(&ended), plainly(Code::Unavailable, "UNAVAILABLE"));
    assert!(off_thread(move || server.wait()).await.success());
}

#[tokio::test]
async fn no_session_id_is_written_to_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Server::command(folder.path());
    command.args(["--log-level", "trace"]);
    let server = Server::launch(command, folder.path());
    let mut client = connect(&server).await;
    let session = register(&mut client, "shop-1").await;
    let events = subscribe(&mut client, &session, &[EventType::All.into()], None).await;
    client.list_routes(ListRoutesRequest { session_id: session.clone() }).await.unwrap();
    let nobody = PingRequest { session_id: "shop-1-1-ffffffffffffffff".to_owned() };
    client.ping(nobody).await.unwrap_err();
    apply(&mut client, &session).await;
    drop((events, client));
    let log = server.log.clone();
    eventually("the log has something", || std::fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    assert!(off_thread(move || server.terminate()).await.success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("h2::"), "also what libraries say is looked at");
    let secret = session.rsplit('-').next().unwrap();
    assert!(!log.contains(secret) && !log.contains("ffffffffffffffff"), "{log}");
}

#[tokio::test]
async fn a_backup_comes_whole_and_an_export_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let session = register(&mut connect(&server).await, "shop-1").await;
    let endpoint = Channel::from_shared(format!("http://{}", server.api)).unwrap();
    let mut operator = operator_client::OperatorClient::new(endpoint.connect().await.unwrap());
    let mut pieces = operator.backup(BackupRequest {}).await.unwrap().into_inner();
    let mut backup = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        backup.extend(piece.content);
    }
    assert_eq!(signalbox::backup::verify(&*backup).unwrap().sessions, 1);
    let document = operator.export(ExportRequest {}).await.unwrap().into_inner().document;
    assert!(document.contains("shop-1") && !document.contains(&session), "{document}");
    let import = |document: String| ImportRequest { document, dry_run: true, partial: false };
    let outcome = operator.import(import(document)).await.unwrap().into_inner();
    assert_eq!((outcome.refused, outcome.instances[0].outcome.as_str()), (1, "refused"));
    let wrong = operator.import(import("{}".to_owned())).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}
