//! One health check: asks a backend whether it is well.
//!
//! Begun by a [`knock`] where that can be, and seen through by [`ask`] or [`hear_out`] where it takes longer. What must hold: a check
//! ends within its timeout, reads a bounded head over a connection of its own, follows no redirect, and connects to nothing
//! that is denied.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use httparse::ParserConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fast_path::{Knock, MOMENT, Sockets};
use crate::clock;
use crate::connect::{AddressResolver, BackendTls, ConnectError, DnsCache, connect, left, serial};
use crate::domain::{CheckMethod, Scheme, SessionKey};
use crate::traffic::{ProbeSpec, origin_hash};

/// What comes of a check.
pub(crate) type Outcome = Result<(), Ill>;

/// Why a check did not succeed.
#[derive(Debug)]
pub(crate) enum Ill {
    /// The backend is not well; in words fit for the client's eyes.
    Backend(String),
    /// This server had no room for a connection: nothing was found out.
    NoRoom,
}

impl From<String> for Ill {
    fn from(why: String) -> Self {
        Self::Backend(why)
    }
}

impl From<&str> for Ill {
    fn from(why: &str) -> Self {
        Self::Backend(why.to_owned())
    }
}

impl From<ConnectError> for Ill {
    fn from(unreachable: ConnectError) -> Self {
        if unreachable.lacks_resources() { Self::NoRoom } else { Self::Backend(unreachable.to_string()) }
    }
}

const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 128;
/// How much of a body is read, and for how long, so that the backend sees its answer taken rather than a reset.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIME_MAX: Duration = Duration::from_millis(250);
/// What is read at once.
const READ_BYTES_MAX: usize = 4096;

/// What all checks have in common. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Asking {
    /// What may be connected to.
    pub(crate) addresses: AddressResolver,
    /// Whose certificates are trusted. Without resumption.
    pub(crate) tls: BackendTls,
    /// Where backends given by name are.
    pub(crate) names: DnsCache,
}

/// Begins a check by knocking. `None` where it cannot be begun that way: by TLS, in a hurry, of a backend that has to be looked
/// up first or does not take connections.
pub(crate) fn knock(inquiry: &ProbeSpec, asking: &Asking, sockets: &mut Sockets) -> Option<Knock> {
    let backend = &inquiry.backend;
    if backend.scheme() != Scheme::Http || inquiry.timeout.std() < MOMENT * 16 {
        return None;
    }
    let address = asking.names.address(backend, &asking.addresses)?;
    sockets.knock(address, request(inquiry)).ok()
}

/// What there is a moment after knocking.
pub(crate) enum Found {
    /// The check has ended.
    Outcome(Outcome),
    /// The request went out only now.
    Sent(Knock),
    /// So much of an answer, or nothing yet: for [`hear_out`].
    Part(Knock, BytesMut),
    /// No connection: for [`ask`], which has more ways.
    Nobody,
}

/// Looks what has become of a knock.
pub(crate) fn look(inquiry: &ProbeSpec, mut knock: Knock, sockets: &mut Sockets) -> Found {
    if !knock.is_sent() {
        return match knock.send() {
            Ok(()) if knock.is_sent() => Found::Sent(knock),
            _ => Found::Nobody,
        };
    }
    let mut room = [0; READ_BYTES_MAX];
    match read(&knock, &mut room, inquiry.method) {
        Ok((Some(answer), _)) => {
            sockets.end(knock);
            Found::Outcome(judge(inquiry, answer))
        }
        Ok((None, came)) => Found::Part(knock, room.get(..came).unwrap_or_default().into()),
        Err(failed) => Found::Outcome(Err(failed.into())),
    }
}

/// The answer, if all of it is there, and how many bytes are.
fn read(knock: &Knock, room: &mut [u8], method: CheckMethod) -> Result<(Option<Answer>, usize), &'static str> {
    let mut came = 0;
    loop {
        let free = room.get_mut(came..).unwrap_or_default();
        let read = if free.is_empty() { None } else { knock.read(free).map_err(|_| RESET)? };
        came += read.unwrap_or(0);
        match (parse(room.get(..came).unwrap_or_default(), method)?, read) {
            (Some(answer), Some(0)) => return Ok((Some(answer), came)),
            (Some(answer), _) if answer.whole => return Ok((Some(answer), came)),
            (None, Some(0)) => return Err(CLOSED),
            (_, Some(_)) => {}
            (_, None) => return Ok((None, came)),
        }
    }
}

/// Makes one check, from the connection on. A name is looked up in the turn of `asker`.
pub(crate) async fn ask(inquiry: Arc<ProbeSpec>, asker: SessionKey, asking: Asking, end: Instant) -> Outcome {
    see_through(&inquiry, end, ask_now(&inquiry, asker, &asking, end)).await
}

