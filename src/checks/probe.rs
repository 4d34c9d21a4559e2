//! The probe: one attempt to find out how a backend is.
//!
//! One small client of HTTP/1.1 and HTTP/2. Invariants: a probe ends within its timeout and a short time for the rest of the body, reads
//! a bounded head over a connection of its own, follows no redirect, and connects to no forbidden address.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::Empty;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clock;
use crate::connect::{
    AddressResolver, BackendStream, BackendTls, ConnectError, DnsCache, OfferedProtocols, connect, remaining, serial,
    speaks_http2,
};
use crate::domain::{Scheme, SessionKey};
use crate::http1::{ResponseError, SingleRequest};
use crate::http2::{SingleStream, check_grpc_health, stream_head, wants_http1};
use crate::traffic::{CheckKind, ProbeSpec, origin_hash, percent_encoded};

/// The outcome of a probe.
pub(crate) type ProbeOutcome = Result<(), ProbeFailure>;

/// The reason why a probe did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProbeFailure {
    /// The backend did not answer as it should; in words fit for the client's eyes.
    Backend(String),
    /// This server had no room for a connection; nothing is known of the backend.
    NoRoom,
}

impl From<&str> for ProbeFailure {
    fn from(reason: &str) -> Self {
        Self::Backend(reason.to_owned())
    }
}

impl From<ConnectError> for ProbeFailure {
    fn from(error: ConnectError) -> Self {
        if error.lacks_resources() { Self::NoRoom } else { Self::Backend(error.to_string()) }
    }
}

impl From<ResponseError> for ProbeFailure {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Incomplete => "the connection was closed without an answer".into(),
            error => Self::Backend(error.to_string()),
        }
    }
}

impl From<h2::Error> for ProbeFailure {
    fn from(error: h2::Error) -> Self {
        if error.is_reset() { "the stream was reset".into() } else { "the connection was reset".into() }
    }
}

/// The part of a body that is read, so that the backend sees its answer taken and not a reset.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The time in which it is read.
const BODY_TIME_MAX: Duration = Duration::from_millis(250);

/// The client that all probes share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ProbeClient {
    addresses: AddressResolver,
    tls: BackendTls,
    /// The addresses that names had lately.
    names: DnsCache,
}

/// A response of which the head was read, and the rest of which may be left unread.
enum ProbeResponse {
    Http1 {
        status: u16,
        request: Box<SingleRequest<BackendStream>>,
    },
    Http2 {
        status: u16,
        body: RecvStream,
        request: Box<SingleStream<BackendStream>>,
    },
    /// The whole answer was read and judged.
    Judged(ProbeOutcome),
    /// The backend wants HTTP/1.1 for the request (RFC 9113 §7).
    WantsHttp1,
}

impl ProbeClient {
    /// Returns a client that connects to `addresses` alone and makes a whole TLS handshake each time.
    pub(crate) fn new(addresses: &AddressResolver, tls: &BackendTls) -> Self {
        Self { addresses: addresses.clone(), tls: tls.without_resumption(), names: DnsCache::default() }
    }

    /// Makes one probe before `end`. A name is looked up as one of `session`.
    pub(crate) async fn run(self, spec: Arc<ProbeSpec>, session: SessionKey, end: Instant) -> ProbeOutcome {
        let stalled_after = serial::STALLED_AFTER.min(spec.timeout.std() / 4);
        let origin = origin_hash(&spec.backend, spec.tls_verify);
        let response = serial::await_answer(origin, stalled_after, self.read_head(&spec, session, end));
        let Ok(response) = timeout(remaining(end), response).await else {
            return Err(ProbeFailure::Backend(format!("no answer within {}", spec.timeout)));
        };
        let status = match response? {
            ProbeResponse::Http1 { status, mut request } => {
                let _ = timeout(BODY_TIME_MAX, drain_body(&mut request)).await;
                status
            }
            ProbeResponse::Http2 { status, body, mut request } => {
                let _ = timeout(BODY_TIME_MAX, request.read(body, BODY_BYTES_MAX)).await;
                status
            }
            ProbeResponse::Judged(outcome) => return outcome,
            ProbeResponse::WantsHttp1 => return Err("it wants HTTP/1.1".into()),
        };
        if spec.accepts(status) { Ok(()) } else { Err(ProbeFailure::Backend(format!("status {status}"))) }
    }

