//! A client's connection as hyper sees it: a socket, and what the connection is doing.
//!
//! One coarse sweep per worker looks at every connection's phase once a second; no request sets a timer for it.
//! Heads are kept as they came until their request is looked at: hyper drops a `Content-Length` that stands
//! beside a `Transfer-Encoding` without a word, and such a request is to be refused, not repaired.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Settings;

/// Seconds since the worker started, as its sweep counts them. Cheap to read; a second late at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticks(Arc<AtomicU32>);

impl Ticks {
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Nothing came yet.
    Fresh,
    /// Between requests.
    Idle,
    /// Part of a head came.
    Head,
    /// A request is with its backend, under the route's own timeout.
    Busy,
    /// A response is on its way.
    Answering,
    /// Both sides speak another protocol.
    Tunnel,
}

/// A connection's stage, and the tick of its last progress. Atomics because hyper wants an upgradable connection
/// to be `Send`; only one thread ever touches them.
#[derive(Debug)]
pub(super) struct Phase {
    stage: AtomicU8,
    since: AtomicU32,
    ticks: Ticks,
    heads: Mutex<Heads>,
}

/// What came since the last head that was looked at. Nothing while a body comes.
#[derive(Debug, Default)]
struct Heads {
    bytes: Vec<u8>,
    in_body: bool,
}

impl Phase {
    pub(super) fn new(stage: Stage, ticks: &Ticks) -> Arc<Self> {
        let (stage, since) = (AtomicU8::new(stage as u8), AtomicU32::new(ticks.now()));
        Arc::new(Self { stage, since, ticks: ticks.clone(), heads: Mutex::default() })
    }

    /// A request has been read, with or without a body to come. Whether its head as it came has a field of
    /// that name; `None` if its head was not kept, which only happens to requests pipelined behind a body.
    pub(super) fn request(&self, method: &Method, has_body: bool, asked: Option<&str>) -> Option<bool> {
        self.enter(Stage::Busy);
        let mut heads = self.heads();
        let found = asked.and_then(|name| heads.first(method)?.has_field(name).into());
        if has_body {
            heads.bytes.clear();
        } else {
            heads.pass();
        }
        heads.in_body = has_body;
        found
    }

    /// The answer is with the client; the next head may come.
    pub(super) fn answered(&self) {
        self.heads().in_body = false;
        self.enter(Stage::Idle);
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.progress();
    }

    pub(super) fn progress(&self) {
        self.since.store(self.ticks.now(), Ordering::Relaxed);
    }

    fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }

    /// Bytes came from the client.
    fn on_read(&self) {
        if self.is(Stage::Idle) || self.is(Stage::Fresh) {
            self.enter(Stage::Head);
        } else if !self.is(Stage::Head) {
            // A head has so long as a whole, however slowly it trickles in.
            self.progress();
        }
    }

    /// Whether it has stood still for too long.
    pub(super) fn is_overdue(&self, settings: &Settings) -> bool {
        let limit = match self.stage.load(Ordering::Relaxed) {
            stage if stage == Stage::Fresh as u8 || stage == Stage::Head as u8 => settings.header_timeout,
            stage if stage == Stage::Idle as u8 => settings.keep_alive,
            stage if stage == Stage::Answering as u8 => settings.body_idle,
            stage if stage == Stage::Tunnel as u8 => settings.tunnel_idle,
            _ => return false,
        };
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        Duration::from_secs(u64::from(still)) > limit
    }
}

/// A head as it came.
struct Head<'a>(&'a [u8]);

impl Heads {
    const BYTES_MAX: usize = 128 * 1024;

    fn keep(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() <= Self::BYTES_MAX {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The first head, if it is whole and one of `method`.
    fn first(&self, method: &Method) -> Option<Head<'_>> {
        let bytes = self.bytes.trim_ascii_start();
        let head = bytes.get(..head_end(bytes)?)?;
        let target = head.strip_prefix(method.as_str().as_bytes())?;
        target.starts_with(b" ").then_some(Head(head))
    }

    /// Forgets the first head.
    fn pass(&mut self) {
        let blank = self.bytes.len() - self.bytes.trim_ascii_start().len();
        let end = head_end(self.bytes.get(blank..).unwrap_or_default()).map_or(self.bytes.len(), |end| blank + end);
        if end == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..end);
        }
    }
}

/// Where the empty line after a head ends; a line may end without a carriage return (RFC 9112 §2.2).
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

impl Head<'_> {
    fn has_field(&self, name: &str) -> bool {
        self.0.split(|byte| *byte == b'\n').any(|line| {
            let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
            field.eq_ignore_ascii_case(name.as_bytes())
        })
    }
}

thread_local! {
    /// Where heads are read to on their way to hyper: one for all connections of a worker.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}

/// The socket.
pub(super) struct Wire {
    socket: TokioIo<TcpStream>,
    phase: Arc<Phase>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, phase: Arc<Phase>) -> Self {
        Self { socket: TokioIo::new(socket), phase }
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut heads = this.phase.heads();
        let read = if heads.in_body {
            Pin::new(&mut this.socket).poll_read(cx, buf)
        } else {
            read_kept(&mut this.socket, cx, buf, &mut heads)
        };
        drop(heads);
        if read.is_ready() {
            this.phase.on_read();
        }
        read
    }
}

/// Reads through the scratch, so that what came can be kept.
fn read_kept(
    socket: &mut TokioIo<TcpStream>,
    cx: &mut Context<'_>,
    mut buf: ReadBufCursor<'_>,
    heads: &mut Heads,
) -> Poll<io::Result<()>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let room = buf.remaining().min(scratch.len());
        let mut came = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(socket).poll_read(cx, came.unfilled()))?;
        buf.put_slice(came.filled());
        heads.keep(came.filled());
        Poll::Ready(Ok(()))
    })
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
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(bytes: &str) -> Arc<Phase> {
        let phase = Phase::new(Stage::Fresh, &Ticks::default());
        phase.heads().keep(bytes.as_bytes());
        phase
    }

    #[test]
    fn a_field_is_found_in_the_head_of_the_request_and_nowhere_else() {
        let asks = |bytes: &str| phase(bytes).request(&Method::POST, true, Some("content-length"));
        assert_eq!(asks("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), Some(true));
        assert_eq!(asks("\r\nPOST / HTTP/1.1\nHost: a\ncontent-length:3\n\n"), Some(true));
        assert_eq!(asks("POST / HTTP/1.1\r\nhost: a\r\n\r\n3\r\ncontent-length: 3\r\n\r\n"), Some(false));
        assert_eq!(asks("ost: a\r\n\r\n"), None, "the rest of a head whose beginning was not kept");
        assert_eq!(asks("POST / HTTP/1.1\r\nhost: a\r\n"), None);
    }

    #[test]
    fn requests_are_passed_one_by_one() {
        let phase = phase("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nx: 1\r\n\r\n");
        assert_eq!(phase.request(&Method::GET, false, Some("x")), Some(false));
        assert_eq!(phase.request(&Method::GET, false, Some("x")), Some(false));
        assert_eq!(phase.request(&Method::POST, true, Some("x")), Some(true));
        assert!(phase.heads().bytes.is_empty());
    }
}
