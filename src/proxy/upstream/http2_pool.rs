//! The HTTP/2 connections to one backend, each of which carries many requests at once.
//!
//! Invariants: no connection carries more streams than its backend allows; a connection that ends, or was told to go, gets no new
//! stream, and its streams end in their own time; while one request opens a connection the others wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http2::{Http2Connection, Http2Sender, STREAMS_MAX};
use crate::lifecycle;
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::http2_link::{Http2Link, drive};
use crate::proxy::upstream::read_ahead::ReadAhead;

/// The time for which a backend that has refused HTTP/2 is not asked for it again.
const HTTP1_FOR: Duration = Duration::from_mins(5);

/// The HTTP/2 connections to one backend.
pub(crate) struct Http2Pool {
    connections: RefCell<Vec<Rc<Http2Conn>>>,
    // One request opens a connection at a time.
    dialling: Semaphore,
    // The backend has last chosen HTTP/1.1.
    prefers_http1: Cell<bool>,
    // The tick until which the backend gets nothing over HTTP/2, because it has refused that.
    http1_until: Cell<u32>,
}

/// An HTTP/2 connection to a backend.
pub(crate) struct Http2Conn {
    sender: Http2Sender,
    link: Rc<Http2Link>,
    // Its windows let the backend send as much.
    read_ahead: ReadAhead,
    // The tick from which on it gets no new stream; see `PooledConn`.
    retires: Cell<u32>,
    // The number of ticks for which it may be idle.
    idle_max: Cell<u32>,
    has_served: Cell<bool>,
}

/// The place of a stream on a connection. The place ends with it.
pub(crate) struct StreamPlace {
    conn: Rc<Http2Conn>,
    is_reused: bool,
}

impl Http2Pool {
    pub(crate) fn new() -> Self {
        Self {
            connections: RefCell::default(),
            dialling: Semaphore::new(1),
            prefers_http1: Cell::default(),
            http1_until: Cell::default(),
        }
    }

    /// Takes a place on a connection that has one and reads as much ahead.
    pub(crate) fn join(&self, now: u32, idle_max: u32, read_ahead: ReadAhead) -> Option<StreamPlace> {
        let connections = self.connections.borrow();
        let mut fitting = connections.iter().filter(|conn| conn.read_ahead == read_ahead);
        fitting.find(|conn| conn.has_room(now)).map(|conn| StreamPlace::on(conn, idle_max))
    }

    /// Waits until nobody else opens a connection.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.dialling.acquire().await.ok()
    }

    /// Notes the protocol that the backend has chosen on a new connection.
    pub(crate) fn note_choice(&self, is_http1: bool) {
        self.prefers_http1.set(is_http1);
    }

    /// True if the backend has last chosen HTTP/1.1, so that each request needs a connection of its own.
    pub(crate) fn prefers_http1(&self) -> bool {
        self.prefers_http1.get()
    }

    /// Notes at `now` that the backend requires HTTP/1.1, though it has chosen HTTP/2 (RFC 9113 §7).
    pub(crate) fn require_http1(&self, now: u32) {
        self.http1_until.set(now.saturating_add(Ticks::steps(HTTP1_FOR)));
    }

    /// True if the backend has said lately that it requires HTTP/1.1.
    pub(crate) fn requires_http1(&self, now: u32) -> bool {
        now < self.http1_until.get()
    }

    /// Keeps a new connection for others.
    pub(crate) fn keep(&self, place: &StreamPlace) {
        self.connections.borrow_mut().push(Rc::clone(&place.conn));
    }

    /// Lets go of connections that have ended, are too old, or were idle for too long. At most `idle_max` idle ones stay.
    pub(crate) fn sweep(&self, now: u32, idle_max: usize) {
        let mut idle = 0;
        self.connections.borrow_mut().retain(|conn| {
            idle += usize::from(conn.link.streams() == 0);
            conn.is_fit(now) && idle <= idle_max
        });
    }

    /// Gives no connection a further stream. Those without streams are closed.
    pub(crate) fn close_idle(&self) {
        self.connections.borrow_mut().clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }
}

impl Http2Conn {
    fn is_fit(&self, now: u32) -> bool {
        let idle_for = self.link.idle_for(now);
        now < self.retires.get() && (idle_for == 0 || idle_for < self.idle_max.get()) && self.is_open()
    }

    fn has_room(&self, now: u32) -> bool {
        self.link.streams() < self.sender.current_max_send_streams().min(STREAMS_MAX.into()) && self.is_fit(now)
    }

    /// True unless the connection has ended or the backend has told it to go.
    fn is_open(&self) -> bool {
        let ready = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(())))
    }
}

impl StreamPlace {
    /// Starts the task of a new connection, which gets no new stream from the tick `retires` on, and takes a place on it.
    pub(crate) fn on_new<S>(
        (sender, connection): (Http2Sender, Http2Connection<S>),
        read_ahead: ReadAhead,
        ticks: &Ticks,
        retires: u32,
        idle_max: u32,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let link = Http2Link::new(ticks);
        lifecycle::spawn_local(drive(connection, Rc::clone(&link)));
        let conn = Http2Conn {
            sender,
            link,
            read_ahead,
            retires: Cell::new(retires),
            idle_max: Cell::default(),
            has_served: Cell::default(),
        };
        Self::on(&Rc::new(conn), idle_max)
    }

    fn on(conn: &Rc<Http2Conn>, idle_max: u32) -> Self {
        conn.link.begin_stream();
        conn.idle_max.set(idle_max);
        Self { conn: Rc::clone(conn), is_reused: conn.has_served.get() }
    }

    /// Returns a sender for one request.
    pub(super) fn sender(&self) -> Http2Sender {
        self.conn.sender.clone()
    }

    /// Notes that a head or data came from the backend.
    pub(super) fn note_heard(&self) {
        self.conn.has_served.set(true);
        self.conn.link.note_heard();
    }

    /// True if a backend has answered on the connection before.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Gives the connection no further stream.
    pub(super) fn retire(&self) {
        self.conn.retires.set(0);
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.conn.link.end_stream();
    }
}
