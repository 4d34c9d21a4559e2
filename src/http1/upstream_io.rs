//! A connection to a backend, with response heads normalized for hyper.
//!
//! Invariants: the bytes up to the end of a response head are bounded, interim responses included, because hyper reads
//! those without end and without a yield; a response that has arrived is read even if the backend reads no more of the request.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::{move_bytes, poll_write_slices};
use super::normalize::{self, find_head, may_be_http, normalize};

/// The most bytes of a response head and the interim responses before it. A longer one is a 502.
pub(crate) const HEAD_BYTES_MAX: usize = 128 * 1024;

/// The most fields of a response head. A head with more of them is a 502 too.
const FIELDS_MAX: usize = 1024;

/// The number of bytes that a backend may still send, and the parts of its response that do not pass through hyper. It is made
/// of atomics because hyper wants an upgradable connection to be `Send`; only one thread ever touches them.
#[derive(Debug)]
pub(crate) struct ResponseBudget {
    bytes: AtomicUsize,
    // The most bytes of one read.
    read_max: AtomicUsize,
    // True if the next bytes belong to a head.
    head: AtomicBool,
    // True once the connection carries another protocol.
    tunnel: AtomicBool,
    // True if there are interim heads for the client.
    has_interim: AtomicBool,
    interim: Mutex<Interim>,
    // True if the response has more fields than hyper was given.
    has_further: AtomicBool,
    further_fields: Mutex<Vec<u8>>,
}

/// Interim heads for the client, and the waker of the task that passes them on.
#[derive(Debug, Default)]
struct Interim {
    heads: Vec<u8>,
    waker: Option<Waker>,
}

/// The most bytes of interim heads that wait for the client. Further heads are dropped.
const INTERIM_BYTES_MAX: usize = 16 * 1024;

impl ResponseBudget {
    /// Limits the bytes of one read.
    pub(crate) fn limit_reads(&self, bytes: usize) {
        self.read_max.store(bytes, Ordering::Relaxed);
    }

    /// Starts the limit for the response to a new request: a head must come next.
    pub(crate) fn await_head(&self) {
        self.bytes.store(HEAD_BYTES_MAX, Ordering::Relaxed);
        self.head.store(true, Ordering::Relaxed);
        if self.has_interim.swap(false, Ordering::Relaxed) {
            *self.interim() = Interim::default();
        }
        if self.has_further.swap(false, Ordering::Relaxed) {
            self.further_fields().clear();
        }
    }

    /// Moves the fields that hyper was not given to `headers`. hyper gets fewer than 100 because it allocates for more.
    pub(crate) fn take_further_fields(&self, headers: &mut HeaderMap) {
        if self.has_further.swap(false, Ordering::Relaxed) {
            normalize::add_fields(&std::mem::take(&mut *self.further_fields()), headers);
        }
    }

    fn keep_further_fields(&self, lines: Vec<u8>) {
        if !lines.is_empty() {
            *self.further_fields() = lines;
            self.has_further.store(true, Ordering::Relaxed);
        }
    }

