//! The HTTP client for the directory: one connection per request, because requests are few.
//!
//! Not here: nonces, signatures and the meaning of messages, which are the library's. Invariants: a request and its
//! answer take a bounded time and a bounded memory; no request goes out without TLS.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use crate::clock;
use crate::connect::{BackendTls, ConnectError, NameLookup, OfferedProtocols, connect};
use crate::domain::{BackendUrl, SessionKey, Span};

/// The longest time of a request with its answer.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The most bytes of an answer. A chain of certificates has a few KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// RFC 8555 §6.1 asks for the name and version of the client.
const AGENT: &str = concat!("signalbox/", env!("CARGO_PKG_VERSION"));

/// A client for the requests of one attempt. Cheap to clone; clones share the wait that the authority asked for.
#[derive(Clone, Debug)]
pub(super) struct DirectoryClient {
    names: NameLookup,
    tls: BackendTls,
    told: Arc<Mutex<ToldWaits>>,
}

/// The waits that the authority asked for with `Retry-After`.
#[derive(Debug, Default)]
struct ToldWaits {
    /// After a refusal, before the next attempt.
    attempt: Option<Span>,
    /// Before the next look at an order.
    look: Option<Span>,
}

/// The reason why a request got no answer.
#[derive(Debug, thiserror::Error)]
enum DirectoryError {
    #[error("the directory is not reached: {}", said(.0))]
    Connect(#[from] ConnectError),
    #[error("the directory gave no answer in time")]
    TooSlow,
    #[error("the directory gave a URL that cannot be used: {0}")]
    Url(String),
    #[error("the directory answered with status {0} and without a reason; see that acme.directory is right")]
    Status(StatusCode),
    #[error("the answer of the directory is not HTTP, or too large: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
}

impl DirectoryClient {
    pub(super) fn new(names: NameLookup, tls: BackendTls) -> Self {
        Self { names, tls, told: Arc::default() }
    }

    /// Returns the wait before the next attempt that the authority asked for.
    pub(super) fn attempt_wait(&self) -> Option<Span> {
        self.told().attempt
    }

    /// Returns the wait before the next look at an order that the authority asked for in its latest answer.
    pub(super) fn look_wait(&self) -> Option<Span> {
        self.told().look
    }

    fn told(&self) -> MutexGuard<'_, ToldWaits> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, DirectoryError> {
        let server = server(request.uri()).ok_or_else(|| DirectoryError::Url(request.uri().to_string()))?;
        let end = clock::instant() + REQUEST_TIME;
        let socket = connect(&self.addresses(&server).await?, server.port(), end).await?;
        let stream = self.tls.handshake(socket, &server, true, OfferedProtocols::Http1, end).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(answer_error)?;
        let answer = async move {
            let answer = sender.send_request(in_origin_form(request, &server)).await.map_err(answer_error)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(DirectoryError::Answer)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        match select(Box::pin(answer), Box::pin(connection)).await {
            Either::Left((answer, _)) => answer,
            // The connection has given everything to the answer, or an error.
            Either::Right((_, answer)) => answer.await,
        }
    }

    async fn addresses(&self, server: &BackendUrl) -> Result<Vec<IpAddr>, ConnectError> {
        match server.address() {
            Some(address) => Ok(vec![address]),
            None => Ok(self.names.look_up(SessionKey(0), server.host()).await?.to_vec()),
        }
    }

