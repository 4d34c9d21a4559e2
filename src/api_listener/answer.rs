//! The bodies of requests and answers as hyper sees them: counted, and on HTTP/2 in small pieces.
//!
//! An answer that is put together whole draws on the memory for all until it was read; one that is shared
//! by all requests does not. On HTTP/2, pieces go out only while less than [`UNSENT_BYTES_MAX`] of the connection wait,
//! and a stream whose client takes nothing for a while is reset. What must hold: whatever a client does not read, what is
//! held for its connection is bounded; streams that wait for events are not taken for such that stand still.

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

/// Bytes of a connection that were handed over and not sent.
pub(super) const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// One piece; HTTP/2 frames are as large by default (RFC 9113 §4.2).
pub(super) const PIECE_BYTES: usize = 16 * 1024;
/// Bodies up to this are not counted.
const SMALL_BYTES: usize = 1024;
/// A stream is looked at so many times before it is reset.
const LOOKS: u32 = 6;

/// What the streams of one connection share.
#[derive(Debug)]
pub(super) struct Streams {
    memory: MemoryBudget,
    /// Requests whose head came, ever.
    begun: AtomicUsize,
    /// Told of each request that is under way.
    activity: Arc<ConnectionActivity>,
    unsent: Mutex<Unsent>,
}

#[derive(Debug, Default)]
struct Unsent {
    bytes: usize,
    /// Pieces that were sent, ever.
    sent: usize,
    waiting: Vec<Waker>,
}

/// A request under way, with the memory of its head and stream.
#[derive(Debug)]
pub(super) struct Open {
    streams: Arc<Streams>,
    /// Alone on its connection, and so served however full the memory is, if it asks for little.
    alone: bool,
    /// Held for as long as the request is.
    stream_share: Option<MemoryShare>,
}

/// Streams of a connection that need no memory beyond the connection's own.
const STREAMS_FREE: usize = 16;
/// About what a further one takes.
const STREAM_BYTES: usize = 8 * 1024;

impl Streams {
    pub(super) fn new(memory: MemoryBudget, activity: Arc<ConnectionActivity>) -> Arc<Self> {
        Arc::new(Self { memory, begun: AtomicUsize::new(0), activity, unsent: Mutex::default() })
    }

