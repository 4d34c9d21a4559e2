//! A server of the gRPC interface alone, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use signalbox::api_listener::ClientTimeouts;
use signalbox::domain::{Catalog, Change, PageUrl, RouteId, Session, SessionKey, Span};
use signalbox::grpc::proto::event::Payload;
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::registry_client::RegistryClient;
use signalbox::grpc::proto::subscribe_response::Item;
use signalbox::grpc::proto::{
    AddRouteRequest, ApplyConfigRequest, Event, NewRoute, RegisterRequest, SubscribeRequest, SubscribeResponse,
};
use signalbox::grpc::{self, GrpcSettings};
use signalbox::lifecycle::Lifecycle;
use signalbox::operator_auth::OperatorAuth;
use signalbox::registry::queries::views::RouteNumbers;
use signalbox::registry::{
    AuditBatch, BoxFuture, PageResponse, Publish, RegistrationTokens, Registry, RegistryLimits, Store, StoreError,
    StoredState, Traffic, open,
};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

pub use crate::support::PATIENCE;

/// The calls that the fakes have seen, and the way they behave.
#[derive(Default)]
pub struct World {
    /// True if the store refuses every commit.
    pub store_fails: AtomicBool,
    /// Whoever holds it keeps the store from answering.
    pub hold: Mutex<()>,
    /// True if backends and pages answer.
    pub answers: AtomicBool,
}

struct Memory(Arc<World>);

impl Store for Memory {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        Ok(StoredState::default())
    }

    async fn commit(&mut self, _: &[Change], _: &AuditBatch, _: u64) -> Result<(), StoreError> {
        drop(self.0.hold.lock().await);
        if self.0.store_fails.load(Ordering::Relaxed) {
            return Err(StoreError("the disk is full".into()));
        }
        Ok(())
    }

    async fn close(self) {}
}

struct Nowhere;

impl Publish for Nowhere {
    fn publish(&mut self, _: &Arc<Catalog>, _: &[Change]) {}
}

impl Traffic for World {
    fn numbers(&self, _: SessionKey, _: RouteId) -> RouteNumbers {
        RouteNumbers { requests: 3, status_codes: [(200, 2), (502, 1)].into(), ..RouteNumbers::default() }
    }

    fn get<'a>(
        &'a self,
        _: SessionKey,
        _: &'a PageUrl,
        _: Span,
        _: signalbox::registry::PageTrust,
    ) -> BoxFuture<'a, Result<PageResponse, String>> {
        let answer = if self.answers.load(Ordering::Relaxed) {
            Ok(PageResponse { status: 200, took: Span::from_millis(3), tls_valid: false })
        } else {
            Err("connection refused".to_owned())
        };
        Box::pin(async { answer })
    }
}

/// The settings of a server.
pub struct Setup {
    pub limits: RegistryLimits,
    pub max_body: usize,
    pub operators: OperatorAuth,
    pub grants: RegistrationTokens,
    pub keep_alive: Duration,
    pub patience: ClientTimeouts,
}

impl Default for Setup {
    fn default() -> Self {
        let (limits, operators, grants) =
            (RegistryLimits::default(), OperatorAuth::default(), RegistrationTokens::default());
        let (keep_alive, patience) = (Duration::from_hours(1), ClientTimeouts::default());
        Self { limits, max_body: 1024 * 1024, operators, grants, keep_alive, patience }
    }
}

/// A running interface.
pub struct Server {
    pub registry: Registry,
    pub world: Arc<World>,
    pub address: SocketAddr,
    interfaces: Lifecycle,
    writer: Lifecycle,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub async fn start_with(setup: Setup) -> Self {
        let world = Arc::new(World::default());
        let (store, traffic) = (Memory(Arc::clone(&world)), Arc::clone(&world));
        let (registry, task) = open(store, Nowhere, traffic, setup.limits, setup.grants).await.unwrap();
        let (writer, interfaces) = (Lifecycle::new(), Lifecycle::new());
        writer.spawn("writer", task.run(writer.stopping().clone()));
        let settings =
            GrpcSettings { max_body: setup.max_body, nonce, keep_alive: setup.keep_alive, requests: <_>::default() };
        let routes = grpc::routes(registry.clone(), Arc::new(setup.operators), interfaces.clone(), &settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = signalbox::connection_limits::ConnectionLimits { all: 100, of_origin: 100 };
        let connections = signalbox::connection_limits::PortConnections::new(limits, Vec::new());
        let bounds = signalbox::api_listener::ApiBounds {
            timeouts: setup.patience,
            ..signalbox::api_listener::ApiBounds::new(connections, signalbox::memory_budget::MemoryBudget::default())
        };
        let services = Arc::new(arc_swap::ArcSwap::from_pointee(only(routes)));
        interfaces.spawn("api", signalbox::api_listener::serve(listener, None, services, bounds, interfaces.clone()));
        Self { registry, world, address, interfaces, writer }
    }

    pub async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    pub fn endpoint(&self) -> Endpoint {
        Channel::from_shared(format!("http://{}", self.address)).unwrap()
    }

    pub async fn client(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.channel().await)
    }

