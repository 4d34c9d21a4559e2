//! One health check: asks a backend whether it is well.
//!
//! What must hold: a check ends within its timeout, reads a bounded head over a connection of its own, follows no redirect, and
//! connects to nothing that is denied.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::dial::connect;
use super::resolve::look_up;
use super::tls::Tls;
use super::visit::{Pauses, visit};
use crate::clock;
use crate::domain::Scheme;
use crate::traffic::Inquiry;

/// `Err`: why the backend is not well, in words fit for the client's eyes.
pub(super) type Outcome = Result<(), String>;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 128;
/// How much of a body is read, and for how long, so that the backend sees its answer taken rather than a reset.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_TIME_MAX: Duration = Duration::from_millis(250);

/// What all checks have in common. Cheap to clone.
#[derive(Clone)]
pub(super) struct Asking {
    /// Networks that nothing may be connected to in.
    pub(super) deny: Arc<[IpNet]>,
    /// Whose certificates are trusted. Without resumption.
    pub(super) tls: Tls,
    pub(super) pauses: Pauses,
}

/// Makes one check.
pub(super) async fn ask(inquiry: Arc<Inquiry>, asking: Asking) -> Outcome {
    let answered = timeout(inquiry.timeout.std(), ask_now(&inquiry, &asking)).await;
    let (answer, rest) = answered.unwrap_or_else(|_| Err(format!("no answer within {}", inquiry.timeout)))?;
    if let Some(mut rest) = rest {
        let _ = timeout(BODY_TIME_MAX, see_out(&mut rest)).await;
    }
    if inquiry.check.accepts(answer.status) { Ok(()) } else { Err(format!("status {}", answer.status)) }
}

/// What comes after the head of an answer.
type Rest = Box<dyn AsyncRead + Send + Unpin>;

/// The answer, and where there is more of it to be read.
async fn ask_now(inquiry: &Inquiry, asking: &Asking) -> Result<(Answer, Option<Rest>), String> {
    let end = clock::instant() + inquiry.timeout.std();
    let addresses = look_up(&inquiry.backend, &asking.deny).await.map_err(|error| error.to_string())?;
    let request = request(inquiry);
    match inquiry.backend.scheme() {
        Scheme::Http => ask_plainly(inquiry, &addresses, request.as_bytes(), &asking.pauses, end).await,
        // Boxed: rare, and the others should be small.
        Scheme::Https => Box::pin(ask_safely(inquiry, &addresses, request.as_bytes(), &asking.tls, end)).await,
    }
}

async fn ask_plainly(
    inquiry: &Inquiry,
    addresses: &[IpAddr],
    request: &[u8],
    pauses: &Pauses,
    end: Instant,
) -> Result<(Answer, Option<Rest>), String> {
    let mut read = BytesMut::with_capacity(1024);
    let visited = visit(pauses, addresses, inquiry.backend.port(), request, &mut read, end).await;
    let visited = visited.map_err(|error| error.to_string())?;
    if let Some(answer) = parse(&read)?
        && answer.whole
    {
        return Ok((answer, None));
    }
    let mut socket = visited.watched().map_err(|_| RESET)?;
    let answer = hear(&mut socket, read).await?;
    Ok((answer, rest(answer, socket)))
}

async fn ask_safely(
    inquiry: &Inquiry,
    addresses: &[IpAddr],
    request: &[u8],
    tls: &Tls,
    end: Instant,
) -> Result<(Answer, Option<Rest>), String> {
    let backend = &inquiry.backend;
    let plain = connect(addresses, backend.port(), end).await.map_err(|error| error.to_string())?;
    let mut socket = tls.shake(plain, backend, inquiry.tls_verify, end).await.map_err(|error| error.to_string())?;
    socket.write_all(request).await.map_err(|_| RESET)?;
    let answer = hear(&mut socket, BytesMut::with_capacity(1024)).await?;
    Ok((answer, rest(answer, socket)))
}

fn rest(answer: Answer, socket: impl AsyncRead + Send + Unpin + 'static) -> Option<Rest> {
    (!answer.whole).then(|| Box::new(socket) as Rest)
}

const RESET: &str = "the connection was reset";

fn request(inquiry: &Inquiry) -> String {
    let (backend, path) = (&inquiry.backend, &inquiry.path);
    format!(
        "GET {}{path} HTTP/1.1\r\nhost: {}\r\nuser-agent: signalbox\r\naccept: */*\r\nconnection: close\r\n\r\n",
        backend.base(),
        backend.authority()
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
async fn hear(socket: &mut (impl AsyncRead + Unpin), mut read: BytesMut) -> Result<Answer, &'static str> {
    let mut searched: usize = 0;
    loop {
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
        match socket.read_buf(&mut read).await {
            Ok(0) => return Err("the connection was closed without an answer"),
            Ok(_) => {}
            Err(_) => return Err(RESET),
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
        hear(&mut std::io::Cursor::new(answer.to_vec()), BytesMut::new()).await
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
