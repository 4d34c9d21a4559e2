//! A client's socket as hyper sees it: tells the connection's phase of what passes, and keeps heads as they come.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::heads::Heads;
use super::phase::{Phase, Stage};
use crate::traffic::RequestLine;

thread_local! {
    /// Where heads are read to on their way to hyper: one for all connections of a worker.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}

/// For how many bytes a client that was answered early may go on sending; `phase` says how long.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The socket.
pub(super) struct Wire {
    socket: TokioIo<TcpStream>,
    phase: Arc<Phase>,
    // The request line under way, as far as it must be looked at.
    line: RequestLine,
    // What came and was not asked for yet: an encoded target is longer than it was.
    surplus: Vec<u8>,
    // Read and dropped so far; `None` before the answer's end was sent.
    lingered: Option<usize>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, phase: Arc<Phase>) -> Self {
        let (line, surplus) = (RequestLine::Over, Vec::new());
        Self { socket: TokioIo::new(socket), phase, line, surplus, lingered: None }
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.surplus.is_empty() {
            hand_over(&mut this.surplus, &mut buf);
            return Poll::Ready(Ok(()));
        }
        if this.phase.awaits_request() {
            this.line = RequestLine::Awaited;
        }
        let mut heads = this.phase.heads();
        let read = if heads.lost() && this.line == RequestLine::Over {
            Pin::new(&mut this.socket).poll_read(cx, buf)
        } else {
            let came = read_kept(&mut this.socket, cx, buf, &mut heads, &mut this.line);
            came.map(|came| came.map(|surplus| this.surplus = surplus))
        };
        drop(heads);
        if read.is_ready() {
            this.phase.on_read();
        }
        read
    }
}

/// Reads through the scratch, so that what came can be kept and its target cleaned. Gives what found no room.
fn read_kept(
    socket: &mut TokioIo<TcpStream>,
    cx: &mut Context<'_>,
    mut buf: ReadBufCursor<'_>,
    heads: &mut Heads,
    line: &mut RequestLine,
) -> Poll<io::Result<Vec<u8>>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let room = buf.remaining().min(scratch.len());
        let mut came = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(socket).poll_read(cx, came.unfilled()))?;
        let Some(mut cleaned) = line.pass(came.filled()) else {
            buf.put_slice(came.filled());
            heads.keep(came.filled());
            return Poll::Ready(Ok(Vec::new()));
        };
        heads.keep(&cleaned);
        hand_over(&mut cleaned, &mut buf);
        Poll::Ready(Ok(cleaned))
    })
}

/// Moves as many bytes as there is room for; the others stay.
fn hand_over(bytes: &mut Vec<u8>, buf: &mut ReadBufCursor<'_>) {
    let room = buf.remaining().min(bytes.len());
    let rest = bytes.split_off(room);
    buf.put_slice(bytes);
    *bytes = rest;
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        if written.is_ready() {
            self.phase.progress();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.phase.progress();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.lingered = Some(0);
            self.phase.enter(Stage::Lingering);
        }
        if self.phase.lingers() {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl Wire {
    /// Reads and drops until the client has seen the end (RFC 9112 §9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingered = self.lingered.get_or_insert(0);
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                let mut came = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.socket).poll_read(cx, came.unfilled()))?;
                *lingered += came.filled().len();
                if came.filled().is_empty() || *lingered > LINGER_BYTES_MAX {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}