/// Goes on with a check whose request was sent, when so much of the answer was `read`.
pub(crate) async fn hear_out(inquiry: Arc<ProbeSpec>, knock: Knock, read: BytesMut, end: Instant) -> Outcome {
    let heard = async {
        let mut socket = TcpStream::from_std(knock.into_stream()).map_err(|_| RESET)?;
        let answer = hear(&mut socket, read, inquiry.method).await?;
        Ok((answer, rest(answer, socket)))
    };
    see_through(&inquiry, end, heard).await
}

/// What comes after the head of an answer.
type Rest = Box<dyn AsyncRead + Send + Unpin>;
/// The answer, and where there is more of it to be read.
type Heard = Result<(Answer, Option<Rest>), Ill>;

async fn see_through(inquiry: &ProbeSpec, end: Instant, heard: impl Future<Output = Heard>) -> Outcome {
    let patience = serial::PATIENCE.min(inquiry.timeout.std() / 4);
    let origin = origin_hash(&inquiry.backend, inquiry.tls_verify);
    let heard = timeout(left(end), serial::impatiently(origin, patience, heard)).await;
    let (answer, rest) = heard.unwrap_or_else(|_| Err(format!("no answer within {}", inquiry.timeout).into()))?;
    if let Some(mut rest) = rest {
        let _ = timeout(BODY_TIME_MAX, see_out(&mut rest)).await;
    }
    judge(inquiry, answer)
}

fn judge(inquiry: &ProbeSpec, answer: Answer) -> Outcome {
    if inquiry.accepts(answer.status) { Ok(()) } else { Err(format!("status {}", answer.status).into()) }
}

async fn ask_now(inquiry: &ProbeSpec, asker: SessionKey, asking: &Asking, end: Instant) -> Heard {
    let backend = &inquiry.backend;
    let addresses = asking.addresses.of(asker, backend).await.map_err(ConnectError::from)?;
    let socket = connect(&addresses, backend.port(), end).await?;
    if let (None, Ok(peer)) = (backend.address(), socket.peer_addr()) {
        asking.names.learn(backend.host(), peer.ip(), clock::instant());
    }
    match backend.scheme() {
        Scheme::Http => exchange(inquiry, socket).await,
        // Boxed: rare, and the others should be small.
        Scheme::Https => Box::pin(exchange_safely(inquiry, socket, &asking.tls, end)).await,
    }
}

async fn exchange_safely(inquiry: &ProbeSpec, socket: TcpStream, tls: &BackendTls, end: Instant) -> Heard {
    let shaken = tls.handshake(socket, &inquiry.backend, inquiry.tls_verify, end).await;
    exchange(inquiry, shaken?).await
}

async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(inquiry: &ProbeSpec, mut socket: S) -> Heard {
    socket.write_all(request(inquiry).as_bytes()).await.map_err(|_| RESET)?;
    let answer = hear(&mut socket, BytesMut::with_capacity(1024), inquiry.method).await?;
    Ok((answer, rest(answer, socket)))
}

fn rest(answer: Answer, socket: impl AsyncRead + Send + Unpin + 'static) -> Option<Rest> {
    (!answer.whole).then(|| Box::new(socket) as Rest)
}

const RESET: &str = "the connection was reset";
const CLOSED: &str = "the connection was closed without an answer";

fn request(inquiry: &ProbeSpec) -> String {
    let (backend, path, method) = (&inquiry.backend, &inquiry.path, inquiry.method.name());
    let (base, host) = (backend.base(), inquiry.host.as_deref().unwrap_or(backend.authority()));
    format!(
        "{method} {base}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: signalbox\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// What is known of an answer once its head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Its body was read too.
    whole: bool,
}

/// Reads the head of an answer, of which some may have been `read`.
async fn hear(
    socket: &mut (impl AsyncRead + Unpin),
    mut read: BytesMut,
    method: CheckMethod,
) -> Result<Answer, &'static str> {
    let mut searched: usize = 0;
    loop {
        // Looked for before it is parsed: a backend that sends byte by byte must not have it parsed each time.
        if has_end(&read, searched)
            && let Some(answer) = parse(&read, method)?
        {
            return Ok(answer);
        }
        searched = read.len();
        if searched >= HEAD_BYTES_MAX {
            // More than is read of it, but not more than requests may be answered with.
            return status_of(&read).ok_or("the head of the answer is too large");
        }
        match socket.read_buf(&mut read).await {
            Ok(0) => return Err(CLOSED),
            Ok(_) => {}
            Err(_) => return Err(RESET),
        }
    }
}

