//! A client's socket, as the transport of hyper.
//!
//! It notes progress in the connection's state, keeps the heads of requests, and counts the memory of unfinished heads,
//! of bodies and of responses that the client does not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::{move_bytes, poll_write_slices};
use crate::memory_budget::{MemoryFull, MemoryShare};
use crate::proxy::client::conn_state::ConnStage;
use crate::proxy::client::conn_state::ConnState;
use crate::proxy::client::transport::{ClientTransport, TLS_HANDSHAKE};
use crate::proxy::limits::HEAD_BYTES_MAX;
use crate::traffic::TargetEncoder;

/// The most bytes that a client may go on sending after an early answer; `conn_state` limits the time.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The place of the status in the first line of a response.
const STATUS_AT: std::ops::Range<usize> = 9..12;

/// A client's socket.
pub(crate) struct ClientSocket<T: ClientTransport> {
    socket: T,
    // The bytes that were read to find out the protocol.
    first: Vec<u8>,
    state: Arc<ConnState>,
    // The encoder of the request line under way.
    line: TargetEncoder,
    // Bytes that hyper has not read yet, because an encoded target is longer than the buffer of the read.
    unread: Vec<u8>,
    // The bytes that were read and dropped so far; `None` before the end of the response was sent.
    lingered: Option<usize>,
    share: MemoryShare,
    // The bytes of the head that is being read.
    head_bytes: usize,
    // Interim heads that go out before anything else.
    interim: Vec<u8>,
    // True once the client was told that there is no memory for its request.
    refused: bool,
}

impl<T: ClientTransport> ClientSocket<T> {
    /// Takes a transport from which `first` was read.
    pub(crate) fn new(socket: T, first: Vec<u8>, state: Arc<ConnState>, share: MemoryShare) -> Self {
        let (line, unread, interim) = (TargetEncoder::Done, Vec::new(), Vec::new());
        Self { socket, first, state, line, unread, lingered: None, share, head_bytes: 0, interim, refused: false }
    }
}

impl<T: ClientTransport> Drop for ClientSocket<T> {
    fn drop(&mut self) {
        if self.state.must_reset() {
            // Without the reset, the end would look like that of a whole response.
            let _ = SockRef::from(self.socket.tcp()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl<T: ClientTransport> AsyncRead for ClientSocket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused {
            return this.poll_refused(cx);
        }
        if !this.unread.is_empty() {
            move_bytes(&mut this.unread, buf);
            return Poll::Ready(Ok(()));
        }
        if this.state.awaits_request() {
            this.line = TargetEncoder::Start;
        }
        let before = buf.filled().len();
        let head_expected = this.state.expects_head();
        let read = if this.first.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(cx, buf))
        } else {
            move_bytes(&mut this.first, buf);
            Ok(())
        };
        let received = buf.filled().get(before..).unwrap_or_default();
        if received.is_empty() && read.is_ok() && this.state.half_closes() {
            return Poll::Pending;
        }
        if received.first() == Some(&TLS_HANDSHAKE) && head_expected && this.head_bytes == 0 {
            // A client that expects TLS could not read an answer. hyper takes this for the end of the connection.
            this.state.linger();
            buf.set_filled(before);
            return Poll::Ready(Ok(()));
        }
        this.state.on_read();
        read?;
        this.head_bytes = if head_expected { this.head_bytes + received.len() } else { 0 };
        let held = if head_expected { 3 * this.head_bytes } else { received.len() };
        let kept = match this.line.encode(received) {
            None => this.state.heads().keep(received),
            Some(cleaned) => {
                let kept = this.state.heads().keep(&cleaned);
                buf.set_filled(before);
                this.unread = cleaned;
                move_bytes(&mut this.unread, buf);
                kept
            }
        };
        // A head is held here and in hyper, in buffers that grow by doubling. Of a body, only the bytes of one read are held.
        if this.share.set(held).is_err() {
            return this.poll_refused(cx);
        }
        // hyper takes the error for a body that broke off, and reads no further.
        Poll::Ready(kept.map_err(|garbled| io::Error::new(io::ErrorKind::InvalidData, garbled)))
    }
}

