//! A client's socket as hyper sees it: counts the memory that unfinished requests and unread answers take, and watches the
//! frames of HTTP/2.
//!
//! What must hold: an HTTP/1.1 client whose request finds no memory is told 503 before its connection ends; a client
//! that reads nothing for [`STALL`] while something waits for it is closed, and so is one that sends control frames without end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::frames::{Frames, Protocol};
use crate::memory::{Full, Share};

/// How long an answer may stand still.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// How long a client that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);
/// hyper holds about so much of an answer in its own buffers.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// What a client is told when there is no memory for its request.
const NO_MEMORY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n\
                         connection: close\r\ncontent-length: 144\r\n\r\n\
                         {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
                         \"detail\":\"there is no memory for the request (limits.memory); try again later\"}";

/// The socket, or the TLS stream over it.
pub(super) struct ClientIo<S> {
    stream: S,
    share: Share,
    frames: Frames,
    /// Bytes that came since the last that were written: of HTTP/1.1, those of the request under way.
    request_bytes: usize,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs once the client was told that there is no memory.
    refused: Option<Pin<Box<Sleep>>>,
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, share: Share) -> Self {
        Self { stream, share, frames: Frames::default(), request_bytes: 0, stall: None, refused: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused.is_some() {
            return this.poll_refused(cx);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let came = buf.filled().get(before..).unwrap_or_default();
        if this.frames.see(came).is_err() {
            return Poll::Ready(Err(io::Error::other("too many control frames")));
        }
        if this.frames.protocol() == Protocol::Http1 {
            this.request_bytes += came.len();
            // A body is held once in pieces and once whole.
            if this.share.set(2 * this.request_bytes).is_err() {
                return this.refuse(cx);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, written, bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    /// Takes note of a write.
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
            return Poll::Ready(Err(io::Error::other(Full)));
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Says why, where nothing of an answer can have been written yet.
    fn refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.share.shrink();
        self.refused = Some(Box::pin(sleep(LINGER)));
        // It fits the empty buffer of the socket, or is lost with it.
        let _ = Pin::new(&mut self.stream).poll_write(cx, NO_MEMORY.as_bytes());
        self.poll_refused(cx)
    }

    /// Reads and drops until the client has seen the end (RFC 9112 §9.6), for a moment.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut dropped = [0; 4096];
        let over = self.refused.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if !over {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            loop {
                let mut came = ReadBuf::new(&mut dropped);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut came))?;
                if came.filled().is_empty() {
                    break;
                }
            }
        }
        Poll::Ready(Err(io::Error::other(Full)))
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
