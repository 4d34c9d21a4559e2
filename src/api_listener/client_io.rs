//! A client's socket as hyper sees it: counts the memory of unfinished requests and unread responses, and checks the
//! frames of HTTP/2.
//!
//! Invariants: an HTTP/1.1 client whose request finds no memory gets 503 before its connection ends; a client
//! that reads nothing for a while although data waits for it is disconnected, and so is one that floods the
//! connection with control frames.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use crate::connection_limits::{ConnectionActivity, FrameCounter, Protocol};
use crate::memory_budget::{MemoryFull, MemoryShare};

/// The size of hyper's buffer for a small head, which every connection may have.
const READ_BYTES: usize = 16 * 1024;
/// The maximum time for a refused client to read the refusal.
const LINGER: Duration = Duration::from_secs(1);
/// The approximate size of hyper's own buffers for a response.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// The response for a request without memory.
const NO_MEMORY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n\
                         connection: close\r\ncontent-length: 144\r\n\r\n\
                         {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
                         \"detail\":\"there is no memory for the request (limits.memory); try again later\"}";

/// The stream of a refused client. hyper would hold the request's bytes as long as the client reads, so its
/// connection ends first.
pub(super) struct RefusedClient<S>(Arc<Mutex<Option<S>>>);

/// The socket of a client, or the TLS stream over it.
pub(super) struct ClientIo<S> {
    /// `None` once the client was refused.
    stream: Option<S>,
    refused: RefusedClient<S>,
    share: MemoryShare,
    frames: FrameCounter,
    activity: Arc<ConnectionActivity>,
    /// The maximum time without progress of a response.
    stall_max: Duration,
    /// The bytes that came since the last write. On HTTP/1.1 they belong to the running request.
    request_bytes: usize,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RefusedClient<S> {
    /// Sends a refused client the reason, and reads until the client closes (RFC 9112 §9.6), for [`LINGER`] at most.
    /// Must be called after hyper's connection is dropped.
    pub(super) async fn close(self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut stream) = stream else { return };
        let told = async {
            stream.write_all(NO_MEMORY.as_bytes()).await?;
            stream.shutdown().await?;
            let mut dropped = [0; 4096];
            while stream.read(&mut dropped).await? > 0 {}
            io::Result::Ok(())
        };
        // An error or a timeout changes nothing: the connection ends.
        let _ = timeout(LINGER, told).await;
    }
}

impl<S> ClientIo<S> {
    /// Returns the stream, and the place where it is found if its client is refused.
    pub(super) fn new(
        stream: S,
        share: MemoryShare,
        activity: &Arc<ConnectionActivity>,
        stall_max: Duration,
    ) -> (Self, RefusedClient<S>) {
        let slot = Arc::new(Mutex::new(None));
        let refused = RefusedClient(Arc::clone(&slot));
        let (stream, frames, activity) = (Some(stream), FrameCounter::default(), Arc::clone(activity));
        (
            Self {
                stream,
                refused: RefusedClient(slot),
                share,
                frames,
                activity,
                stall_max,
                request_bytes: 0,
                stall: None,
            },
            refused,
        )
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(this.stream()?.poll_read(cx, buf))?;
        let came = buf.filled().get(before..).unwrap_or_default();
        if this.frames.see(came).is_err() {
            return Poll::Ready(Err(io::Error::other("too many control frames")));
        }
        if this.frames.protocol() == Protocol::Http1 {
            this.activity.on_read();
            this.request_bytes += came.len();
            // A body is held twice, in pieces and as a whole, and hyper's read buffer grows.
            let grown = buf.capacity().saturating_sub(READ_BYTES);
            if this.share.set(2 * this.request_bytes + grown).is_err() {
                return Poll::Ready(Err(this.refuse()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, buf);
        self.wrote(cx, written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(cx, bufs);
        self.wrote(cx, written, bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    /// Counts a write.
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        waiting: usize,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.stall = None;
            self.request_bytes = 0;
            self.share.shrink();
            self.frames.sent(bytes);
        }
        if written.is_ready() {
            return written;
        }
        if self.share.set(waiting.min(WRITE_BYTES_MAX)).is_err() {
            return Poll::Ready(Err(io::Error::other(MemoryFull)));
        }
        let stall_max = self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes the stream away from hyper. No part of a response can have been written yet.
    fn refuse(&mut self) -> io::Error {
        self.share.shrink();
        *self.refused.0.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
        io::Error::other(MemoryFull)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut S>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::Error::other(MemoryFull))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_has_the_length_it_says() {
        let (head, body) = NO_MEMORY.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
