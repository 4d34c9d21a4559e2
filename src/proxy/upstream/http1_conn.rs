//! An HTTP/1.1 connection to a backend, while one request has it.
//!
//! Invariants: a connection on which somebody has begun to log in is never given to another client.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};

use crate::connect::BackendStream;
use crate::http1::{ReadHead, ResponseError, UpgradedStream, interim_for_client, write_field};
use crate::proxy::body_error::BodyError;
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::idle_pools::{IdlePool, PooledConn};
use crate::proxy::upstream::read_ahead::ReadAheadPlace;
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::send_error::SendError;
use crate::proxy::upstream::upload_task::UploadTask;
use crate::traffic::{AddedFields, AttemptFailure, Endpoint};

/// The time before its backend would close it from which on a connection is not used any more.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);

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
    // The task that sends the rest of a request beside its response.
    upload: Option<UploadTask>,
    // A head that waits until the interim heads before it are passed on; or, if it changes protocols, until the whole request is sent.
    held: Option<Box<Response<()>>>,
}

impl Http1Conn {
    /// Takes a new connection, which may later be idle for `idle_max` ticks.
    pub(crate) fn new(conn: PooledConn, pool: Rc<IdlePool>, idle_max: u32) -> Self {
        let mut new =
            Self { conn, pool, is_reused: false, is_bound: false, read_ahead: None, upload: None, held: None };
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

    /// Begins to send a request. [`Self::poll_head`] sends it.
    pub(crate) fn begin(&mut self, head: (&Method, &Uri, &HeaderMap), added: AddedFields<'_>, body: &RequestBody) {
        let add = |to: &mut Vec<u8>| added.for_each(|name, value| write_field(to, &name, value));
        self.conn.http1.borrow_mut().begin(head, add, body);
    }

    /// Sends the request with its `body` until the head of the response comes. Interim heads go to `interim`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut RequestBody,
        interim: impl Fn(&[u8]),
    ) -> Poll<Result<Response<()>, SendError>> {
        let mut http1 = self.conn.http1.borrow_mut();
        // A first part of the body comes with the head.
        let read_max = self.read_ahead.as_ref().map_or(usize::MAX, |place| place.kind().bytes().into());
        let mut has_interim = false;
        let polled = loop {
            if let Poll::Ready(Err(error)) = http1.poll_request(body, cx) {
                break Poll::Ready(Err(error));
            }
            if self.held.is_some() {
                break Poll::Pending;
            }
            match http1.poll_head(cx, read_max) {
                Poll::Ready(Ok(ReadHead::Interim(StatusCode::CONTINUE, _))) => body.open_gate(),
                Poll::Ready(Ok(ReadHead::Interim(_, head))) => {
                    interim_for_client(&head).iter().for_each(|head| interim(head));
                    has_interim = true;
                }
                Poll::Ready(Ok(ReadHead::Final(head))) => break Poll::Ready(Ok(head)),
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        let (has_received, has_sent) = (http1.has_received(), http1.has_sent());
        drop(http1);
        let waits =
            |head: &Response<()>| head.status() == StatusCode::SWITCHING_PROTOCOLS && !has_sent && !body.is_held();
        let head = match polled {
            Poll::Ready(head) => head.map_err(|error| self.failure(&error, has_received))?,
            Poll::Pending => *ready!(self.held.take_if(|head| !waits(head)).map_or(Poll::Pending, Poll::Ready)),
        };
        // The other protocol begins where the request ends (RFC 9110 §7.8), and interim heads come before the response (§15.2).
        if waits(&head) || has_interim {
            if has_interim {
                cx.waker().wake_by_ref();
            }
            self.held = Some(Box::new(head));
            return Poll::Pending;
        }
        if !has_sent {
            self.send_rest(body.clone());
        }
        if !self.is_reused {
            self.pool.answered(&mut self.conn);
        }
        Poll::Ready(Ok(head))
    }

    /// Sends the rest of a request beside its response. A client that sends all before it reads would otherwise hold up the rest of
    /// its own body.
    fn send_rest(&mut self, mut body: RequestBody) {
        let http1 = Rc::clone(&self.conn.http1);
        self.upload = Some(UploadTask::spawn(async move {
            // The response breaks off with the request.
            let _ = poll_fn(|cx| http1.borrow_mut().poll_request(&mut body, cx)).await;
        }));
    }

    /// Returns the failure of a request that ended without a response. A connection that had carried a request before, and ended
    /// without a byte of the response to this one, had died before it.
    fn failure(&self, error: &ResponseError, has_received: bool) -> SendError {
        if self.is_reused && !has_received {
            return AttemptFailure::PooledDied.into();
        }
        SendError::of_response(error, has_received)
    }

    /// Reads the next frame of the response.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let read_max = self.read_ahead.as_ref().map_or(usize::MAX, |place| place.read_max());
        self.conn.http1.borrow_mut().poll_frame(cx, read_max).map_err(BodyError::from)
    }

    /// True if the response has ended.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.conn.http1.borrow().is_end_stream()
    }

    /// Returns the number of bytes of the response that are at hand.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.conn.http1.borrow().ready_bytes()
    }

    /// Returns the bytes of the response that are still to come, as far as they are known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.conn.http1.borrow().size_hint()
    }

    /// True if it has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// True if the backend may leave it unanswered until other connections are closed, as far as is known.
    pub(crate) fn may_starve(&self) -> bool {
        !self.is_reused && !self.pool.serves_many()
    }

    /// Returns the connection for another protocol.
    pub(crate) fn into_tunnel(self) -> Option<UpgradedStream<BackendStream>> {
        // Its request was sent to its end, so that nobody else has it.
        Rc::into_inner(self.conn.http1).map(|http1| http1.into_inner().into_upgraded())
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