impl<T: ClientTransport> AsyncWrite for ClientSocket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if ready!(self.poll_refusal(buf)) {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(written, || buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.poll_refusal(bufs.first().map_or(&[], |first| first))) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        ready!(self.poll_interim(cx))?;
        let written = poll_write_slices(&mut self.socket, cx, bufs);
        self.wrote(written, || bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper knows no interim heads but 100. It flushes after it has written all that it had, so no message is cut in two here.
        if let Some(heads) = self.state.take_interim() {
            self.interim.extend(heads);
        }
        ready!(self.poll_interim(cx))?;
        // hyper flushes once it has written all that it had.
        self.state.flushed();
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if T::UNSENT_BYTES_MAX == 0 {
            return flushed;
        }
        self.wrote(flushed.map_ok(|()| 0), || T::UNSENT_BYTES_MAX).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.lingered = Some(0);
            self.state.enter(ConnStage::Lingering);
        }
        if self.state.lingers() {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: ClientTransport> ClientSocket<T> {
    /// Puts the proxy's answer to a head in the place of hyper's, of which these are the first bytes. Returns true if it did.
    fn poll_refusal(&mut self, first: &[u8]) -> Poll<bool> {
        if !self.state.refuses_head() {
            return Poll::Ready(false);
        }
        if let Some(answer) = self.state.take_refusal() {
            self.interim.extend(answer);
            self.state.enter(ConnStage::Answering);
            self.state.linger();
            return Poll::Ready(true);
        }
        let status = first.get(STATUS_AT).and_then(|status| StatusCode::from_bytes(status).ok());
        let Some(status) = status else { return Poll::Ready(false) };
        // The task of the connection gives the answer at once, and polls again.
        self.state.ask_for_refusal(status);
        Poll::Pending
    }

    /// Writes the interim heads that are under way.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.interim))?;
            self.interim.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Notes a write. While a client does not read, its response is held here and in the connection to the backend. The
    /// connection ends when there is no memory for that.
    fn wrote(&mut self, written: Poll<io::Result<usize>>, waiting: impl FnOnce() -> usize) -> Poll<io::Result<usize>> {
        self.state.set_stuck(written.is_pending());
        if written.is_ready() {
            self.state.progress();
            self.share.shrink();
            return written;
        }
        match self.share.set(waiting() + HEAD_BYTES_MAX) {
            Ok(()) => Poll::Pending,
            Err(full) => Poll::Ready(Err(io::Error::other(full))),
        }
    }

    /// Tells the client that there is no memory for its request, then ends the connection as after an early answer.
    fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.refused, true) {
            self.share.shrink();
            if self.state.expects_head() || !self.state.answers() {
                // The task of the connection gives the answer at once, and polls again.
                self.state.ask_for_refusal(StatusCode::SERVICE_UNAVAILABLE);
                return Poll::Pending;
            }
        }
        self.state.heads().lose();
        if let Some(answer) = self.state.take_refusal() {
            // It fits into the empty buffer of a socket, or is lost with the socket.
            let _ = Pin::new(&mut self.socket).poll_write(cx, &answer);
            if self.state.expects_head() {
                // hyper would hold the head for as long as the client takes to read the answer.
                let _ = Pin::new(&mut self.socket).poll_shutdown(cx)?;
                let _ = self.poll_linger(cx)?;
                return Poll::Ready(Err(io::Error::other(MemoryFull)));
            }
        }
        self.state.linger();
        ready!(Pin::new(&mut *self).poll_shutdown(cx))?;
        Poll::Ready(Err(io::Error::other(MemoryFull)))
    }

    /// Reads and drops bytes until the client has seen the end (RFC 9112 §9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingered = self.lingered.get_or_insert(0);
        let mut scratch = [0; 4096];
        loop {
            let mut received = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut received))?;
            *lingered += received.filled().len();
            if received.filled().is_empty() || *lingered > LINGER_BYTES_MAX {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
