//! Request and response bodies as hyper sees them: counted, and split into small pieces on HTTP/2.
//!
//! A response that is built as a whole draws on the memory budget until it was read; one that all requests share does
//! not. On HTTP/2, pieces are handed over only while less than [`UNSENT_BYTES_MAX`] of the connection are unsent, and
//! a stream is reset if its client reads nothing for a while. Invariants: the memory for a connection is bounded,
//! whatever its client does not read; a stream that waits for events does not count as stalled.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::connection_limits::ConnectionActivity;
use crate::memory_budget::{MemoryBudget, MemoryFull, MemoryShare};

/// The maximum number of bytes of a connection that are handed over and unsent.
pub(super) const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// The size of a piece; HTTP/2 frames have the same size by default (RFC 9113 §4.2).
pub(super) const PIECE_BYTES: usize = 16 * 1024;
/// The largest body that is not counted, in bytes.
const SMALL_BYTES: usize = 1024;
/// The number of consecutive checks without progress after which a stream is reset.
const STALL_CHECKS: u32 = 6;

/// The state that the streams of one connection share.
#[derive(Debug)]
pub(super) struct ConnectionStreams {
    memory: MemoryBudget,
    /// The number of requests so far whose head came.
    begun: AtomicUsize,
    /// Counts the running requests.
    activity: Arc<ConnectionActivity>,
    unsent: Mutex<UnsentBytes>,
}

#[derive(Debug, Default)]
struct UnsentBytes {
    bytes: usize,
    /// The number of pieces sent so far.
    sent: usize,
    waiting: Vec<Waker>,
}

/// A running request, with the memory of its head and stream.
#[derive(Debug)]
pub(super) struct RequestGuard {
    streams: Arc<ConnectionStreams>,
    /// True if the request is alone on its connection. Then it is served without free memory if it needs little.
    alone: bool,
    /// Held until the request ends.
    stream_share: Option<MemoryShare>,
}

/// The number of streams that the connection's own memory covers.
const STREAMS_FREE: usize = 16;
/// The approximate memory of a further stream.
const STREAM_BYTES: usize = 8 * 1024;

impl ConnectionStreams {
    pub(super) fn new(memory: MemoryBudget, activity: Arc<ConnectionActivity>) -> Arc<Self> {
        Arc::new(Self { memory, begun: AtomicUsize::new(0), activity, unsent: Mutex::default() })
    }

