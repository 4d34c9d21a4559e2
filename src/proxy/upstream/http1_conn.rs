//! An HTTP/1.1 connection to a backend, while one request has it.
//!
//! Invariants: a connection on which somebody has begun to log in is never given to another client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::backend_body::BackendBody;
use crate::proxy::upstream::idle_pools::{IdlePool, PooledConn};
use crate::proxy::upstream::read_ahead::ReadAheadPlace;
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::send_error::SendError;
use crate::traffic::{AttemptFailure, Endpoint};

/// The time before its backend would close it from which on a connection is not used any more.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// The outcome of a request that was given to hyper.
type HyperSent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// An HTTP/1.1 connection to a backend, while one request has it.
pub(crate) struct Http1Conn {
    conn: PooledConn,
    pool: Rc<IdlePool>,
    // True if it has carried a request before.
    is_reused: bool,
    // True if somebody logs in on it; see `login_conns`.
    is_bound: bool,
    // Bounds the bytes that it reads before the client takes them.
    read_ahead: Option<Rc<ReadAheadPlace>>,
}

impl Http1Conn {
    /// Takes a new connection, which may later be idle for `idle_max` ticks.
    pub(crate) fn new(conn: PooledConn, pool: Rc<IdlePool>, idle_max: u32) -> Self {
        let mut new = Self { conn, pool, is_reused: false, is_bound: false, read_ahead: None };
        new.conn.idle_max = idle_max;
        new
    }

    /// Takes a connection that was idle.
    pub(crate) fn reused(conn: PooledConn, pool: Rc<IdlePool>, idle_max: u32) -> Self {
        Self { is_reused: true, ..Self::new(conn, pool, idle_max) }
    }

    /// Bounds the bytes that it reads before the client takes them.
    pub(crate) fn reading_ahead(self, read_ahead: Option<Rc<ReadAheadPlace>>) -> Self {
        Self { read_ahead, ..self }
    }

    /// Takes the connection for another request of the same client.
    pub(crate) fn reuse(&mut self, idle_max: u32) {
        self.is_reused = true;
        self.conn.idle_max = idle_max;
    }

    /// True if an idle connection can carry a request at `now`.
    pub(crate) async fn can_carry(&mut self, now: u32) -> bool {
        self.conn.generation == self.pool.generation() && self.conn.is_fit(now) && self.conn.is_ready().await
    }

    /// Obeys the `Keep-Alive` field of a response: the connection is not used any more shortly before the backend closes it.
    pub(crate) fn heed(&mut self, keep_alive: &HeaderValue) {
        if let Some(timeout) = keep_alive_timeout(keep_alive) {
            self.conn.idle_max = self.conn.idle_max.min(Ticks::steps(timeout.saturating_sub(CLOSE_MARGIN)));
        }
    }

    /// Begins to send a request. [`Self::poll_head`] moves what it returns.
    pub(crate) fn begin(&mut self, request: Request<RequestBody>) -> impl Future<Output = HyperSent> + use<> {
        let is_detached = request.body().sending().is_some();
        if is_detached {
            // A client that sends all before it reads would otherwise hold up the rest of its own upload.
            self.conn.driver.detach();
        }
        self.conn.budget.await_head();
        self.limit_reads(is_detached);
        self.conn.sender.try_send_request(request)
    }

    /// Moves the connection until the head of the response to the request that was `sent`. Interim heads go to `interim`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        sent: Pin<&mut impl Future<Output = HyperSent>>,
        interim: impl Fn(Vec<u8>),
    ) -> Poll<Result<Response<BackendBody>, SendError>> {
        self.conn.driver.poll(cx);
        self.conn.budget.take_interim().into_iter().for_each(interim);
        if self.conn.driver.0.is_none() {
            self.conn.budget.wake_for_interim(cx.waker());
        }
        let head = ready!(sent.poll(cx)).map_err(|error| self.failure(error));
        Poll::Ready(head.map(|mut head| {
            self.conn.budget.remove_limit();
            self.conn.budget.take_further_fields(head.headers_mut());
            if !self.is_reused {
                self.pool.answered(&mut self.conn);
            }
            head.map(BackendBody::Http1)
        }))
    }

    /// Limits the reads of a response: a first part of the body comes with the head, and a connection that moves by itself always
    /// reads one part ahead of the request, which may hold another one.
    fn limit_reads(&self, is_detached: bool) {
        let limit = self.read_ahead.as_ref().map(|place| usize::from(place.kind().bytes()));
        let limit = limit.map_or(usize::MAX, |bytes| if is_detached { bytes / 2 } else { bytes });
        self.conn.budget.limit_reads(limit);
    }

    /// Returns the failure of a request that ended without a response. A connection that had carried a request before, and ended
    /// without a byte of the response to this one, had died before it.
    fn failure(&self, mut error: TrySendError<Request<RequestBody>>) -> SendError {
        let unsent = error.take_message();
        let has_died = self.is_reused && !self.conn.budget.has_received();
        let failure = match unsent {
            Some(_) => AttemptFailure::Unsent,
            None if has_died => AttemptFailure::PooledDied,
            None => AttemptFailure::Other,
        };
        SendError { unsent, failure }
    }

    /// True if it has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// True if the backend may leave it unanswered until other connections are closed, as far as is known.
    pub(crate) fn may_starve(&self) -> bool {
        !self.is_reused && !self.pool.serves_many()
    }

    /// Moves the bytes that can be moved.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(place) = self.read_ahead.as_ref().filter(|_| self.conn.driver.0.is_some()) {
            self.conn.budget.limit_reads(place.read_max());
        }
        self.conn.driver.poll(cx);
    }

    /// Lets the connection change protocols. It moves by itself from here on.
    pub(crate) fn into_tunnel(mut self) {
        self.conn.budget.begin_tunnel();
        self.conn.driver.detach();
    }

    /// Binds the connection to its client, because somebody logs in on it.
    pub(crate) fn bind(&mut self) {
        self.is_bound = true;
    }

    /// True if only its client may use it again.
    pub(crate) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// True if it belongs to this pool.
    pub(crate) fn is_of(&self, pool: &Rc<IdlePool>) -> bool {
        Rc::ptr_eq(&self.pool, pool)
    }

    /// True if it can carry requests for the endpoint.
    pub(crate) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        self.pool.is_of(endpoint)
    }

    /// Puts the connection back into its pool.
    pub(crate) fn into_pool(self, now: u32) {
        self.pool.put(self.conn, now);
    }

    /// Lets the connection be idle from `now` on. Returns `None` if it may not be used again.
    pub(crate) fn into_idle(mut self, now: u32) -> Option<Self> {
        self.conn.rest(now).then_some(self)
    }
}

/// Returns the timeout in a field such as `timeout=5, max=100`.
fn keep_alive_timeout(field: &HeaderValue) -> Option<Duration> {
    let mut parameters = field.to_str().ok()?.split([',', ';']);
    let seconds = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then_some(value)
    })?;
    seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_a_backend_keeps_connections_is_read_in_every_form() {
        for (field, secs) in [
            ("timeout=5", Some(5)),
            ("timeout=5, max=100", Some(5)),
            ("max=100,Timeout = 7", Some(7)),
            ("timeout=\"3\"", Some(3)),
            ("5", None),
            ("timeout=", None),
            ("timeout=-1", None),
        ] {
            let read = keep_alive_timeout(&HeaderValue::from_static(field));
            assert_eq!(read, secs.map(Duration::from_secs), "{field}");
        }
    }
}
