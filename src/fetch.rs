//! Single requests from the control plane: backend tests and maintenance pages.
//!
//! Runs on the caller's runtime, not on a worker: a probe costs traffic nothing. It asks once, follows no redirect,
//! keeps no connection and no TLS session, and reads at most 64 KiB.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::response::Parts;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;

use crate::clock;
use crate::connect::{AddressResolver, BackendStream, BackendTls, ConnectError, connect, serial};
use crate::domain::{CheckMethod, Forbidden, PageUrl, Scheme, SessionKey, Span};
use crate::http1::SingleRequest;
use crate::traffic::origin_hash;

/// Gets pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PageFetcher {
    addresses: AddressResolver,
    tls: BackendTls,
}

/// A page that is asked for, and how.
#[derive(Clone, Debug)]
pub struct PageRequest<'a> {
    /// The page.
    pub page: &'a PageUrl,
    /// What `Host` says; `None` for the page's own host.
    pub host: Option<Arc<str>>,
    /// `GET` or `HEAD`.
    pub method: CheckMethod,
}

impl<'a> From<&'a PageUrl> for PageRequest<'a> {
    fn from(page: &'a PageUrl) -> Self {
        Self { page, host: None, method: CheckMethod::Get }
    }
}

/// What becomes of a page whose server's certificate does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePolicy {
    /// It is not asked for.
    Required,
    /// It is got all the same, and [`FetchedPage::tls_valid`] says so.
    Reported,
    /// It is got; nobody looks at the certificate.
    Ignored,
}

/// A page that was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPage {
    /// Its status.
    pub status: u16,
    /// From the beginning of the connection to the end of the head.
    pub took: Span,
    /// True if a certificate was shown that is trusted and is the host's; never so without TLS.
    pub tls_valid: bool,
    /// Body and type, where it is a whole page of HTML (status 2xx, not larger than 64 KiB, not encoded).
    pub html: Option<(Bytes, HeaderValue)>,
}

/// Status and page.
type Got = (u16, Option<(Bytes, HeaderValue)>);

const BODY_BYTES_MAX: usize = 64 * 1024;

impl PageFetcher {
    /// One that connects to `addresses` alone.
    pub fn new(addresses: &AddressResolver, tls: &BackendTls) -> Self {
        Self { addresses: addresses.clone(), tls: tls.without_resumption() }
    }

    /// What it never connects to.
    pub fn forbidden(&self) -> &Forbidden {
        self.addresses.forbidden()
    }

    /// Gets a page once. The name of its host is looked up in the session's turn.
    ///
    /// # Errors
    /// If there is no answer within `timeout`, in words fit for the client's eyes.
    pub async fn get<'a>(
        &self,
        session: SessionKey,
        wanted: impl Into<PageRequest<'a>>,
        timeout: Span,
        trust: CertificatePolicy,
    ) -> Result<FetchedPage, String> {
        let wanted = wanted.into();
        let origin = origin_hash(wanted.page.origin(), trust != CertificatePolicy::Ignored);
        let got = serial::impatiently(origin, serial::PATIENCE, self.get_now(session, &wanted, timeout.std(), trust));
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
            Err(Failed::Connect(ConnectError::Certificate(_))) if trust == CertificatePolicy::Reported => {
                self.try_once(wanted, &addresses, end, false).await.map_err(|failed| failed.to_string())
            }
            first => first.map_err(|failed| failed.to_string()),
        }
    }

    async fn try_once(
        &self,
        wanted: &PageRequest<'_>,
        addresses: &[IpAddr],
        end: Instant,
        verify: bool,
    ) -> Result<FetchedPage, Failed> {
        let (began, origin) = (clock::instant(), wanted.page.origin());
        let socket = connect(addresses, origin.port(), end).await?;
        let stream = self.tls.secure(socket, origin, verify, end).await?;
        let (status, html) = exchange(stream, wanted).await?;
        let tls = origin.scheme() == Scheme::Https;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(FetchedPage { status, took: Span::from_millis(took), tls_valid: tls && verify, html })
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the page cannot be asked for")]
    Unaskable,
    #[error("the answer is not HTTP")]
    NotHttp(#[from] hyper::Error),
}

async fn exchange(stream: BackendStream, wanted: &PageRequest<'_>) -> Result<Got, Failed> {
    let (mut sent, response) = SingleRequest::send(stream, request(wanted).ok_or(Failed::Unaskable)?).await?;
    let (head, body) = response.into_parts();
    // Read also when it is not shown, so that its server sees the page's end and not a reset.
    let body = sent.drive(whole(body)).await;
    Ok((head.status.as_u16(), html(&head, body)))
}

/// `None` when it breaks off or is too large.
async fn whole(mut body: Incoming) -> Option<Bytes> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            if read.len() + data.len() > BODY_BYTES_MAX {
                return None;
            }
            read.extend_from_slice(data);
        }
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
