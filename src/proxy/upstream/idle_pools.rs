//! Connections to backends, kept for the next request: idle ones of HTTP/1.1, and those of HTTP/2.
//!
//! Invariants: their number and age are bounded by the options of the route and the fields of the backend; none is kept
//! to a backend that serves one connection at a time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::connect::{BackendStream, ConnectError, serial};
use crate::domain::Scheme;
use crate::http1::Http1Connection;
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::http2_pool::Http2Pool;
use crate::traffic::Endpoint;

/// A worker's idle connections, by backend.
pub(crate) struct IdlePools {
    // By `Endpoint::origin_hash`. It holds lists because hashes may collide.
    backends: RefCell<HashMap<u64, Vec<Rc<IdlePool>>, BuildHasherDefault<Hashed>>>,
    // The tick of the last warning about TLS, also by `Endpoint::origin_hash`.
    warned: RefCell<HashMap<u64, u32, BuildHasherDefault<Hashed>>>,
    idle_max: usize,
    // The last reading of `connect::serial`.
    serial: RefCell<Vec<(u64, bool)>>,
    serial_changes: Cell<u32>,
}

/// The idle connections to one backend.
pub(crate) struct IdlePool {
    host: Box<str>,
    port: u16,
    transport: Transport,
    /// The connections that carry many requests at once.
    pub(crate) http2: Http2Pool,
    connections: RefCell<Vec<PooledConn>>,
    // The number of times that all connections had to go. Those in use then are not kept afterwards.
    generation: Cell<u32>,
    max: usize,
    // The backend is known to serve one connection at a time, so nothing is kept.
    serial: Cell<bool>,
    // The number of times that it answered on a new connection while another one was open.
    side_by_side: Cell<u32>,
    // The number of open connections on which it has answered.
    answered: Rc<Cell<u32>>,
}

/// A connection to a backend.
pub(crate) struct PooledConn {
    /// It is shared with the task of a request's body that goes on after the head of the response.
    pub(crate) http1: Rc<RefCell<Http1Connection<BackendStream>>>,
    /// The tick from which on it carries no further request. A connection to a name does not long outlive the lookup of the name, so
    /// that a changed address is noticed however busy the old one is.
    pub(crate) retires: u32,
    /// The generation of its pool in which it was begun.
    pub(crate) generation: u32,
    /// The number of ticks for which it may be idle.
    pub(crate) idle_max: u32,
    /// The tick until which it may be used, while it is idle.
    until: u32,
    // `None` before its first answer.
    answered: Option<Answered>,
}

/// A count for an open connection on which its backend has answered.
struct Answered(Rc<Cell<u32>>);

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// The number of answers side by side after which a backend counts as one that serves many connections.
const SIDE_BY_SIDE_MIN: u32 = 4;

/// The way in which a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/1.1 over TCP.
    Plain,
    /// HTTP/2 over TCP.
    H2c,
    /// TLS, with the protocol that the backend chooses.
    Tls { verified: bool },
}

impl Transport {
    fn of(endpoint: &Endpoint) -> Self {
        match endpoint.backend().scheme() {
            Scheme::Http => Self::Plain,
            Scheme::H2c => Self::H2c,
            Scheme::Https => Self::Tls { verified: endpoint.options().tls_verify },
        }
    }
}

impl IdlePools {
    pub(crate) fn new(idle_max: usize) -> Self {
        let (backends, warned, serial) = (RefCell::default(), RefCell::default(), RefCell::default());
        Self { backends, warned, idle_max, serial, serial_changes: Cell::default() }
    }

    /// Returns the pool of an endpoint's backend.
    pub(crate) fn of(&self, endpoint: &Endpoint) -> Rc<IdlePool> {
        let mut backends = self.backends.borrow_mut();
        let same_hash = backends.entry(endpoint.origin_hash).or_default();
        if let Some(known) = same_hash.iter().find(|idle| idle.is_of(endpoint)) {
            return Rc::clone(known);
        }
        let (host, port, transport) = (endpoint.backend().host(), endpoint.backend().port(), Transport::of(endpoint));
        let new = Rc::new(IdlePool {
            host: host.into(),
            port,
            transport,
            http2: Http2Pool::new(),
            connections: RefCell::default(),
            generation: Cell::default(),
            max: self.idle_max,
            serial: Cell::new(self.serial.borrow().binary_search(&(endpoint.origin_hash, true)).is_ok()),
            side_by_side: Cell::default(),
            answered: Rc::default(),
        });
        same_hash.push(Rc::clone(&new));
        new
    }

    /// Closes all idle connections. Those in use are closed after their requests.
    pub(crate) fn close_idle(&self) {
        let backends = self.backends.borrow();
        for idle in backends.values().flatten() {
            idle.generation.set(idle.generation.get().wrapping_add(1));
            idle.connections.borrow_mut().clear();
            idle.http2.close_idle();
        }
    }

