//! A backend's connection as hyper sees it: heads that hyper would not read, and that can be read in one way only, are repaired.
//!
//! What must hold: what a backend says before the head of its response is complete is bounded, interim responses
//! included, for hyper reads those without end and gives nobody else a turn; an answer that has come is read, also where
//! the backend takes no more of the request.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::{move_bytes, poll_write_slices};
use super::repair::{self, look, may_be_http, repair};

/// A longer response head is a 502; what comes before it counts.
pub(crate) const HEAD_BYTES_MAX: usize = 128 * 1024;

/// A response head of more lines is a 502 too.
const FIELDS_MAX: usize = 1024;

/// How much more a backend may say. Atomics because hyper wants an upgradable connection to be `Send`; only one thread
/// ever touches them.
#[derive(Debug)]
pub(crate) struct ResponseBudget {
    bytes: AtomicUsize,
    // The next bytes are of a head.
    head: AtomicBool,
    tunnel: AtomicBool,
    // There are heads for the client before its answer.
    has_interim: AtomicBool,
    interim: Mutex<Interim>,
    // The answer has more fields than hyper was given.
    has_further: AtomicBool,
    further: Mutex<Vec<u8>>,
}

/// Heads for the client before its answer, and who is to be told of them.
#[derive(Debug, Default)]
struct Interim {
    heads: Vec<u8>,
    waker: Option<Waker>,
}

/// More than so many bytes of interim heads at once are not passed on.
const INTERIM_BYTES_MAX: usize = 16 * 1024;

impl ResponseBudget {
    /// A request goes out: nothing but a head may come.
    pub(crate) fn await_head(&self) {
        self.bytes.store(HEAD_BYTES_MAX, Ordering::Relaxed);
        self.head.store(true, Ordering::Relaxed);
        if self.has_interim.swap(false, Ordering::Relaxed) {
            *self.interim() = Interim::default();
        }
        if self.has_further.swap(false, Ordering::Relaxed) {
            self.further().clear();
        }
    }

    /// Adds the fields of the answer that hyper was not given, for it takes 100 without an allocation.
    pub(crate) fn take_further_fields(&self, headers: &mut HeaderMap) {
        if self.has_further.swap(false, Ordering::Relaxed) {
            repair::add_fields(&std::mem::take(&mut *self.further()), headers);
        }
    }

    fn keep_further_fields(&self, lines: Vec<u8>) {
        if !lines.is_empty() {
            *self.further() = lines;
            self.has_further.store(true, Ordering::Relaxed);
        }
    }

