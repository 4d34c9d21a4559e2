//! A client's connection as hyper sees it: a socket, and what the connection is doing.
//!
//! One coarse sweep per worker looks at every connection's phase; no request sets a timer.
//! The head of the request under way is kept as it came. hyper drops a `Content-Length` that stands beside a
//! `Transfer-Encoding` without a word, and such a request is to be refused, not repaired; and a request that must be sent a
//! second time is read from it again, which costs the many that need not nothing.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Settings;

/// Steps of 50 ms since the worker started, as its sweep counts them. Cheap to read; a step late at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticks(Arc<AtomicU32>);

impl Ticks {
    pub(super) const STEP: Duration = Duration::from_millis(50);

    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// It is now so long after the start.
    pub(super) fn set(&self, elapsed: Duration) -> u32 {
        let now = Self::steps(elapsed);
        self.0.store(now, Ordering::Relaxed);
        now
    }

    /// The first tick that is at least `span` from now.
    pub(super) fn after(&self, span: Duration) -> u32 {
        self.now().saturating_add(Self::steps(span)).saturating_add(2)
    }

    pub(super) fn steps(span: Duration) -> u32 {
        u32::try_from(span.as_millis() / Self::STEP.as_millis()).unwrap_or(u32::MAX - 2)
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
    /// The answer went out before the request had come in; the rest is read and dropped.
    Lingering,
}

/// A connection's stage, and the tick of its last progress. Atomics because hyper wants an upgradable connection
/// to be `Send`; only one thread ever touches them.
#[derive(Debug)]
pub(super) struct Phase {
    stage: AtomicU8,
    since: AtomicU32,
    // The tick at which its task wants to be woken; 0 for none.
    due: AtomicU32,
    finishes: AtomicBool,
    lingers: AtomicBool,
    ticks: Ticks,
    heads: Mutex<Heads>,
}

/// Heads as they came.
#[derive(Debug, Default)]
struct Heads {
    /// That of the request under way; empty if it was not kept.
    current: Vec<u8>,
    /// What came behind it. Nothing while a body comes.
    next: Vec<u8>,
    in_body: bool,
}

impl Phase {
    pub(super) fn new(stage: Stage, ticks: &Ticks) -> Arc<Self> {
        let (stage, since) = (AtomicU8::new(stage as u8), AtomicU32::new(ticks.now()));
        let [finishes, lingers] = [false, false].map(AtomicBool::new);
        let due = AtomicU32::new(0);
        Arc::new(Self { stage, since, due, finishes, lingers, ticks: ticks.clone(), heads: Mutex::default() })
    }

    /// A request has been read, with or without a body to come.
    pub(super) fn request(&self, has_body: bool) {
        self.enter(Stage::Busy);
        self.heads().advance(has_body);
    }

    /// A field of the request under way, as it came. `None` also if its head was not kept, which only happens
    /// to requests pipelined behind a body.
    pub(super) fn field(&self, method: &Method, name: &str) -> Option<Field> {
        let heads = self.heads();
        let head = heads.current(method)?;
        let value = head.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (found, value) = line.split_at(colon);
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.get(1..).unwrap_or_default().trim_ascii().to_vec())
        });
        Some(value)
    }

    /// The fields of the request under way, read again.
    pub(super) fn fields(&self, method: &Method) -> Option<HeaderMap> {
        let heads = self.heads();
        let mut lines = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut lines);
        request.parse(heads.current(method)?).ok()?;
        let mut fields = HeaderMap::with_capacity(request.headers.len() + FIELDS_ADDED);
        for line in request.headers.iter() {
            fields.append(HeaderName::try_from(line.name).ok()?, HeaderValue::try_from(line.value).ok()?);
        }
        Some(fields)
    }

    /// Its task wants to be woken at the tick `due`.
    pub(super) fn wake_at(&self, due: Option<u32>) {
        self.due.store(due.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn due(&self) -> Option<u32> {
        Some(self.due.load(Ordering::Relaxed)).filter(|due| *due > 0)
    }

    /// The client may still be sending what nobody reads: closing now could take the answer from it.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// It is to end after what it is doing.
    pub(super) fn finish(&self) {
        self.finishes.store(true, Ordering::Relaxed);
    }

    pub(super) fn finishes(&self) -> bool {
        self.finishes.load(Ordering::Relaxed)
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
        if self.is(Stage::Lingering) {
            return;
        }
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
            stage if stage == Stage::Lingering as u8 => LINGER_MAX,
            _ => return false,
        };
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        still > Ticks::steps(limit)
    }
}

