//! Connections to backends: idle ones kept for the next request, new ones made.
//!
//! What must hold: a connection comes back only when its response was read to the end and its request sent to the end,
//! and to the clients in general only while nobody has begun to log in on it; idle ones are bounded in number and in time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Settings;
use super::body::RequestBody;
use super::dial::{Unreachable, dial};
use super::forward::Client;
use super::link::{Allowance, HEAD_BYTES_MAX, Link};
use super::phase::Ticks;
use super::worker::Worker;
use crate::clock;
use crate::domain::Scheme;
use crate::lifecycle;
use crate::traffic::Endpoint;

type Sender = http1::SendRequest<RequestBody>;
// hyper does not name the type of an upgradable connection.
type Connection = dyn Future<Output = hyper::Result<()>>;

/// A worker's connections by backend.
pub(super) struct Pools {
    // By `Endpoint::origin_hash`; a list because hashes may collide.
    backends: RefCell<HashMap<u64, Vec<Rc<Idle>>, BuildHasherDefault<Hashed>>>,
    // The tick at which trouble with TLS was last told of, also by `Endpoint::origin_hash`.
    told: RefCell<HashMap<u64, u32, BuildHasherDefault<Hashed>>>,
    idle_max: usize,
    idle_ticks_max: u32,
}

/// The idle connections to one backend.
pub(super) struct Idle {
    host: Box<str>,
    port: u16,
    security: Security,
    // With the tick since when.
    connections: RefCell<Vec<(Made, u32)>>,
    max: usize,
}

/// A connection, and the tick from which on it carries no further request: one to a name outlives what was known of
/// the name by no more than that, so that a changed address is picked up however busy the old one is.
struct Made {
    sender: Sender,
    driver: Driver,
    allowance: Arc<Allowance>,
    retires: u32,
}

/// What may be taken for granted of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    None,
    Tls { verified: bool },
}

impl Security {
    fn of(endpoint: &Endpoint) -> Self {
        match endpoint.backend().scheme() {
            Scheme::Http => Self::None,
            Scheme::Https => Self::Tls { verified: endpoint.options().tls_verify },
        }
    }
}

/// What moves a connection's bytes. Polled by the request it carries, so that one task does the work of both sides;
/// or, where both bodies may be under way at once, a task of its own. Empty when that is so or the connection has ended.
struct Driver(Option<Pin<Box<Connection>>>);

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) {
        // How it ended is told to whoever waits for the response.
        if self.0.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            self.0 = None;
        }
    }

    fn detach(&mut self) {
        if let Some(connection) = self.0.take() {
            lifecycle::spawn_local(async move {
                let _ = connection.await;
            });
        }
    }
}

/// A connection to a backend, taken for one request.
pub(super) struct Upstream {
    made: Made,
    home: Rc<Idle>,
    // Whether it has carried a request before.
    reused: bool,
    // Whether somebody logs in on it: see `logins`.
    bound: bool,
}

impl Pools {
    pub(super) fn new(settings: &Settings) -> Self {
        let idle_ticks_max = Ticks::steps(settings.pool_idle);
        Self { backends: RefCell::default(), told: RefCell::default(), idle_max: settings.pool_max, idle_ticks_max }
    }

    /// The idle connections to an endpoint's backend.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Rc<Idle> {
        let mut backends = self.backends.borrow_mut();
        let same_hash = backends.entry(endpoint.origin_hash).or_default();
        if let Some(known) = same_hash.iter().find(|idle| idle.is_of(endpoint)) {
            return Rc::clone(known);
        }
        let (host, port, security) = (endpoint.backend().host(), endpoint.backend().port(), Security::of(endpoint));
        let connections = RefCell::default();
        let new = Rc::new(Idle { host: host.into(), port, security, connections, max: self.idle_max });
        same_hash.push(Rc::clone(&new));
        new
    }

    /// Closes what has been idle for too long, and forgets backends without connections.
    pub(super) fn sweep(&self, now: u32) {
        self.backends.borrow_mut().retain(|_, same_hash| {
            same_hash.retain(|idle| {
                let fresh = |since: u32| now.saturating_sub(since) <= self.idle_ticks_max;
                idle.connections.borrow_mut().retain_mut(|(made, since)| {
                    // Nobody else looks whether the backend has closed it.
                    made.driver.poll(&mut Context::from_waker(Waker::noop()));
                    !made.sender.is_closed() && fresh(*since) && now < made.retires
                });
                Rc::strong_count(idle) > 1 || !idle.connections.borrow().is_empty()
            });
            !same_hash.is_empty()
        });
        self.told.borrow_mut().retain(|_, at| now.saturating_sub(*at) < Ticks::steps(TELL_EVERY));
    }

    /// Tells whoever operates this what is wrong with a backend's TLS, but not for every request.
    fn tell(&self, endpoint: &Endpoint, why: &Unreachable, now: u32) {
        if why.is_of_tls() && !self.told.borrow().contains_key(&endpoint.origin_hash) {
            self.told.borrow_mut().insert(endpoint.origin_hash, now);
            tracing::warn!(route = %endpoint.id(), backend = %endpoint.backend(), "502: {why}");
        }
    }
}

impl Idle {
    fn is_of(&self, endpoint: &Endpoint) -> bool {
        let backend = endpoint.backend();
        *self.host == *backend.host() && (self.port, self.security) == (backend.port(), Security::of(endpoint))
    }