    /// Closes connections that were idle for too long, and forgets backends without connections.
    pub(crate) fn sweep(&self, now: u32) {
        self.backends.borrow_mut().retain(|_, same_hash| {
            same_hash.retain(|idle| {
                idle.connections.borrow_mut().retain(|made| {
                    // Nothing else notices that the backend has closed an idle connection.
                    made.is_quiet(&mut Context::from_waker(Waker::noop())) && now < made.until
                });
                idle.http2.sweep(now, idle.max);
                let is_known = !idle.http2.is_empty() || idle.http2.requires_http1(now);
                Rc::strong_count(idle) > 1 || !idle.connections.borrow().is_empty() || is_known
            });
            !same_hash.is_empty()
        });
        self.warned.borrow_mut().retain(|_, at| now.saturating_sub(*at) < Ticks::steps(TELL_EVERY));
    }

    /// Closes idle connections to backends that may serve one connection at a time, while a request waits for them. They are
    /// kept until then: if another connection is answered beside them, the backend serves many.
    pub(crate) fn make_way(&self) {
        let changes = serial::changes();
        let mut serial = self.serial.borrow_mut();
        let backends = self.backends.borrow();
        let idle_to = |origin: &u64| backends.get(origin).into_iter().flatten();
        if self.serial_changes.replace(changes) != changes {
            let before = std::mem::replace(&mut *serial, serial::origins());
            before.iter().flat_map(|(origin, _)| idle_to(origin)).for_each(|idle| idle.serial.set(false));
        }
        for (origin, is_known) in serial.iter() {
            if idle_to(origin).filter(|idle| idle.make_way(*is_known)).count() > 0 {
                serial::note_idle_closed(*origin);
            }
        }
    }

    /// Warns the operator of a TLS error of a backend, but not for every request.
    pub(crate) fn warn_of_tls(&self, endpoint: &Endpoint, error: &ConnectError, now: u32) {
        if error.is_tls() && !self.warned.borrow().contains_key(&endpoint.origin_hash) {
            self.warned.borrow_mut().insert(endpoint.origin_hash, now);
            tracing::warn!(route = %endpoint.id(), backend = %endpoint.backend(), "502: {error}");
        }
    }
}

impl IdlePool {
    pub(crate) fn is_of(&self, endpoint: &Endpoint) -> bool {
        let backend = endpoint.backend();
        *self.host == *backend.host() && (self.port, self.transport) == (backend.port(), Transport::of(endpoint))
    }

    /// Returns the generation of connections that are made now.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// Returns the way in which its backend is spoken to.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// True if connections are kept at all.
    pub(crate) fn keeps(&self) -> bool {
        self.max > 0
    }

    /// Takes the connection that became idle last: its backend is the least likely to have closed it.
    pub(crate) fn take(&self, now: u32) -> Option<PooledConn> {
        let mut connections = self.connections.borrow_mut();
        while let Some(made) = connections.pop() {
            if made.is_fit(now) {
                return Some(made);
            }
        }
        None
    }

    pub(crate) fn put(&self, mut made: PooledConn, now: u32) {
        let mut connections = self.connections.borrow_mut();
        let is_kept = (!self.serial.get() || self.serves_many()) && made.generation == self.generation.get();
        if is_kept && connections.len() < self.max && made.rest(now) {
            connections.push(made);
        }
    }

    /// Closes idle connections to a backend that may serve one at a time, or is known to. Returns true if there were any.
    fn make_way(&self, is_known: bool) -> bool {
        if self.serves_many() {
            return false;
        }
        self.serial.set(is_known);
        !std::mem::take(&mut *self.connections.borrow_mut()).is_empty()
    }

    /// True if its backend is known to serve several connections at a time.
    pub(crate) fn serves_many(&self) -> bool {
        self.side_by_side.get() >= SIDE_BY_SIDE_MIN
    }

    /// Notes that a new connection was answered.
    pub(crate) fn answered(&self, made: &mut PooledConn) {
        if self.answered.get() > 0 {
            self.side_by_side.set(self.side_by_side.get().saturating_add(1));
        }
        self.answered.set(self.answered.get() + 1);
        made.answered = Some(Answered(Rc::clone(&self.answered)));
    }
}

impl PooledConn {
    pub(crate) fn new(stream: BackendStream, (retires, generation): (u32, u32)) -> Self {
        let http1 = Rc::new(RefCell::new(Http1Connection::new(stream)));
        Self { http1, retires, generation, idle_max: 0, until: 0, answered: None }
    }

    /// Makes it idle from `now` on. Returns true if it may be used again.
    pub(crate) fn rest(&mut self, now: u32) -> bool {
        self.until = self.retires.min(now.saturating_add(self.idle_max));
        let mut http1 = self.http1.borrow_mut();
        http1.rest();
        http1.is_reusable() && self.is_fit(now)
    }

    /// True if it may be used after it was idle.
    pub(crate) fn is_fit(&self, now: u32) -> bool {
        now < self.until
    }

    /// True if its backend has not closed it.
    pub(crate) async fn is_ready(&self) -> bool {
        poll_fn(|cx| Poll::Ready(self.is_quiet(cx))).await
    }

    fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        self.http1.borrow_mut().is_quiet(cx)
    }
}

/// The interval between two warnings about the TLS of one backend.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// A hasher for keys that are hashes already.
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
