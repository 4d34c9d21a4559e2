//! A backend's connection as hyper sees it.
//!
//! What must hold: what a backend says before the head of its response is complete is bounded, interim responses
//! included, for hyper reads those without end and gives nobody else a turn; an answer that has come is read, also where
//! the backend takes no more of the request.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A longer response head is a 502; what comes before it counts.
pub(super) const HEAD_BYTES_MAX: usize = 128 * 1024;

/// How much more a backend may say. Atomics because hyper wants an upgradable connection to be `Send`; only one thread
/// ever touches them.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: AtomicUsize,
    tunnel: AtomicBool,
}

impl Allowance {
    /// A request goes out: nothing but a head may come.
    pub(super) fn await_head(&self) {
        self.bytes.store(HEAD_BYTES_MAX, Ordering::Relaxed);
    }

    /// Whether something has come since then.
    pub(super) fn has_heard(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < HEAD_BYTES_MAX
    }

    /// The head has come: what follows is bounded by who reads it.
    pub(super) fn lift(&self) {
        self.bytes.store(usize::MAX, Ordering::Relaxed);
    }

    /// Both sides speak another protocol: there is no answer left to be read.
    pub(super) fn tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// The connection.
pub(super) struct Link<S> {
    stream: S,
    allowance: Arc<Allowance>,
    // The backend takes no more. What it said before can still be read; hyper, were it told, would not.
    deaf: bool,
}

impl<S> Link<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Allowance>) {
        let allowance = Allowance { bytes: AtomicUsize::new(usize::MAX), tunnel: AtomicBool::new(false) };
        let allowance = Arc::new(allowance);
        (Self { stream, allowance: Arc::clone(&allowance), deaf: false }, allowance)
    }

    /// What becomes of an attempt to send so many bytes.
    fn sent(&mut self, bytes: usize, tried: io::Result<usize>) -> io::Result<usize> {
        let is_end = |error: &io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        self.deaf = tried.as_ref().is_err_and(is_end) && !self.allowance.tunnel.load(Ordering::Relaxed);
        if self.deaf { Ok(bytes) } else { tried }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.allowance.is_spent() {
            return Poll::Ready(Err(io::Error::other("the head of the response is too large")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.allowance.spend(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Link<S> {
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
        let tried = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
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
