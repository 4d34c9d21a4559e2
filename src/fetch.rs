//! Single requests from the control plane: backend tests and maintenance pages.
//!
//! A request runs on the runtime of its caller and not on a worker, so that it costs traffic nothing. It is sent once.
//! Invariants: it follows no redirect, keeps no connection and no TLS session, and reads at most 64 KiB of a body.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::response::Parts;
use http::{HeaderValue, Request};
use http_body_util::Empty;

use crate::clock;
use crate::connect::{
    AddressResolver, BackendStream, BackendTls, ConnectError, OfferedProtocols, connect, serial, speaks_http2,
};
use crate::domain::{CheckMethod, Forbidden, PageUrl, Scheme, SessionKey, Span};
use crate::http1::{ResponseError, SingleRequest};
use crate::http2::{GrpcHealthError, SingleStream, check_grpc_health, stream_head, wants_http1};
use crate::traffic::origin_hash;

/// A client that gets single pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PageFetcher {
    addresses: AddressResolver,
    tls: BackendTls,
}

/// A request for a page.
#[derive(Clone, Debug)]
pub struct PageRequest<'a> {
    /// The page.
    pub page: &'a PageUrl,
    /// The value of the `Host` field; `None` for the host of the page.
    pub host: Option<Arc<str>>,
    /// `GET` or `HEAD`.
    pub method: CheckMethod,
}

impl<'a> From<&'a PageUrl> for PageRequest<'a> {
    fn from(page: &'a PageUrl) -> Self {
        Self { page, host: None, method: CheckMethod::Get }
    }
}

/// The treatment of a page whose server has an invalid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePolicy {
    /// The page is not requested.
    Required,
    /// The page is requested all the same, and [`FetchedPage::tls_valid`] is false.
    Reported,
    /// The page is requested without a check of the certificate.
    Ignored,
}

/// The answer to a request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPage {
    /// Its status.
    pub status: u16,
    /// The time from the beginning of the connection to the end of the body.
    pub took: Span,
    /// True if the certificate is trusted and belongs to the host. Always false without TLS.
    pub tls_valid: bool,
    /// The body and its type, if it is a whole page of HTML: status 2xx, at most 64 KiB, not encoded.
    pub html: Option<(Bytes, HeaderValue)>,
}

/// The status, and the body and type of a page of HTML.
type StatusAndPage = (u16, Option<(Bytes, HeaderValue)>);

/// The most bytes that are read of a body.
const BODY_BYTES_MAX: usize = 64 * 1024;

impl PageFetcher {
    /// Returns a client that connects to permitted `addresses` only.
    pub fn new(addresses: &AddressResolver, tls: &BackendTls) -> Self {
        Self { addresses: addresses.clone(), tls: tls.without_resumption() }
    }

    /// Returns the addresses to which it never connects.
    pub fn forbidden(&self) -> Arc<Forbidden> {
        self.addresses.forbidden()
    }

    /// Requests a page once. The name of its host is looked up in a turn of the session.
    ///
    /// # Errors
    /// If there is no answer within `timeout`, in words that a client may see.
    pub async fn get<'a>(
        &self,
        session: SessionKey,
        wanted: impl Into<PageRequest<'a>>,
        timeout: Span,
        trust: CertificatePolicy,
    ) -> Result<FetchedPage, String> {
        let wanted = wanted.into();
        let origin = origin_hash(wanted.page.origin(), trust != CertificatePolicy::Ignored);
        let got =
            serial::await_answer(origin, serial::STALLED_AFTER, self.get_now(session, &wanted, timeout.std(), trust));
        let got = tokio::time::timeout(timeout.std(), got).await;
        got.unwrap_or_else(|_| Err(format!("no answer within {timeout}")))
    }

    async fn get_now(
        &self,
        session: SessionKey,
        wanted: &PageRequest<'_>,
        limit: Duration,
        trust: CertificatePolicy,
    ) -> Result<FetchedPage, String> {
        let end = clock::instant() + limit;
        let addresses = self.addresses.of(session, wanted.page.origin()).await.map_err(|error| error.to_string())?;
        let first = self.try_once(wanted, &addresses, end, trust != CertificatePolicy::Ignored).await;
        match first {
            Err(FetchError::Connect(ConnectError::Certificate(_))) if trust == CertificatePolicy::Reported => {
                self.try_once(wanted, &addresses, end, false).await.map_err(|failed| failed.to_string())
            }
            first => first.map_err(|failed| failed.to_string()),
        }
    }

    async fn try_over(
        &self,
        offered: OfferedProtocols,
        wanted: &PageRequest<'_>,
        addresses: &[IpAddr],
        end: Instant,
        verify: bool,
    ) -> Result<StatusAndPage, FetchError> {
        let origin = wanted.page.origin();
        let socket = connect(addresses, origin.port(), end).await?;
        exchange(self.tls.secure(socket, origin, verify, offered, end).await?, wanted).await
    }

    async fn try_once(
        &self,
        wanted: &PageRequest<'_>,
        addresses: &[IpAddr],
        end: Instant,
        verify: bool,
    ) -> Result<FetchedPage, FetchError> {
        let (began, origin) = (clock::instant(), wanted.page.origin());
        let is_health = wanted.page.grpc_service().is_some();
        let offered = if is_health { OfferedProtocols::Http2 } else { OfferedProtocols::Both };
        let (status, html) = match self.try_over(offered, wanted, addresses, end, verify).await {
            Err(FetchError::Reset(error)) if wants_http1(&error) && origin.scheme() == Scheme::Https => {
                self.try_over(OfferedProtocols::Http1, wanted, addresses, end, verify).await?
            }
            tried => tried?,
        };
        let tls = origin.scheme() == Scheme::Https;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(FetchedPage { status, took: Span::from_millis(took), tls_valid: tls && verify, html })
    }
}