    /// The connection that became idle last: its backend is the least likely to have closed it.
    fn take(&self) -> Option<Made> {
        self.connections.borrow_mut().pop().map(|(made, _)| made)
    }

    fn put(&self, made: Made, now: u32) {
        let mut connections = self.connections.borrow_mut();
        if connections.len() < self.max && !made.sender.is_closed() && now < made.retires {
            connections.push((made, now));
        }
    }
}

impl Made {
    /// Finds out if it can carry a request at once. Not waited for: one whose backend answered before it had read its request may
    /// never become ready.
    async fn is_ready(&mut self) -> bool {
        let ready = poll_fn(|cx| {
            self.driver.poll(cx);
            Poll::Ready(self.sender.poll_ready(cx))
        });
        matches!(ready.await, Poll::Ready(Ok(())))
    }
}

impl Upstream {
    /// The client's own connection to the backend, an idle one, or a new one; always a new one where it must be `fresh`.
    pub(super) async fn get(
        worker: &Worker,
        client: &Client,
        endpoint: &Endpoint,
        fresh: bool,
    ) -> Result<Self, Unreachable> {
        let home = worker.pools.of(endpoint);
        if !fresh
            && let Some(mut own) = client.logins.take(&home)
            && own.made.is_ready().await
        {
            own.reused = true;
            return Ok(own);
        }
        while !fresh && let Some(mut made) = home.take() {
            if made.is_ready().await {
                return Ok(Self { made, home, reused: true, bound: false });
            }
        }
        Self::new(worker, endpoint, home).await
    }

    async fn new(worker: &Worker, endpoint: &Endpoint, home: Rc<Idle>) -> Result<Self, Unreachable> {
        let made = connection(worker, endpoint, home.security).await;
        let now = worker.ticks.now();
        let (sender, driver, allowance) =
            made.inspect_err(|unreachable| worker.pools.tell(endpoint, unreachable, now))?;
        let named = endpoint.backend().address().is_none();
        let retires = if named { now.saturating_add(Ticks::steps(NAMED_FOR)) } else { u32::MAX };
        Ok(Self { made: Made { sender, driver, allowance, retires }, home, reused: false, bound: false })
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        if request.body().sending().is_some() {
            // A client that sends all before it reads anything would hold up the rest of its own upload.
            self.detach();
        }
        self.made.allowance.await_head();
        let mut sent = pin!(self.made.sender.try_send_request(request));
        let head = poll_fn(|cx| {
            self.made.driver.poll(cx);
            sent.as_mut().poll(cx)
        })
        .await?;
        self.made.allowance.lift();
        Ok(head)
    }

    /// Whether it had carried a request before and ended without a word to this one.
    pub(super) fn has_died(&self) -> bool {
        self.reused && !self.made.allowance.has_heard()
    }

    /// Moves what there is to be moved.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        self.made.driver.poll(cx);
    }

    /// The connection changes protocols, and moves by itself.
    pub(super) fn tunnel(&mut self) {
        self.made.allowance.tunnel();
        self.detach();
    }

    /// Has the connection move by itself from here on.
    fn detach(&mut self) {
        self.made.driver.detach();
    }

    /// Somebody logs in on the connection: from here on it is for one client connection alone.
    pub(super) fn bind(&mut self) {
        self.bound = true;
    }

    /// True for one of these.
    pub(super) fn is_at_home(&self, home: &Rc<Idle>) -> bool {
        Rc::ptr_eq(&self.home, home)
    }

    /// True if it could carry requests for the endpoint.
    pub(super) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        self.home.is_of(endpoint)
    }

    /// Gives the connection back: to its client if somebody logs in on it, or else to all.
    pub(super) fn release(self, client: &Client, now: u32) {
        if self.bound {
            client.logins.put(self);
        } else {
            self.home.put(self.made, now);
        }
    }
}

/// How long a connection to a name is used again.
const NAMED_FOR: Duration = Duration::from_secs(10);

type Spoken = (Sender, Driver, Arc<Allowance>);

async fn connection(worker: &Worker, endpoint: &Endpoint, security: Security) -> Result<Spoken, Unreachable> {
    let end = clock::instant() + endpoint.options().connect_timeout.std();
    let backend = endpoint.backend();
    let socket = dial(&worker.resolver, endpoint.session, backend, end).await?;
    match security {
        Security::None => speak(socket).await,
        Security::Tls { verified } => speak(worker.settings.tls.shake(socket, backend, verified, end).await?).await,
    }
}

/// Begins to speak HTTP. What it is spoken over is settled here, once for the life of the connection.
async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Result<Spoken, Unreachable> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (link, allowance) = Link::new(stream);
    let (sender, connection) = builder.handshake(TokioIo::new(link)).await.map_err(std::io::Error::other)?;
    Ok((sender, Driver(Some(Box::pin(connection.with_upgrades()))), allowance))
}

/// How often trouble with one backend's TLS is told of.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// For keys that are hashes already.
#[derive(Default)]
struct Hashed(Cell<u64>);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0.get()
    }

    fn write(&mut self, bytes: &[u8]) {
        let word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.0.set(word);
    }

    fn write_u64(&mut self, word: u64) {
        self.0.set(word);
    }
}
