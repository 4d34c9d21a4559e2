//! Active health checks: asks backends whether they are well, and tells endpoints and sessions what came of it.
//!
//! One task on the control runtime, so that checks cost the workers nothing. Which check is due, and whom its outcome concerns,
//! [`Checks`] decides; what failures and successes make of an endpoint, its health. What must hold: a check ends within
//! its timeout, reads a bounded head over a connection of its own, follows no redirect, and connects to nothing that is denied.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::dial::connect;
use super::report::{Report, Reports};
use super::resolve::look_up;
use super::tls::Tls;
use crate::domain::{Event, Scheme, Time};
use crate::traffic::{CheckId, Checks, Endpoint, Finding, Inquiry, Table, Turn};
use crate::{chance, clock};

/// Checks the backends of all active routes.
#[derive(Debug)]
pub struct Checker {
    /// Which routes there are.
    pub table: Arc<ArcSwap<Table>>,
    /// Notified after the table was replaced.
    pub changed: Arc<Notify>,
    /// Networks that nothing may be connected to in.
    pub deny: Arc<[IpNet]>,
    /// Whose certificates are trusted.
    pub tls: Tls,
    /// Where sessions learn of it.
    pub reports: Reports,
}

/// `Err`: why the backend is not well, in words fit for the client's eyes.
type Outcome = Result<(), String>;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 128;
/// How much of a body is read, and for how long, so that the backend sees its answer taken rather than a reset.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIME_MAX: Duration = Duration::from_millis(250);
/// After so many reports their reader gets a turn.
const REPORTS_AT_ONCE: usize = 256;

impl Checker {
    /// Checks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut checks = Checks::default();
        let mut under_way = UnderWay::default();
        let mut dice = Dice(chance::seed() | 1);
        let tls = self.tls.without_resumption();
        self.follow(&mut checks, &mut under_way);
        loop {
            while let Some((id, inquiry)) = checks.begin(clock::now()) {
                under_way.begin(id, ask(inquiry, Arc::clone(&self.deny), tls.clone()));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.changed.notified() => self.follow(&mut checks, &mut under_way),
                ended = under_way.ended() => {
                    for (id, outcome) in ended {
                        let now = clock::now();
                        self.tell(&checks.end(id, now, dice.roll()), &outcome, now).await;
                    }
                }
                () = until(checks.next_due()) => {}
            }
        }
    }

    fn follow(&self, checks: &mut Checks, under_way: &mut UnderWay) {
        checks.follow(&self.table.load(), clock::now()).into_iter().for_each(|gone| under_way.abandon(gone));
    }

    async fn tell(&self, endpoints: &[Arc<Endpoint>], outcome: &Outcome, now: Time) {
        let finding = match outcome {
            Ok(()) => Finding::Well,
            Err(reason) => Finding::Ill(reason),
        };
        for some in endpoints.chunks(REPORTS_AT_ONCE) {
            let mut told = false;
            for endpoint in some {
                let Some(turn) = endpoint.live.health.observe(finding, now) else { continue };
                self.report(endpoint, &turn);
                told = true;
            }
            if told {
                tokio::task::yield_now().await;
            }
        }
    }

    fn report(&self, endpoint: &Endpoint, turn: &Turn) {
        let (route, healthy, reason) = (endpoint.id(), turn.healthy, &*turn.reason);
        tracing::info!(%route, backend = %endpoint.backend(), healthy, reason, "a backend's health changed");
        let event = Event::BackendHealthChanged { route, healthy, reason: reason.to_owned() };
        self.reports.tell(Report { session: endpoint.session, route, event });
    }
}

/// The checks that have begun.
#[derive(Default)]
struct UnderWay {
    checks: FuturesUnordered<BoxFuture<'static, (CheckId, Result<Outcome, Aborted>)>>,
    handles: HashMap<CheckId, AbortHandle>,
}