    /// Takes note of a request whose head has come.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Open, MemoryFull> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let others = self.activity.begin_request();
        // Counted from here on, also if it is refused.
        let open = Open { streams: Arc::clone(self), alone: others == 0, stream_share: None };
        if others < STREAMS_FREE {
            return Ok(open);
        }
        let share = self.memory.take(STREAM_BYTES)?;
        Ok(open.with(share))
    }

    /// True if the head of any request came.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Bytes that wait to be sent, and the number of pieces that were: while the second stays, nothing moves.
    pub(super) fn unsent(&self) -> (usize, usize) {
        let unsent = self.lock();
        (unsent.bytes, unsent.sent)
    }

    /// Takes room for a piece, or has the task woken when there is some.
    fn take(self: &Arc<Self>, piece: Bytes, cx: &mut Context<'_>) -> Poll<Result<Bytes, MemoryFull>> {
        let mut unsent = self.lock();
        if unsent.bytes + piece.len() > UNSENT_BYTES_MAX {
            unsent.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        // One piece may always be under way.
        let share =
            if unsent.bytes == 0 { self.memory.take_always(piece.len()) } else { self.memory.take(piece.len())? };
        unsent.bytes += piece.len();
        drop(unsent);
        Poll::Ready(Ok(Bytes::from_owner(Piece { bytes: piece, streams: Arc::clone(self), _share: share })))
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        // Nothing panics while it holds the lock.
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn with(mut self, share: MemoryShare) -> Self {
        self.stream_share = Some(share);
        self
    }

    /// Draws memory for what it asks for.
    fn take(&self, bytes: usize) -> Result<MemoryShare, MemoryFull> {
        if self.alone && bytes <= PIECE_BYTES {
            return Ok(self.streams.memory.take_always(bytes));
        }
        self.streams.memory.take(bytes)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.activity.end_request();
    }
}

/// Bytes that wait to be sent.
struct Piece {
    bytes: Bytes,
    streams: Arc<Streams>,
    _share: MemoryShare,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut unsent = self.streams.lock();
        unsent.bytes -= self.bytes.len();
        unsent.sent += 1;
        let waiting = std::mem::take(&mut unsent.waiting);
        drop(unsent);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// How far the answer of one HTTP/2 stream is.
#[derive(Debug, Default)]
struct Progress {
    /// There is something to send, and the client has to take it.
    waits_for_client: AtomicBool,
    /// Pieces handed over, ever.
    pieces: AtomicUsize,
}

tokio::task_local! {
    /// Of the stream whose task runs.
    static PROGRESS: Arc<Progress>;
}

/// Runs the task of an HTTP/2 stream; ends it, and so resets the stream, when its client takes nothing for `stall`.
pub(super) async fn watched(task: impl Future<Output = ()>, stall: Duration) {
    let progress = Arc::new(Progress::default());
    let mut task = std::pin::pin!(PROGRESS.scope(Arc::clone(&progress), task));
    let (mut pieces, mut still) = (0, 0);
    loop {
        tokio::select! {
            biased;
            () = task.as_mut() => return,
            () = sleep(stall / LOOKS) => {}
        }
        let now = progress.pieces.load(Ordering::Relaxed);
        let stands = progress.waits_for_client.load(Ordering::Relaxed) && now == pieces;
        (pieces, still) = (now, if stands { still + 1 } else { 0 });
        if still >= LOOKS {
            tracing::debug!("a stream whose client took nothing is reset");
            return;
        }
    }
}

/// Counts what an answer holds, to be kept until it was read.
pub(super) fn counted(response: Response, open: Open, http2: bool) -> Result<Response, MemoryFull> {
    let hint = response.body().size_hint();
    let small = hint.exact().is_some_and(|bytes| bytes <= SMALL_BYTES as u64);
    if response.body().is_end_stream() || (small && !http2) {
        return Ok(response);
    }
    let (parts, mut body) = response.into_parts();
    // What is there already tells how much is held, and whether for this answer alone.
    let first = body.frame().now_or_never().flatten();
    let data = first.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
    let held = data.filter(|data| data.len() > SMALL_BYTES && data.is_unique()).map_or(0, Bytes::len);
    let share = open.take(held)?;
    let progress = PROGRESS.try_with(Arc::clone).ok().filter(|_| http2);
    if let Some(progress) = &progress {
        progress.waits_for_client.store(true, Ordering::Relaxed);
    }
    let answer = Answer { body, first, rest: Bytes::new(), hint, small, progress, open, _share: share };
    Ok(Response::from_parts(parts, Body::new(answer)))
}

/// An answer's body.
struct Answer {
    body: Body,
    first: Option<Result<Frame<Bytes>, axum::Error>>,
    /// What of the last frame has not been handed over.
    rest: Bytes,
    hint: SizeHint,
    small: bool,
    /// `None` on HTTP/1.1, where the socket is watched instead.
    progress: Option<Arc<Progress>>,
    open: Open,
    _share: MemoryShare,
}

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

impl Answer {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Polled {
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

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.progress.is_none() {
            return this.poll_next(cx);
        }
        if this.rest.is_empty() {
            // Until there is something, the client is not what it waits for.
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
        // Of the whole: what was split off must not be told apart from what is left.
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

/// The body of an HTTP/2 request: what came is counted until the body is dropped, which is when it was read whole. That of
/// HTTP/1.1 is counted where it is read, at the socket.
struct Request {
    body: Incoming,
    bytes: usize,
    alone: bool,
    share: MemoryShare,
    progress: Option<Arc<Progress>>,
}

/// Counts what comes of an HTTP/2 request's body.
pub(super) fn counted_request(body: Incoming, open: &Open) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    let (share, progress) = (open.streams.memory.take_always(0), PROGRESS.try_with(Arc::clone).ok());
    Body::new(Request { body, bytes: 0, alone: open.alone, share, progress })
}

impl Request {
    fn waits_for_client(&self, waits: bool) {
        if let Some(progress) = &self.progress {
            progress.waits_for_client.store(waits, Ordering::Relaxed);
            progress.pieces.fetch_add(usize::from(!waits), Ordering::Relaxed);
        }
    }
}

impl HttpBody for Request {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.waits_for_client(polled.is_pending());
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|frame| frame.map_err(axum::Error::new))),
        };
        this.bytes += frame.data_ref().map_or(0, Bytes::len);
        // A little is taken in any case, and more is held once in pieces and once whole.
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

impl Drop for Request {
    fn drop(&mut self) {
        self.waits_for_client(false);
    }
}
