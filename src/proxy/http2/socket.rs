//! A client's transport below HTTP/2.
//!
//! It returns the bytes first that were read to find out the protocol, and notes in the connection's state if the client takes what it is
//! sent. A client that floods the connection with control frames is disconnected.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection_limits::FrameCounter;
use crate::http1::move_bytes;
use crate::proxy::client::conn_state::ConnState;

/// A client's transport.
pub(super) struct Http2Socket<T> {
    transport: T,
    // Bytes that were read before.
    first: Vec<u8>,
    state: Arc<ConnState>,
    frames: FrameCounter,
}

impl<T> Http2Socket<T> {
    /// Takes a transport from which `first` was read.
    pub(super) fn new(transport: T, first: Vec<u8>, state: Arc<ConnState>) -> Self {
        Self { transport, first, state, frames: FrameCounter::default() }
    }

    /// Notes a write. The connection keeps all that the client does not take.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.set_stuck(written.is_pending());
        if let Poll::Ready(written) = &written {
            self.state.progress();
            self.frames.sent(*written.as_ref().unwrap_or(&0));
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Http2Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
        } else {
            move_bytes(&mut self.first, buf);
        }
        let seen = self.frames.see(buf.filled().get(before..).unwrap_or_default());
        // It ends the connection.
        Poll::Ready(seen.map_err(io::Error::other))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Http2Socket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.transport).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps bytes of its own until they are flushed.
        let flushed = Pin::new(&mut self.transport).poll_flush(cx);
        self.state.set_stuck(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.transport).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