/// What a field of a head that was kept says, if it is there.
pub(super) type Field = Option<Vec<u8>>;

/// hyper takes no more.
const FIELDS_MAX: usize = 100;
/// What is added on the way: the client's address, twice, its host and scheme, and `Via`.
const FIELDS_ADDED: usize = 6;

impl Heads {
    const BYTES_MAX: usize = 128 * 1024;

    fn keep(&mut self, bytes: &[u8]) {
        if self.next.len() + bytes.len() <= Self::BYTES_MAX {
            self.next.extend_from_slice(bytes);
        }
    }

    /// The next head is the current one.
    fn advance(&mut self, has_body: bool) {
        self.current.clear();
        let blank = self.next.len() - self.next.trim_ascii_start().len();
        let end = head_end(self.next.get(blank..).unwrap_or_default()).map_or(0, |end| blank + end);
        if end == self.next.len() {
            std::mem::swap(&mut self.current, &mut self.next);
        } else {
            self.current.extend(self.next.drain(..end));
        }
        if has_body || end == 0 {
            self.next.clear();
        }
        self.in_body = has_body;
    }

    /// The current head, if it is one of `method`: else some of it was not kept.
    fn current(&self, method: &Method) -> Option<&[u8]> {
        let head = self.current.trim_ascii_start();
        let target = head.strip_prefix(method.as_str().as_bytes())?;
        target.starts_with(b" ").then_some(head)
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

thread_local! {
    /// Where heads are read to on their way to hyper: one for all connections of a worker.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}

/// How long, and for how many bytes, a client that was answered early may go on sending.
const LINGER_MAX: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The socket.
pub(super) struct Wire {
    socket: TokioIo<TcpStream>,
    phase: Arc<Phase>,
    // Read and dropped so far; `None` before the answer's end was sent.
    lingered: Option<usize>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, phase: Arc<Phase>) -> Self {
        Self { socket: TokioIo::new(socket), phase, lingered: None }
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
        if self.lingered.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.lingered = Some(0);
            self.phase.enter(Stage::Lingering);
        }
        if self.phase.lingers.load(Ordering::Relaxed) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(bytes: &str, has_body: bool) -> Arc<Phase> {
        let phase = Phase::new(Stage::Fresh, &Ticks::default());
        phase.heads().keep(bytes.as_bytes());
        phase.request(has_body);
        phase
    }

    #[test]
    fn a_field_is_found_in_the_head_of_the_request_and_nowhere_else() {
        let asks = |bytes: &str| {
            let found = phase(bytes, true).field(&Method::POST, "content-length");
            found.map(|value| value.map(|value| String::from_utf8(value).unwrap().trim().to_owned()))
        };
        assert_eq!(asks("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), Some(Some("3".into())));
        assert_eq!(asks("\r\nPOST / HTTP/1.1\nHost: a\ncontent-length:3\n\n"), Some(Some("3".into())));
        assert_eq!(asks("POST / HTTP/1.1\r\nhost: a\r\n\r\n3\r\ncontent-length: 3\r\n\r\n"), Some(None));
        assert_eq!(asks("ost: a\r\n\r\n"), None, "the rest of a head whose beginning was not kept");
        assert_eq!(asks("POST / HTTP/1.1\r\nhost: a\r\n"), None);
    }

    #[test]
    fn requests_are_passed_one_by_one_and_can_be_read_again() {
        let phase =
            phase("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nx: 1\r\nx: 2\r\n\r\nbody", false);
        assert!(phase.fields(&Method::GET).unwrap().is_empty());
        phase.request(false);
        assert!(phase.fields(&Method::GET).unwrap().is_empty());
        phase.request(true);
        let fields = phase.fields(&Method::POST).unwrap();
        assert_eq!(fields.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(phase.heads().next.is_empty(), "a body is not kept");
    }
}