impl UnderWay {
    fn begin(&mut self, id: CheckId, check: impl Future<Output = Outcome> + Send + 'static) {
        let (check, handle) = abortable(check);
        self.handles.insert(id, handle);
        self.checks.push(Box::pin(check.map(move |ended| (id, ended))));
    }

    fn abandon(&mut self, id: CheckId) {
        self.handles.remove(&id).iter().for_each(AbortHandle::abort);
    }

    /// Waits for one to end and takes what else has. Never ends when none is under way.
    async fn ended(&mut self) -> Vec<(CheckId, Outcome)> {
        let mut ended = Vec::new();
        while ended.is_empty() {
            let Some(first) = self.checks.next().await else { return std::future::pending().await };
            ended.extend(self.outcome(first));
            while let Some(Some(more)) = self.checks.next().now_or_never() {
                ended.extend(self.outcome(more));
            }
        }
        ended
    }

    fn outcome(&mut self, (id, ended): (CheckId, Result<Outcome, Aborted>)) -> Option<(CheckId, Outcome)> {
        let outcome = ended.ok()?;
        self.handles.remove(&id);
        Some((id, outcome))
    }
}

/// Xorshift, seeded once: it only spreads checks.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

async fn until(due: Option<Time>) {
    match due {
        Some(due) => tokio::time::sleep(due.since(clock::now()).std()).await,
        None => std::future::pending().await,
    }
}

/// A connection, plain or over TLS.
type Socket = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Makes one check.
async fn ask(inquiry: Arc<Inquiry>, deny: Arc<[IpNet]>, tls: Tls) -> Outcome {
    let limit = inquiry.timeout.std();
    let answered = timeout(limit, ask_now(&inquiry, &deny, &tls, limit)).await;
    let (answer, mut socket) = answered.unwrap_or_else(|_| Err(format!("no answer within {}", inquiry.timeout)))?;
    if !answer.whole {
        let _ = timeout(BODY_TIME_MAX, see_out(&mut socket)).await;
    }
    if inquiry.check.accepts(answer.status) { Ok(()) } else { Err(format!("status {}", answer.status)) }
}

async fn ask_now(inquiry: &Inquiry, deny: &[IpNet], tls: &Tls, limit: Duration) -> Result<(Answer, Socket), String> {
    let end = clock::instant() + limit;
    let backend = &inquiry.backend;
    let addresses = look_up(backend, deny).await.map_err(|error| error.to_string())?;
    let plain = connect(&addresses, backend.port(), end).await.map_err(|error| error.to_string())?;
    let mut socket: Socket = match backend.scheme() {
        Scheme::Http => Box::new(plain),
        Scheme::Https => {
            let shaken = tls.shake(plain, backend, inquiry.tls_verify, end).await;
            Box::new(shaken.map_err(|error| error.to_string())?)
        }
    };
    let answer = exchange(&mut socket, &request(inquiry)).await?;
    Ok((answer, socket))
}

fn request(inquiry: &Inquiry) -> String {
    let (backend, path) = (&inquiry.backend, &inquiry.path);
    format!(
        "GET {}{path} HTTP/1.1\r\nhost: {}\r\nuser-agent: signalbox\r\naccept: */*\r\nconnection: close\r\n\r\n",
        backend.base(),
        backend.authority()
    )
}

/// What is known of an answer once its head is read.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Its body was read too.
    whole: bool,
}

/// Sends a request and reads the head of its answer.
async fn exchange(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> Result<Answer, &'static str> {
    socket.write_all(request.as_bytes()).await.map_err(|_| "the connection was reset")?;
    let mut read = BytesMut::with_capacity(1024);
    let mut searched: usize = 0;
    loop {
        match socket.read_buf(&mut read).await {
            Ok(0) => return Err("the connection was closed without an answer"),
            Ok(_) => {}
            Err(_) => return Err("the connection was reset"),
        }
        // Looked for before it is parsed: a backend that sends byte by byte must not have it parsed each time.
        if has_end(&read, searched)
            && let Some(answer) = parse(&read)?
        {
            return Ok(answer);
        }
        searched = read.len();
        if searched >= HEAD_BYTES_MAX {
            return Err("the head of the answer is too large");
        }
    }
}