    /// Connects, sends the request and reads the head of the response. A backend that wants HTTP/1.1 gets it where TLS lets it choose.
    async fn read_head(
        &self,
        spec: &ProbeSpec,
        session: SessionKey,
        end: Instant,
    ) -> Result<ProbeResponse, ProbeFailure> {
        let is_grpc = spec.path.grpc_service().is_some();
        let offered = if is_grpc { OfferedProtocols::Http2 } else { OfferedProtocols::Both };
        let first = self.read_over(spec, session, end, offered).await?;
        if matches!(first, ProbeResponse::WantsHttp1) && spec.backend.scheme() == Scheme::Https {
            return self.read_over(spec, session, end, OfferedProtocols::Http1).await;
        }
        Ok(first)
    }

    async fn read_over(
        &self,
        spec: &ProbeSpec,
        session: SessionKey,
        end: Instant,
        offered: OfferedProtocols,
    ) -> Result<ProbeResponse, ProbeFailure> {
        let request = request(spec).ok_or("the page cannot be asked for")?;
        let service = spec.path.grpc_service();
        let socket = self.connect(spec, session, end).await?;
        let stream = self.tls.secure(socket, &spec.backend, spec.tls_verify, offered, end).await?;
        let is_tls = spec.backend.scheme() == Scheme::Https;
        if let Some(service) = service {
            let head = request.into_parts().0;
            let checked = check_grpc_health(stream, head, is_tls, spec.backend.base(), service).await;
            return Ok(ProbeResponse::Judged(checked.map_err(|error| ProbeFailure::Backend(error.to_string()))));
        }
        if speaks_http2(&stream, spec.backend.scheme()) {
            let head = stream_head(request.into_parts().0, is_tls).ok_or("the page cannot be asked for")?;
            return read_http2(stream, head, spec.check).await;
        }
        let (request, response) = SingleRequest::send(stream, &request).await?;
        Ok(ProbeResponse::Http1 { status: response.status().as_u16(), request: Box::new(request) })
    }

    /// Connects to the address that the backend's name had lately, or else to one that it has now.
    async fn connect(&self, spec: &ProbeSpec, session: SessionKey, end: Instant) -> Result<TcpStream, ConnectError> {
        let (backend, port) = (&spec.backend, spec.backend.port());
        let known = if backend.address().is_none() { self.names.address(backend, &self.addresses) } else { None };
        if let Some(address) = known {
            // The name may have another address by now, so that there must be time to look it up.
            let share = clock::instant() + remaining(end) / 4;
            if let Ok(socket) = connect(&[address.ip()], port, share).await {
                return Ok(socket);
            }
        }
        let socket = connect(&self.addresses.of(session, backend).await?, port, end).await?;
        if let (None, Ok(peer)) = (backend.address(), socket.peer_addr()) {
            self.names.remember(backend.host(), peer.ip(), clock::instant());
        }
        Ok(socket)
    }
}

/// Sends the request of a probe over HTTP/2 and reads the head of the response.
async fn read_http2(stream: BackendStream, head: Request<()>, check: CheckKind) -> Result<ProbeResponse, ProbeFailure> {
    let mut request = Box::new(SingleStream::open(stream).await.map_err(ConnectError::from)?);
    match request.send(head, Bytes::new()).await {
        // A gRPC server may know no other answer to a page; the server lives.
        Err(error) if error.is_reset() && check == CheckKind::Default => Ok(ProbeResponse::Judged(Ok(()))),
        Err(error) if wants_http1(&error) => Ok(ProbeResponse::WantsHttp1),
        response => {
            let (head, body) = response?.into_parts();
            Ok(ProbeResponse::Http2 { status: head.status.as_u16(), body, request })
        }
    }
}

