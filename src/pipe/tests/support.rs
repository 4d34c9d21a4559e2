//! A server with fakes behind it, and a client that waits for expected lines.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::connection::Connection;
use super::super::{PipeSettings, serve};
use crate::connection_limits::{self, PortConnections};
use crate::domain::{Catalog, Change, PageUrl, SessionKey, Span};
use crate::lifecycle::Lifecycle;
use crate::memory_budget::MemoryBudget;
use crate::registry::{
    AuditBatch, BoxFuture, PageResponse, PageTrust, Publish, RegistrationTokens, Registry, RegistryLimits, Store,
    StoreError, StoredState, Traffic, open,
};

/// Settings and records of the fakes.
#[derive(Default)]
pub(super) struct World {
    /// The number of batches stored.
    pub(super) commits: AtomicUsize,
    /// True if the store refuses.
    pub(super) store_fails: AtomicBool,
    /// True if backends and pages answer.
    pub(super) answers: AtomicBool,
    /// The pages that were requested.
    pub(super) asked: Mutex<Vec<String>>,
}

struct Memory(Arc<World>);

impl Store for Memory {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        Ok(StoredState::default())
    }

    async fn commit(&mut self, _: &[Change], _: &AuditBatch, _: u64) -> Result<(), StoreError> {
        if self.0.store_fails.load(Ordering::Relaxed) {
            return Err(StoreError("the disk is full".into()));
        }
        self.0.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn close(self) {}
}

struct Nowhere;

impl Publish for Nowhere {
    fn publish(&mut self, _: &Arc<Catalog>, _: &[Change]) {}
}

impl Traffic for World {
    fn get<'a>(
        &'a self,
        _: SessionKey,
        page: &'a PageUrl,
        _: Span,
        _: PageTrust,
    ) -> BoxFuture<'a, Result<PageResponse, String>> {
        self.asked.lock().unwrap().push(page.as_str().to_owned());
        let answer = if self.answers.load(Ordering::Relaxed) {
            Ok(PageResponse { status: 200, took: Span::from_millis(3), tls_valid: false })
        } else {
            Err("connection refused".to_owned())
        };
        Box::pin(async { answer })
    }
}

/// Returns settings with these limits on connections.
pub(super) fn connection_limits(all: usize, of_origin: usize) -> PipeSettings {
    PipeSettings {
        max_line: 1024 * 1024,
        max_reply: 64 * 1024,
        line_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_mins(5),
        connections: PortConnections::new(connection_limits::ConnectionLimits { all, of_origin }, Vec::new()),
        api: None,
        memory: MemoryBudget::default(),
    }
}

/// Returns settings with room for many connections.
pub(super) fn settings() -> PipeSettings {
    connection_limits(10_000, 7_500)
}

/// A pipe with its registry.
pub(super) struct Server {
    pub(super) registry: Registry,
    pub(super) world: Arc<World>,
    pub(super) doors: Lifecycle,
    settings: PipeSettings,
    address: Option<std::net::SocketAddr>,
    writer: Lifecycle,
}

impl Server {
    /// Starts a server on a socket with default settings.
    pub(super) async fn start() -> Self {
        Self::start_with(settings()).await
    }

    pub(super) async fn start_with(settings: PipeSettings) -> Self {
        let mut server = Self::without_socket(settings.clone()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        server.address = Some(listener.local_addr().unwrap());
        let shared = std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(settings));
        server.doors.spawn("pipe", serve(listener, None, server.registry.clone(), shared, server.doors.clone(), nonce));
        server
    }

    /// Starts a server without a socket; [`Server::pair`] makes its connections.
    pub(super) async fn without_socket(settings: PipeSettings) -> Self {
        let world = Arc::new(World::default());
        let traffic = Arc::clone(&world);
        let opened = open(
            Memory(Arc::clone(&world)),
            Nowhere,
            traffic,
            RegistryLimits::default(),
            RegistrationTokens::default(),
        )
        .await;
        let (registry, task) = opened.unwrap();
        let writer = Lifecycle::new();
        writer.spawn("writer", task.run(writer.stopping().clone()));
        Self { registry, world, doors: Lifecycle::new(), settings, address: None, writer }
    }

    /// Connects a new client over a socket.
    pub(super) async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address.unwrap()).await.unwrap())
    }

    /// Connects a new client over a pair of pipes that hold `bytes` bytes.
    pub(super) fn pair(&self, bytes: usize) -> Client<DuplexStream> {
        self.pair_with(bytes, nonce)
    }

    /// Connects a new client over a pair of pipes, with its own source of nonces.
    pub(super) fn pair_with(&self, bytes: usize, nonce: fn() -> u128) -> Client<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(bytes);
        let place = self.settings.connections.accept(std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        let connection =
            Connection::new(theirs, place, self.registry.clone(), self.settings.clone(), self.doors.clone(), nonce);
        self.doors.spawn_one("pipe connection", async move {
            connection.run().await;
        });
        Client::new(ours)
    }

    /// Sends a line on a new connection, as `nc` does, and returns all that comes back.
    pub(super) async fn once(&self, line: &str) -> String {
        let mut client = self.connect().await;
        client.send(format!("{line}\n")).await;
        client.rest().await
    }

    /// Connects a client and opens a session for it.
    pub(super) async fn register(&self, instance: &str) -> (Client<TcpStream>, String) {
        let mut client = self.connect().await;
        let id = client.register(instance).await;
        (client, id)
    }

    /// Waits until `holds` returns true.
    pub(super) async fn until(&self, mut holds: impl FnMut(&Catalog) -> bool) {
        let wait = async {
            while !holds(&self.registry.catalog()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("it never came to hold");
    }

    /// Tells the pipe that the server stops; the registry continues.
    pub(super) fn begin_to_stop(&self) {
        self.registry.announce_shutdown();
        self.doors.stopping().cancel();
    }

    pub(super) async fn stop(self) {
        assert!(self.doors.end(PATIENCE).await && self.writer.end(PATIENCE).await, "everything ends");
    }
}

/// The time that a test waits for an expected line.
const PATIENCE: Duration = Duration::from_secs(10);

static NONCES: AtomicU64 = AtomicU64::new(1);

fn nonce() -> u128 {
    NONCES.fetch_add(1, Ordering::Relaxed).into()
}

/// A client of the pipe protocol.
pub(super) struct Client<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Returns the next line without its end; `None` after the server has closed.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        timeout(Duration::from_hours(1), read).await.expect("a line in time").unwrap();
        line.strip_suffix('\n').map(ToOwned::to_owned)
    }

    pub(super) async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n")).await;
        self.line().await.expect("a reply")
    }

    pub(super) async fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line).await, reply, "{line}");
    }

    pub(super) async fn register(&mut self, instance: &str) -> String {
        let reply = self.ask(&format!("REGISTER|shop|{instance}|9001")).await;
        reply.strip_prefix("ACK|").expect(&reply).to_owned()
    }

    /// Stops sending, and returns all that comes until the server closes.
    pub(super) async fn rest(&mut self) -> String {
        self.stream.shutdown().await.unwrap();
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await.unwrap();
        rest
    }
}