    /// Notes the wait that an answer asks for, and returns it.
    fn note_wait(&self, answer: &Response<Bytes>) -> Option<Span> {
        let is_refusal = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let wait = answer.headers().get(RETRY_AFTER).and_then(|field| retry_after(field.to_str().ok()?));
        let mut told = self.told();
        match wait {
            Some(_) if is_refusal => told.attempt = wait,
            _ => told.look = wait,
        }
        wait
    }
}

impl HttpClient for DirectoryClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let is_get = request.method() == Method::GET;
            let answer = timeout(REQUEST_TIME, client.exchange(request)).await;
            let answer = answer.unwrap_or(Err(DirectoryError::TooSlow));
            let answer = answer.map_err(|error| Error::Other(Box::new(error)))?;
            let wait = client.note_wait(&answer);
            check(&answer).map_err(|error| Error::Other(Box::new(error)))?;
            let (mut parts, body) = answer.into_parts();
            // The library needs one with a renewal window, and cannot bear a very long one.
            parts.headers.remove(RETRY_AFTER);
            if is_get {
                parts.headers.insert(RETRY_AFTER, HeaderValue::from(window_wait(wait)));
            }
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

/// Returns the server of a URL; `None` unless it is one with `https`.
fn server(uri: &Uri) -> Option<BackendUrl> {
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"))?;
    BackendUrl::parse(&format!("https://{authority}")).ok()
}

/// Checks what the library takes for granted: that a refusal has a reason, and that the requests of a directory have URLs.
fn check(answer: &Response<Bytes>) -> Result<(), DirectoryError> {
    let body = || serde_json::from_slice::<serde_json::Value>(answer.body());
    if !answer.status().is_success() {
        let has_reason = body().is_ok_and(|reason| reason["type"].is_string() || reason["detail"].is_string());
        return if has_reason { Ok(()) } else { Err(DirectoryError::Status(answer.status())) };
    }
    let listed = body().unwrap_or_default();
    for resource in ["newNonce", "newAccount", "newOrder", "renewalInfo"] {
        if let Some(url) = listed[resource].as_str()
            && url.parse().ok().as_ref().and_then(server).is_none()
        {
            return Err(DirectoryError::Url(format!("{resource} {url}")));
        }
    }
    Ok(())
}

/// Returns the seconds until the next question for a renewal window (RFC 9773 §4.3.3).
fn window_wait(told: Option<Span>) -> u64 {
    told.unwrap_or(Span::from_secs(6 * 3600)).min(Span::from_secs(7 * 24 * 3600)).millis() / 1000
}

fn in_origin_form(mut request: Request<BodyWrapper<Bytes>>, server: &BackendUrl) -> Request<BodyWrapper<Bytes>> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // A path and query of a URL are a target.
    *request.uri_mut() = target.parse().unwrap_or_default();
    if let Ok(host) = HeaderValue::try_from(server.authority()) {
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    request
}

/// Reads the seconds or date of `Retry-After` (RFC 9110 §10.2.3).
fn retry_after(field: &str) -> Option<Span> {
    if let Ok(seconds) = field.trim().parse() {
        return Some(Span::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(field.trim()).ok()?;
    let now = clock::wall_time(clock::now()).0;
    Some(Span::from_millis(u64::try_from(date.as_millisecond()).ok()?.saturating_sub(now)))
}

fn answer_error(error: hyper::Error) -> DirectoryError {
    DirectoryError::Answer(error.into())
}

/// Returns the error with the cure that is right for a directory.
fn said(error: &ConnectError) -> String {
    match error {
        ConnectError::Certificate(why) if why.starts_with("is not signed by a trusted authority") => {
            "its certificate is not signed by a trusted authority; name the authority in acme.ca".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_only_to_a_server_with_tls() {
        let server = |text: &str| server(&text.parse().unwrap()).map(|server| server.as_str().to_owned());
        assert_eq!(server("https://ca.example/dir?x=1").as_deref(), Some("https://ca.example"));
        assert_eq!(server("https://127.0.0.1:14000/dir").as_deref(), Some("https://127.0.0.1:14000"));
        for other in ["http://ca.example/dir", "/dir", "ftp://ca.example/", "https://user@ca.example/"] {
            assert_eq!(server(other), None, "{other}");
        }
    }

    #[test]
    fn the_wait_that_is_asked_for_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 120 "), Some(Span::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Span::default()));
        let far = retry_after("Sun, 06 Nov 2044 08:49:37 GMT").unwrap();
        assert!(far > Span::from_secs(365 * 24 * 3600));
        for odd in ["", "soon", "-5", "1.5"] {
            assert_eq!(retry_after(odd), None, "{odd}");
        }
    }
}