/// The reason why there is no page.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the page cannot be asked for")]
    Unaskable,
    #[error("the answer is not HTTP")]
    NotHttp(#[from] ResponseError),
    #[error("the stream was reset")]
    Reset(#[from] h2::Error),
    #[error(transparent)]
    Health(#[from] GrpcHealthError),
}

async fn exchange(stream: BackendStream, wanted: &PageRequest<'_>) -> Result<StatusAndPage, FetchError> {
    let (origin, is_tls) = (wanted.page.origin(), wanted.page.origin().scheme() == Scheme::Https);
    let asked = || request(wanted).map(|request| request.into_parts().0).ok_or(FetchError::Unaskable);
    if let Some(service) = wanted.page.grpc_service() {
        return match check_grpc_health(stream, asked()?, is_tls, origin.base(), service).await {
            Ok(()) => Ok((200, None)),
            // An answer that says so stands for a status.
            Err(GrpcHealthError::NotServing(_)) => Ok((503, None)),
            Err(error) => Err(error.into()),
        };
    }
    if speaks_http2(&stream, origin.scheme()) {
        let head = stream_head(asked()?, is_tls).ok_or(FetchError::Unaskable)?;
        let mut sent = SingleStream::open(stream).await.map_err(ConnectError::from)?;
        let (head, body) = sent.send(head, Bytes::new()).await?.into_parts();
        let body = sent.read(body, BODY_BYTES_MAX + 1).await.ok().map(|(body, _)| body);
        return Ok((head.status.as_u16(), html(&head, body.filter(|body| body.len() <= BODY_BYTES_MAX))));
    }
    let request = request(wanted).ok_or(FetchError::Unaskable)?;
    let (mut sent, response) = SingleRequest::send(stream, &request).await?;
    let (head, ()) = response.into_parts();
    // The body is read even if nobody needs it, so that the server sees no reset.
    let body = read_body(&mut sent).await;
    Ok((head.status.as_u16(), html(&head, body)))
}

/// Reads a whole body. Returns `None` if it breaks off or is too large.
async fn read_body(sent: &mut SingleRequest<BackendStream>) -> Option<Bytes> {
    let mut read = BytesMut::new();
    while let Some(data) = sent.next_data().await {
        let data = data.ok()?;
        if read.len() + data.len() > BODY_BYTES_MAX {
            return None;
        }
        read.extend_from_slice(&data);
    }
    Some(read.freeze())
}

fn html(head: &Parts, body: Option<Bytes>) -> Option<(Bytes, HeaderValue)> {
    let kind = head.headers.get(CONTENT_TYPE)?;
    let is_html = kind.to_str().ok()?.split(';').next()?.trim().eq_ignore_ascii_case("text/html");
    let plain = !head.headers.contains_key(CONTENT_ENCODING);
    if head.status.is_success() && is_html && plain { Some((body?, kind.clone())) } else { None }
}

fn request(wanted: &PageRequest<'_>) -> Option<Request<Empty<Bytes>>> {
    let page = wanted.page;
    let host = HeaderValue::try_from(wanted.host.as_deref().unwrap_or(page.origin().authority())).ok()?;
    let request = Request::builder()
        .method(wanted.method.name())
        .uri(page.target())
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("signalbox"))
        .header(ACCEPT, HeaderValue::from_static("*/*"));
    request.body(Empty::new()).ok()
}