    fn further(&self) -> MutexGuard<'_, Vec<u8>> {
        // Nothing panics while it holds the lock.
        self.further.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interim heads that came since the last time, for the client.
    pub(crate) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Ordering::Relaxed) {
            return None;
        }
        self.has_interim.store(false, Ordering::Relaxed);
        Some(std::mem::take(&mut self.interim().heads))
    }

    /// Has `waker` woken when there are interim heads.
    pub(crate) fn wake_for_interim(&self, waker: &Waker) {
        self.interim().waker = Some(waker.clone());
    }

    fn pass_interim(&self, head: &[u8]) {
        let mut interim = self.interim();
        if let Some(head) = repair::interim(head)
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

    /// True if something has come since then.
    pub(crate) fn has_heard(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < HEAD_BYTES_MAX
    }

    /// The head has come: what follows is bounded by who reads it.
    pub(crate) fn lift(&self) {
        self.bytes.store(usize::MAX, Ordering::Relaxed);
    }

    /// Both sides speak another protocol: there is no answer left to be read.
    pub(crate) fn tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    fn expects_head(&self) -> bool {
        self.head.load(Ordering::Relaxed)
    }

    /// The last head has come, or nothing that could be one.
    fn pass_head(&self) {
        self.head.store(false, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// The connection.
pub(crate) struct UpstreamIo<S> {
    stream: S,
    allowance: Arc<ResponseBudget>,
    // The backend takes no more. What it said before can still be read; hyper, were it told, would not.
    deaf: bool,
    // A head of which more is to come.
    held: Vec<u8>,
    // What was read and not asked for yet.
    surplus: Vec<u8>,
    // Nothing is read before the request is written.
    is_request_awaited: bool,
    reader: Option<Waker>,
}

impl<S> UpstreamIo<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<ResponseBudget>) {
        let [head, tunnel, has_interim, has_further] = [false; 4].map(AtomicBool::new);
        let (bytes, interim, further) = (AtomicUsize::new(usize::MAX), Mutex::default(), Mutex::default());
        let allowance = Arc::new(ResponseBudget { bytes, head, tunnel, has_interim, interim, has_further, further });
        let io = Self {
            stream,
            allowance: Arc::clone(&allowance),
            deaf: false,
            held: Vec::new(),
            surplus: Vec::new(),
            is_request_awaited: false,
            reader: None,
        };
        (io, allowance)
    }

    /// Keeps what the backend says before the request until the request is written. hyper takes such an answer for an
    /// error, but a backend that writes its answer as soon as it is connected is healthy.
    pub(crate) fn read_after_request(mut self) -> Self {
        self.is_request_awaited = true;
        self
    }

    /// Takes `came` as bytes of heads, and gives out whole ones, repaired. Says whether there is anything for the reader.
    fn pass_heads(&mut self, came: &[u8]) -> io::Result<bool> {
        self.held.extend_from_slice(came);
        if came.is_empty() || !may_be_http(&self.held) {
            self.allowance.pass_head();
        }
        while self.allowance.expects_head() {
            let Some(head) = look(&self.held) else { return Ok(!self.surplus.is_empty()) };
            let bytes: Vec<u8> = self.held.drain(..head.end).collect();
            if head.is_interim {
                self.allowance.pass_interim(&bytes);
            } else {
                self.allowance.pass_head();
            }
            if !head.is_odd {
                self.surplus.extend(bytes);
                continue;
            }
            let doubtful = || io::Error::other("the head of the response can be read in two ways");
            let repaired = repair(&bytes).ok_or_else(doubtful)?;
            if repaired.fields > FIELDS_MAX {
                return Err(too_large());
            }
            self.surplus.extend(repaired.head);
            self.allowance.keep_further_fields(repaired.further);
        }
        self.surplus.append(&mut self.held);
        Ok(true)
    }

    /// What becomes of an attempt to send so many bytes.
    fn sent(&mut self, bytes: usize, tried: io::Result<usize>) -> io::Result<usize> {
        let is_end = |error: &io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        self.is_request_awaited = false;
        self.reader.take().into_iter().for_each(Waker::wake);
        self.deaf = tried.as_ref().is_err_and(is_end) && !self.allowance.tunnel.load(Ordering::Relaxed);
        if self.deaf { Ok(bytes) } else { tried }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UpstreamIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.allowance.is_spent() {
            return Poll::Ready(Err(too_large()));
        }
        let this = &mut *self;
        if this.is_request_awaited {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !this.surplus.is_empty() {
            move_bytes(&mut this.surplus, buf);
            return Poll::Ready(Ok(()));
        }
        loop {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let came = buf.filled().get(before..).unwrap_or_default();
            this.allowance.spend(came.len());
            if !this.allowance.expects_head() {
                return Poll::Ready(Ok(()));
            }
            let whole = if this.held.is_empty() { look(came) } else { None };
            if whole.is_some_and(|head| !head.is_odd && !head.is_interim) {
                this.allowance.pass_head();
                return Poll::Ready(Ok(()));
            }
            let passed = this.pass_heads(came);
            buf.set_filled(before);
            let has_more = passed?;
            if has_more {
                move_bytes(&mut this.surplus, buf);
                return Poll::Ready(Ok(()));
            }
            if this.allowance.is_spent() {
                return Poll::Ready(Err(too_large()));
            }
        }
    }
}

/// The text of the error in the log; clients do not see it.
const HEAD_TOO_LARGE: &str = "the head of the response is too large";

fn too_large() -> io::Error {
    // The kind is what [`is_head_too_large`] looks for.
    io::Error::new(ErrorKind::FileTooLarge, HEAD_TOO_LARGE)
}

/// Returns true when a response failed because its head, with the interim ones before it, is larger than is read.
pub(crate) fn is_head_too_large(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == ErrorKind::FileTooLarge)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UpstreamIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        let tried = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(self.sent(buf.len(), tried))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(bytes));
        }
        let tried = ready!(poll_write_slices(&mut self.stream, cx, bufs));
        Poll::Ready(self.sent(bytes, tried))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_shutdown(cx) }
    }
}