    /// Counts a request whose head has come.
    pub(super) fn begin(self: &Arc<Self>) -> Result<RequestGuard, MemoryFull> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let others = self.activity.begin_request();
        // The request counts from here on, also if it is refused.
        let open = RequestGuard { streams: Arc::clone(self), alone: others == 0, stream_share: None };
        if others < STREAMS_FREE {
            return Ok(open);
        }
        let share = self.memory.take(STREAM_BYTES)?;
        Ok(open.with(share))
    }

    /// Returns true if the head of any request came.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Returns the number of unsent bytes and the number of pieces sent so far. While the second is unchanged,
    /// nothing moves.
    pub(super) fn unsent(&self) -> (usize, usize) {
        let unsent = self.lock();
        (unsent.bytes, unsent.sent)
    }

    /// Reserves room for a piece, or wakes the task when there is room.
    fn take(self: &Arc<Self>, piece: Bytes, cx: &mut Context<'_>) -> Poll<Result<Bytes, MemoryFull>> {
        let mut unsent = self.lock();
        if unsent.bytes + piece.len() > UNSENT_BYTES_MAX {
            unsent.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        // One piece per connection is always allowed.
        let share =
            if unsent.bytes == 0 { self.memory.take_always(piece.len()) } else { self.memory.take(piece.len())? };
        unsent.bytes += piece.len();
        drop(unsent);
        Poll::Ready(Ok(Bytes::from_owner(UnsentPiece { bytes: piece, streams: Arc::clone(self), _share: share })))
    }

    fn lock(&self) -> MutexGuard<'_, UnsentBytes> {
        // Nothing panics while it holds the lock.
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestGuard {
    fn with(mut self, share: MemoryShare) -> Self {
        self.stream_share = Some(share);
        self
    }

    /// Draws memory for a response.
    fn take(&self, bytes: usize) -> Result<MemoryShare, MemoryFull> {
        if self.alone && bytes <= PIECE_BYTES {
            return Ok(self.streams.memory.take_always(bytes));
        }
        self.streams.memory.take(bytes)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.streams.activity.end_request();
    }
}

/// A piece of a body that waits to be sent.
struct UnsentPiece {
    bytes: Bytes,
    streams: Arc<ConnectionStreams>,
    _share: MemoryShare,
}

impl AsRef<[u8]> for UnsentPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for UnsentPiece {
    fn drop(&mut self) {
        let mut unsent = self.streams.lock();
        unsent.bytes -= self.bytes.len();
        unsent.sent += 1;
        let waiting = std::mem::take(&mut unsent.waiting);
        drop(unsent);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The progress of one HTTP/2 stream.
#[derive(Debug, Default)]
struct StreamProgress {
    /// True if the client must act before the stream goes on.
    waits_for_client: AtomicBool,
    /// The number of pieces handed over so far.
    pieces: AtomicUsize,
}

tokio::task_local! {
    /// The progress of the stream whose task runs.
    static PROGRESS: Arc<StreamProgress>;
}

/// Runs the task of an HTTP/2 stream. Ends it, and so resets the stream, if its client reads nothing for `stall`.
pub(super) async fn run_watched(task: impl Future<Output = ()>, stall: Duration) {
    let progress = Arc::new(StreamProgress::default());
    let mut task = std::pin::pin!(PROGRESS.scope(Arc::clone(&progress), task));
    let (mut pieces, mut still) = (0, 0);
    loop {
        tokio::select! {
            biased;
            () = task.as_mut() => return,
            () = sleep(stall / STALL_CHECKS) => {}
        }
        let now = progress.pieces.load(Ordering::Relaxed);
        let stands = progress.waits_for_client.load(Ordering::Relaxed) && now == pieces;
        (pieces, still) = (now, if stands { still + 1 } else { 0 });
        if still >= STALL_CHECKS {
            tracing::debug!("a stream whose client took nothing is reset");
            return;
        }
    }
}

/// Wraps a response so that its memory counts until it was read.
pub(super) fn count_response(response: Response, open: RequestGuard, http2: bool) -> Result<Response, MemoryFull> {
    let hint = response.body().size_hint();
    let small = hint.exact().is_some_and(|bytes| bytes <= SMALL_BYTES as u64);
    if response.body().is_end_stream() || (small && !http2) {
        return Ok(response);
    }
    let (parts, mut body) = response.into_parts();
    // The first frame shows the size, and whether other responses share the bytes.
    let first = body.frame().now_or_never().flatten();
    let data = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    let held = data.filter(|data| data.len() > SMALL_BYTES && data.is_unique()).map_or(0, Bytes::len);
    let share = open.take(held)?;
    let progress = PROGRESS.try_with(Arc::clone).ok().filter(|_| http2);
    if let Some(progress) = &progress {
        progress.waits_for_client.store(true, Ordering::Relaxed);
    }
    let answer = ResponseBody { body, first, rest: Bytes::new(), hint, small, progress, open, _share: share };
    Ok(Response::from_parts(parts, Body::new(answer)))
}

/// The body of a response.
struct ResponseBody {
    body: Body,
    first: Option<Result<Frame<Bytes>, axum::Error>>,
    /// The part of the last frame that is not handed over yet.
    rest: Bytes,
    hint: SizeHint,
    small: bool,
    /// `None` on HTTP/1.1, where the socket is watched instead.
    progress: Option<Arc<StreamProgress>>,
    open: RequestGuard,
    _share: MemoryShare,
}

type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl ResponseBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn waits_for_client(&self, waits: bool) {
        if let Some(progress) = &self.progress {
            progress.waits_for_client.store(waits, Ordering::Relaxed);
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let this = &mut *self;
        if this.progress.is_none() {
            return this.poll_next(cx);
        }
        if this.rest.is_empty() {
            // While there is no data, the stream does not wait for its client.
            this.waits_for_client(false);
            let frame = ready!(this.poll_next(cx));
            this.waits_for_client(true);
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() || this.small => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = this.rest.len().min(PIECE_BYTES);
        let taken = ready!(this.open.streams.take(this.rest.slice(..length), cx)).map_err(axum::Error::new);
        // `split_off` on the whole, so that both parts stay distinguishable.
        this.rest = this.rest.split_off(length);
        if let Some(progress) = &this.progress {
            progress.pieces.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Some(taken.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// The body of an HTTP/2 request. Its bytes count until the body was read whole and dropped. HTTP/1.1 bodies are
/// counted at the socket.
struct CountedRequestBody {
    body: Incoming,
    bytes: usize,
    alone: bool,
    share: MemoryShare,
    progress: Option<Arc<StreamProgress>>,
}

/// Wraps the body of an HTTP/2 request so that its bytes count.
pub(super) fn count_request(body: Incoming, open: &RequestGuard) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    let (share, progress) = (open.streams.memory.take_always(0), PROGRESS.try_with(Arc::clone).ok());
    Body::new(CountedRequestBody { body, bytes: 0, alone: open.alone, share, progress })
}

impl CountedRequestBody {
    fn waits_for_client(&self, waits: bool) {
        if let Some(progress) = &self.progress {
            progress.waits_for_client.store(waits, Ordering::Relaxed);
            progress.pieces.fetch_add(usize::from(!waits), Ordering::Relaxed);
        }
    }
}

impl HttpBody for CountedRequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.waits_for_client(polled.is_pending());
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|frame| frame.map_err(axum::Error::new))),
        };
        this.bytes += frame.data_ref().map_or(0, Bytes::len);
        // A small body is always accepted. A larger one is held twice: in pieces and as a whole.
        let held = if this.alone && this.bytes <= PIECE_BYTES { 0 } else { 2 * this.bytes };
        match this.share.set(held) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(full) => Poll::Ready(Some(Err(axum::Error::new(full)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for CountedRequestBody {
    fn drop(&mut self) {
        self.waits_for_client(false);
    }
}