/// True if a head may end in what was read after the first `searched` bytes.
fn has_end(read: &[u8], searched: usize) -> bool {
    let unseen = read.get(searched.saturating_sub(2)..).unwrap_or_default();
    unseen.windows(2).any(|two| two == b"\n\n") || unseen.windows(3).any(|three| three == b"\n\r\n")
}

/// The final answer's head (RFC 9110 §15.2), once all of it is there.
fn parse(mut read: &[u8], method: CheckMethod) -> Result<Option<Answer>, &'static str> {
    loop {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut []);
        let mut config = ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
        config.ignore_invalid_headers_in_responses(true);
        let parsed = match config.parse_response_with_uninit_headers(&mut head, read, &mut fields) {
            Err(httparse::Error::TooManyHeaders) => return Ok(status_of(read)),
            parsed => parsed.map_err(|_| "the answer is not HTTP")?,
        };
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let (status, body) = (head.code.unwrap_or(0), read.get(length..).unwrap_or_default());
        match status {
            101 | 200.. => {
                // RFC 9110 §9.3.2: no body follows, whatever the head says.
                let whole = method == CheckMethod::Head || is_whole(status, head.headers, body);
                return Ok(Some(Answer { status, whole }));
            }
            100.. => read = body,
            _ => return Err("the answer is not HTTP"),
        }
    }
}

/// The final answer whose head is too long to be read.
fn status_of(read: &[u8]) -> Option<Answer> {
    let mut words = read.trim_ascii_start().split(u8::is_ascii_whitespace);
    let is_http = words.next().is_some_and(|version| version.starts_with(b"HTTP/1."));
    let status = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    status.filter(|status| is_http && *status >= 200).map(|status| Answer { status, whole: false })
}

/// True if all of the body was read, as far as can be told without reading it: for the backend's sake only, see [`see_out`].
fn is_whole(status: u16, fields: &[httparse::Header<'_>], body: &[u8]) -> bool {
    let value = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    if value("transfer-encoding").is_some() {
        return body.ends_with(b"0\r\n\r\n");
    }
    let length = value("content-length").and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    matches!(status, 101 | 204 | 304) || length.is_some_and(|length: usize| body.len() >= length)
}

/// Reads a body to its end, within bounds, and drops it.
async fn see_out(socket: &mut (impl AsyncRead + Unpin)) {
    let (mut read, mut buffer) = (0, [0; READ_BYTES_MAX]);
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
        hear(&mut std::io::Cursor::new(answer.to_vec()), BytesMut::new(), CheckMethod::Get).await
    }

    #[tokio::test]
    async fn an_answer_is_known_by_its_head() {
        assert_eq!(exchanged(OK.as_bytes()).await, Ok(Answer { status: 200, whole: true }));
        let longer = OK.replace("length: 2", "length: 3");
        assert_eq!(exchanged(longer.as_bytes()).await, Ok(Answer { status: 200, whole: false }));
        let early = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}");
        assert_eq!(exchanged(early.as_bytes()).await, Ok(Answer { status: 200, whole: true }));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
        assert_eq!(exchanged(chunked.as_bytes()).await, Ok(Answer { status: 200, whole: false }));
        let ended = format!("{chunked}0\r\n\r\n");
        assert_eq!(exchanged(ended.as_bytes()).await, Ok(Answer { status: 200, whole: true }));
        assert_eq!(exchanged(b"HTTP/1.0 503\n\n").await, Ok(Answer { status: 503, whole: false }));
        assert_eq!(exchanged(b"HTTP/1.1 204 No Content\r\n\r\n").await, Ok(Answer { status: 204, whole: true }));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_said_in_words() {
        assert_eq!(exchanged(b"").await, Err("the connection was closed without an answer"));
        assert_eq!(exchanged(b"HTTP/1.1 200 OK\r\n").await, Err("the connection was closed without an answer"));
        assert_eq!(exchanged(b"SSH-2.0-x\r\n\r\n").await, Err("the answer is not HTTP"));
        assert_eq!(exchanged(b"HTTP/1.1 099 X\r\n\r\n").await, Err("the answer is not HTTP"));
        let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES_MAX / 20);
        assert_eq!(exchanged(flood.as_bytes()).await, Err("the head of the answer is too large"));
    }

    #[tokio::test]
    async fn an_answer_that_requests_could_be_answered_with_is_one() {
        let many = "x: y\r\n".repeat(300);
        let long = "x".repeat(100_000);
        for fields in ["x : y\r\n", "x: a\r\n b\r\n", "x: a\u{1}b\r\n", &many, &format!("x: {long}\r\n")] {
            let answer = exchanged(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()).await;
            assert_eq!(answer.map(|answer| answer.status), Ok(200), "{fields:.20}");
        }
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