/// Returns the request of a probe; `None` when its target is no URI.
fn request(spec: &ProbeSpec) -> Option<Request<Empty<Bytes>>> {
    let host = HeaderValue::try_from(spec.host.as_deref().unwrap_or(spec.backend.authority())).ok()?;
    let path = if spec.path.grpc_service().is_some() { "/" } else { spec.path.as_str() };
    let target = format!("{}{path}", spec.backend.base());
    // The path is sent as it was written, except for the bytes that no target may have.
    let target = Uri::try_from(&target).ok().or_else(|| percent_encoded(&target)?.try_into().ok())?;
    Request::builder()
        .method(spec.method.name())
        .uri(target)
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("signalbox"))
        .header(ACCEPT, HeaderValue::from_static("*/*"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())
        .ok()
}

/// Reads a body to its end, or to the most that is read of it, and drops it.
async fn drain_body(request: &mut SingleRequest<BackendStream>) {
    let mut read = 0;
    while read < BODY_BYTES_MAX
        && let Some(Ok(data)) = request.next_data().await
    {
        read += data.len();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// Returns the status of a backend that answers a request with `answer` and closes the connection.
    async fn probed(answer: &[u8]) -> Result<u16, ProbeFailure> {
        let (near, mut backend) = tokio::io::duplex(1 << 20);
        let answering = async {
            let _ = backend.read(&mut [0; 1024]).await;
            let _ = backend.write_all(answer).await;
            let _ = backend.shutdown().await;
        };
        let request = Request::get("/").body(Empty::new()).unwrap();
        let (sent, ()) = tokio::join!(SingleRequest::send(near, &request), answering);
        Ok(sent?.1.status().as_u16())
    }

    /// A backend may answer as soon as it is connected, as `nc` with a file does.
    #[tokio::test]
    async fn an_answer_that_comes_before_the_request_counts() {
        for cut in [OK.len(), 20, 1] {
            let (near, mut backend) = tokio::io::duplex(1 << 20);
            let (first, rest) = OK.split_at(cut);
            backend.write_all(first.as_bytes()).await.unwrap();
            let answering = async {
                let _ = backend.read(&mut [0; 1024]).await;
                let _ = backend.write_all(rest.as_bytes()).await;
            };
            let request = Request::get("/").body(Empty::new()).unwrap();
            let (sent, ()) = tokio::join!(SingleRequest::send(near, &request), answering);
            assert_eq!(sent.unwrap().1.status(), 200, "{cut} bytes before the request");
        }
    }

    #[tokio::test]
    async fn an_answer_is_known_by_its_head() {
        let early = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
        for (answer, status) in [
            (OK, 200),
            (&OK.replace("length: 2", "length: 3"), 200),
            (&early, 200),
            (chunked, 200),
            ("HTTP/1.0 503\n\n", 503),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ] {
            assert_eq!(probed(answer.as_bytes()).await, Ok(status), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_probe_without_an_answer_fails_with_the_reason_in_words() {
        let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
        for (answer, reason) in [
            ("", "the connection was closed without an answer"),
            ("HTTP/1.1 200 OK\r\n", "the connection was closed without an answer"),
            ("SSH-2.0-x\r\n\r\n", "the answer is not HTTP"),
            ("HTTP/1.1 099 X\r\n\r\n", "the answer is not HTTP"),
            (&flood, "the head of the answer is too large"),
        ] {
            assert_eq!(probed(answer.as_bytes()).await, Err(reason.into()), "{answer:.40}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_requests_could_be_answered_with_is_one() {
        let many = "x: y\r\n".repeat(300);
        let long = "x".repeat(100_000);
        for fields in ["x : y\r\n", "x: a\r\n b\r\n", "x: a\u{1}b\r\n", &many, &format!("x: {long}\r\n")] {
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(probed(answer.as_bytes()).await, Ok(200), "{fields:.20}");
        }
    }
}