    pub async fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel().await)
    }

    /// A client with a new session.
    pub async fn register(&self, instance: &str) -> (RegistryClient<Channel>, String) {
        let mut client = self.client().await;
        let session = register(&mut client, instance).await;
        (client, session)
    }

    /// A client with a session that has one active route.
    pub async fn serving(&self, instance: &str) -> (RegistryClient<Channel>, String) {
        let (mut client, session_id) = self.register(instance).await;
        let route = Some(route("shop.example", "/"));
        client.add_route(AddRouteRequest { session_id: session_id.clone(), route }).await.unwrap();
        let apply =
            ApplyConfigRequest { session_id: session_id.clone(), expected_revision: None, ..Default::default() };
        client.apply_config(apply).await.unwrap();
        (client, session_id)
    }

    /// Waits until a session is as it is to be.
    pub async fn until(&self, session: &str, holds: impl Fn(&Session) -> bool) {
        let wait = async {
            while !self.registry.catalog().session(session).is_ok_and(|session| holds(session)) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("it never came to hold");
    }

    /// Stops as the program does: clients are told, then the interfaces close, then the store.
    pub async fn stop(self) {
        self.registry.announce_shutdown();
        assert!(self.interfaces.end(PATIENCE).await, "all that the interface runs ends");
        assert!(self.writer.end(PATIENCE).await, "the writer ends");
    }
}

static NONCES: AtomicU64 = AtomicU64::new(1);

fn nonce() -> u128 {
    NONCES.fetch_add(1, Ordering::Relaxed).into()
}

pub async fn register(client: &mut RegistryClient<Channel>, instance: &str) -> String {
    client.register(registration(instance)).await.unwrap().into_inner().session_id
}

pub fn registration(instance: &str) -> RegisterRequest {
    RegisterRequest {
        service_name: "shop".to_owned(),
        instance_name: instance.to_owned(),
        maintenance_port: 9001,
        metadata: None,
        token: None,
        lease: None,
    }
}

pub fn route(domain: &str, path: &str) -> NewRoute {
    NewRoute {
        domains: vec![domain.to_owned()],
        path: path.to_owned(),
        backend_url: "http://127.0.0.1:3000".to_owned(),
        priority: 0,
    }
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Opens a stream of a session.
pub async fn subscribe(
    client: &mut RegistryClient<Channel>,
    session: &str,
    types: &[i32],
    after: Option<u64>,
) -> Streaming<SubscribeResponse> {
    let request = SubscribeRequest { session_id: session.to_owned(), types: types.to_vec(), after };
    // That there is an answer shows that the head came without waiting for an event.
    timeout(PATIENCE, client.subscribe(request)).await.expect("a head at once").unwrap().into_inner()
}

/// Returns the next item of a stream, or `None` if it ended without an error.
pub async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    timeout(PATIENCE, stream.message()).await.expect("something in time")
}

pub async fn next_item(stream: &mut Streaming<SubscribeResponse>) -> Item {
    next(stream).await.unwrap().expect("a message").item.expect("something in it")
}

pub async fn next_event(stream: &mut Streaming<SubscribeResponse>) -> Event {
    match next_item(stream).await {
        Item::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

pub async fn next_payload(stream: &mut Streaming<SubscribeResponse>) -> Payload {
    next_event(stream).await.payload.expect("a payload")
}

/// The code, the reason and the fields of a refusal.
pub fn told(status: &Status) -> (Code, String, Vec<String>) {
    let info = status.get_details_error_info().expect("every refusal has its reason");
    assert_eq!(info.domain, "signalbox");
    let fields = status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
    (status.code(), info.reason, fields.into_iter().map(|violation| violation.field).collect())
}

/// A refusal without a field.
pub fn plainly(code: Code, reason: &str) -> (Code, String, Vec<String>) {
    (code, reason.to_owned(), Vec::new())
}

/// A refusal of one field.
pub fn wrong(field: &str) -> (Code, String, Vec<String>) {
    (Code::InvalidArgument, "INVALID".to_owned(), vec![field.to_owned()])
}

/// The gRPC interface alone.
fn only(routes: axum::Router) -> signalbox::api_listener::ApiServices {
    signalbox::api_listener::ApiServices {
        is_grpc: signalbox::grpc::is_call,
        grpc: routes,
        rest: axum::Router::new(),
        hosts: signalbox::operator_auth::AllowedHosts::default(),
        trusted_proxies: Vec::new(),
        refuse_grpc: signalbox::grpc::refuse,
        refuse_rest: signalbox::rest::refuse,
    }
}