    fn further_fields(&self) -> MutexGuard<'_, Vec<u8>> {
        // Nothing panics while it holds the lock.
        self.further_fields.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the interim heads that came since the last call, for the client.
    pub(crate) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Ordering::Relaxed) {
            return None;
        }
        self.has_interim.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut self.interim().heads))
    }

    /// Wakes `waker` when interim heads come.
    pub(crate) fn wake_for_interim(&self, waker: &Waker) {
        self.interim().waker = Some(waker.clone());
    }

    fn keep_interim(&self, head: &[u8]) {
        let mut interim = self.interim();
        if let Some(head) = normalize::interim_for_client(head)
            && interim.heads.len() + head.len() <= INTERIM_BYTES_MAX
        {
            interim.heads.extend(head);
            self.has_interim.store(true, Ordering::Relaxed);
            interim.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    fn interim(&self) -> MutexGuard<'_, Interim> {
        // Nothing panics while it holds the lock.
        self.interim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if bytes have come since [`Self::await_head`].
    pub(crate) fn has_received(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < HEAD_BYTES_MAX
    }

    /// Removes the limit after the head. The reader of the body has limits of its own.
    pub(crate) fn remove_limit(&self) {
        self.bytes.store(usize::MAX, Ordering::Relaxed);
    }

    /// Notes that both sides now speak another protocol, so that a write error ends the connection.
    pub(crate) fn begin_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    fn expects_head(&self) -> bool {
        self.head.load(Ordering::Relaxed)
    }

    /// Notes that the next bytes belong to no head.
    fn end_heads(&self) {
        self.head.store(false, Ordering::Relaxed);
    }

    fn is_used_up(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    fn consume(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// A connection to a backend.
pub(crate) struct UpstreamIo<S> {
    stream: S,
    budget: Arc<ResponseBudget>,
    // True if the backend reads no more. hyper is not told, because it would not read the response then.
    ignores_writes: bool,
    // The beginning of a head.
    partial_head: Vec<u8>,
    // The bytes that were read and not yet passed to hyper.
    unread: Vec<u8>,
    // Nothing is read before the request is written.
    is_request_awaited: bool,
    reader: Option<Waker>,
}

impl<S> UpstreamIo<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<ResponseBudget>) {
        let [head, tunnel, has_interim, has_further] = [false; 4].map(AtomicBool::new);
        let [bytes, read_max] = [usize::MAX; 2].map(AtomicUsize::new);
        let (interim, further_fields) = (Mutex::default(), Mutex::default());
        let budget = Arc::new(ResponseBudget {
            bytes,
            read_max,
            head,
            tunnel,
            has_interim,
            interim,
            has_further,
            further_fields,
        });
        let io = Self {
            stream,
            budget: Arc::clone(&budget),
            ignores_writes: false,
            partial_head: Vec::new(),
            unread: Vec::new(),
            is_request_awaited: false,
            reader: None,
        };
        (io, budget)
    }

    /// Keeps what the backend says before the request until the request is written. hyper takes such an answer for an
    /// error, but a backend that writes its answer as soon as it is connected is healthy.
    pub(crate) fn read_after_request(mut self) -> Self {
        self.is_request_awaited = true;
        self
    }

    /// Adds `received` to the head, and moves whole heads to `unread`. Returns true if hyper has something to read.
    fn read_heads(&mut self, received: &[u8]) -> io::Result<bool> {
        self.partial_head.extend_from_slice(received);
        if received.is_empty() || !may_be_http(&self.partial_head) {
            self.budget.end_heads();
        }
        while self.budget.expects_head() {
            let Some(head) = find_head(&self.partial_head) else { return Ok(!self.unread.is_empty()) };
            let bytes: Vec<u8> = self.partial_head.drain(..head.end).collect();
            if head.is_interim {
                self.budget.keep_interim(&bytes);
            } else {
                self.budget.end_heads();
            }
            if !head.is_irregular {
                self.unread.extend(bytes);
                continue;
            }
            let ambiguous = || io::Error::other("the head of the response can be read in two ways");
            let normalized = normalize(&bytes).ok_or_else(ambiguous)?;
            if normalized.fields > FIELDS_MAX {
                return Err(too_large());
            }
            self.unread.extend(normalized.head);
            self.budget.keep_further_fields(normalized.further);
        }
        self.unread.append(&mut self.partial_head);
        Ok(true)
    }

    /// Returns the result of a write of `bytes` bytes that hyper gets. A backend that reads no more counts as one that took all.
    fn write_result(&mut self, bytes: usize, result: io::Result<usize>) -> io::Result<usize> {
        let is_end = |error: &io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        self.is_request_awaited = false;
        self.reader.take().into_iter().for_each(Waker::wake);
        self.ignores_writes = result.as_ref().is_err_and(is_end) && !self.budget.tunnel.load(Ordering::Relaxed);
        if self.ignores_writes { Ok(bytes) } else { result }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UpstreamIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.budget.is_used_up() {
            return Poll::Ready(Err(too_large()));
        }
        let this = &mut *self;
        if this.is_request_awaited {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !this.unread.is_empty() {
            move_bytes(&mut this.unread, buf);
            return Poll::Ready(Ok(()));
        }
        loop {
            let before = buf.filled().len();
            ready!(poll_read_part(&mut this.stream, cx, buf, this.budget.read_max.load(Ordering::Relaxed)))?;
            let received = buf.filled().get(before..).unwrap_or_default();
            this.budget.consume(received.len());
            if !this.budget.expects_head() {
                return Poll::Ready(Ok(()));
            }
            let whole = if this.partial_head.is_empty() { find_head(received) } else { None };
            if whole.is_some_and(|head| !head.is_irregular && !head.is_interim) {
                this.budget.end_heads();
                return Poll::Ready(Ok(()));
            }
            let has_more = this.read_heads(received);
            buf.set_filled(before);
            if has_more? {
                move_bytes(&mut this.unread, buf);
                return Poll::Ready(Ok(()));
            }
            if this.budget.is_used_up() {
                return Poll::Ready(Err(too_large()));
            }
        }
    }
}

/// Reads at most `bytes_max` bytes.
fn poll_read_part(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    bytes_max: usize,
) -> Poll<io::Result<()>> {
    if bytes_max >= buf.remaining() {
        return Pin::new(stream).poll_read(cx, buf);
    }
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(bytes_max));
    ready!(Pin::new(stream).poll_read(cx, &mut part))?;
    let read = part.filled().len();
    buf.advance(read);
    Poll::Ready(Ok(()))
}

/// The text of the error in the log; clients do not see it.
const HEAD_TOO_LARGE: &str = "the head of the response is too large";

fn too_large() -> io::Error {
    // [`is_head_too_large`] looks for this kind.
    io::Error::new(ErrorKind::FileTooLarge, HEAD_TOO_LARGE)
}

/// True if a response failed because its head, with the interim responses before it, is larger than [`HEAD_BYTES_MAX`].
pub(crate) fn is_head_too_large(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == ErrorKind::FileTooLarge)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UpstreamIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.ignores_writes {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.write_result(buf.len(), result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if self.ignores_writes {
            return Poll::Ready(Ok(bytes));
        }
        let result = ready!(poll_write_slices(&mut self.stream, cx, bufs));
        Poll::Ready(self.write_result(bytes, result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ignores_writes { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ignores_writes { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_shutdown(cx) }
    }
}