/// Whether a head may end in what was read after the first `searched` bytes.
fn has_end(read: &[u8], searched: usize) -> bool {
    let unseen = read.get(searched.saturating_sub(2)..).unwrap_or_default();
    unseen.windows(2).any(|two| two == b"\n\n") || unseen.windows(3).any(|three| three == b"\n\r\n")
}

/// The final answer's head (RFC 9110 §15.2), once all of it is there.
fn parse(mut read: &[u8]) -> Result<Option<Answer>, &'static str> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(read).map_err(|_| "the answer is not HTTP")?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let (status, body) = (head.code.unwrap_or(0), read.get(length..).unwrap_or_default());
        match status {
            101 | 200.. => return Ok(Some(Answer { status, whole: is_whole(status, head.headers, body.len()) })),
            100.. => read = body,
            _ => return Err("the answer is not HTTP"),
        }
    }
}

fn is_whole(status: u16, fields: &[httparse::Header<'_>], read: usize) -> bool {
    let mut lengths = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
    matches!(status, 101 | 204 | 304) || length.is_some_and(|length: usize| read >= length)
}

async fn see_out(socket: &mut (impl AsyncRead + Unpin)) {
    let (mut read, mut buffer) = (0, [0; 4096]);
    while read < BODY_BYTES_MAX {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => read += count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    async fn exchanged(answer: &[u8]) -> Result<Answer, &'static str> {
        let mut socket = tokio_test_socket(answer);
        exchange(&mut socket, "GET / HTTP/1.1\r\n\r\n").await
    }

    /// Takes what is written, and gives `answer` and then the end.
    fn tokio_test_socket(answer: &[u8]) -> impl AsyncRead + AsyncWrite + Unpin {
        tokio::io::join(std::io::Cursor::new(answer.to_vec()), tokio::io::sink())
    }

    #[tokio::test]
    async fn an_answer_is_known_by_its_head() {
        assert_eq!(exchanged(OK.as_bytes()).await, Ok(Answer { status: 200, whole: true }));
        let longer = OK.replace("length: 2", "length: 3");
        assert_eq!(exchanged(longer.as_bytes()).await, Ok(Answer { status: 200, whole: false }));
        let early = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}");
        assert_eq!(exchanged(early.as_bytes()).await, Ok(Answer { status: 200, whole: true }));
        assert_eq!(exchanged(b"HTTP/1.0 503\n\n").await, Ok(Answer { status: 503, whole: false }));
        assert_eq!(exchanged(b"HTTP/1.1 204 No Content\r\n\r\n").await, Ok(Answer { status: 204, whole: true }));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_said_in_words() {
        assert_eq!(exchanged(b"").await, Err("the connection was closed without an answer"));
        assert_eq!(exchanged(b"HTTP/1.1 200 OK\r\n").await, Err("the connection was closed without an answer"));
        assert_eq!(exchanged(b"SSH-2.0-x\r\n\r\n").await, Err("the answer is not HTTP"));
        assert_eq!(exchanged(b"HTTP/1.1 099 X\r\n\r\n").await, Err("the answer is not HTTP"));
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'x'; HEAD_BYTES_MAX]].concat();
        assert_eq!(exchanged(&endless).await, Err("the head of the answer is too large"));
        let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 20);
        assert_eq!(exchanged(flood.as_bytes()).await, Err("the head of the answer is too large"));
    }

    #[test]
    fn the_end_of_a_head_is_found_across_reads() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        for searched in 0..head.len() {
            assert!(has_end(head, searched), "{searched}");
        }
        assert!(!has_end(&head[..head.len() - 1], 0));
    }
}
