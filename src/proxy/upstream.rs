//! Connections to backends: idle ones kept for the next request, new ones made.
//!
//! What must hold: a connection comes back only when its response was read to the end and its request sent to the end;
//! idle ones are bounded in number and in time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::Settings;
use super::body::RequestBody;
use super::dial::{Unreachable, dial};
use super::phase::Ticks;
use super::worker::Worker;
use crate::lifecycle;
use crate::traffic::Endpoint;

pub(super) type Sender = http1::SendRequest<RequestBody>;

/// A worker's connections by backend.
pub(super) struct Pools {
    // By `Endpoint::origin_hash`; a list because hashes may collide.
    backends: RefCell<HashMap<u64, Vec<Rc<Idle>>, BuildHasherDefault<Hashed>>>,
    idle_max: usize,
    idle_ticks_max: u32,
}

/// The idle connections to one backend.
pub(super) struct Idle {
    host: Box<str>,
    port: u16,
    senders: RefCell<Vec<(Sender, u32)>>,
    max: usize,
}

/// A connection to a backend, taken for one request.
pub(super) struct Upstream {
    pub(super) sender: Sender,
    pub(super) home: Rc<Idle>,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
}

impl Pools {
    pub(super) fn new(settings: &Settings) -> Self {
        let idle_ticks_max = Ticks::steps(settings.pool_idle);
        Self { backends: RefCell::default(), idle_max: settings.pool_max, idle_ticks_max }
    }

    /// The idle connections to an endpoint's backend.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Rc<Idle> {
        let (host, port) = (endpoint.backend().host(), endpoint.backend().port());
        let mut backends = self.backends.borrow_mut();
        let same_hash = backends.entry(endpoint.origin_hash).or_default();
        if let Some(known) = same_hash.iter().find(|idle| &*idle.host == host && idle.port == port) {
            return Rc::clone(known);
        }
        let new = Rc::new(Idle { host: host.into(), port, senders: RefCell::default(), max: self.idle_max });
        same_hash.push(Rc::clone(&new));
        new
    }

    /// Closes what has been idle for too long, and forgets backends without connections.
    pub(super) fn sweep(&self, now: u32) {
        self.backends.borrow_mut().retain(|_, same_hash| {
            same_hash.retain(|idle| {
                let fresh = |since: u32| now.saturating_sub(since) <= self.idle_ticks_max;
                idle.senders.borrow_mut().retain(|(sender, since)| !sender.is_closed() && fresh(*since));
                Rc::strong_count(idle) > 1 || !idle.senders.borrow().is_empty()
            });
            !same_hash.is_empty()
        });
    }
}

impl Idle {
    /// The connection that became idle last: its backend is the least likely to have closed it.
    fn take(&self) -> Option<Sender> {
        let mut senders = self.senders.borrow_mut();
        while let Some((sender, _)) = senders.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn put(&self, sender: Sender, now: u32) {
        let mut senders = self.senders.borrow_mut();
        if senders.len() < self.max && !sender.is_closed() {
            senders.push((sender, now));
        }
    }
}

impl Upstream {
    /// An idle connection, or a new one; always a new one where it must be `fresh`.
    pub(super) async fn get(worker: &Worker, endpoint: &Endpoint, fresh: bool) -> Result<Self, Unreachable> {
        let home = worker.pools.of(endpoint);
        while !fresh && let Some(mut sender) = home.take() {
            if sender.ready().await.is_ok() {
                return Ok(Self { sender, home, reused: true });
            }
        }
        Self::new(worker, endpoint, home).await
    }

    async fn new(worker: &Worker, endpoint: &Endpoint, home: Rc<Idle>) -> Result<Self, Unreachable> {
        let limit = endpoint.options().connect_timeout.std();
        let socket = dial(&worker.resolver, endpoint.backend(), limit).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let made = builder.handshake(TokioIo::new(socket)).await;
        let (sender, connection) = made.map_err(std::io::Error::other)?;
        lifecycle::spawn_local(async move {
            // Its end is told to whoever waits for the response.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, home, reused: false })
    }

    /// Gives the connection back.
    pub(super) fn release(self, now: u32) {
        self.home.put(self.sender, now);
    }
}

/// A longer response head is a 502.
const HEAD_BYTES_MAX: usize = 128 * 1024;

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
