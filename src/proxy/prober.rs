//! Single requests from the control plane: backend tests and maintenance pages.
//!
//! Runs on the caller's runtime, not on a worker: a probe costs traffic nothing. It asks once, follows no redirect,
//! keeps no connection, and reads at most 64 KiB.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::response::Parts;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;

use super::dial::connect;
use super::resolve::look_up;
use crate::clock;
use crate::domain::{PageUrl, Span};

/// Gets pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    deny: Arc<[IpNet]>,
}

/// A page that was got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// From the beginning of the connection to the end of the head.
    pub took: Span,
    /// Body and type, where it is a whole page of HTML (status 2xx, not larger than 64 KiB, not encoded).
    pub html: Option<(Bytes, HeaderValue)>,
}

/// Status and page.
type Got = (u16, Option<(Bytes, HeaderValue)>);

const BODY_BYTES_MAX: usize = 64 * 1024;

impl Prober {
    /// One that connects to nothing in `deny`.
    pub fn new(deny: &[IpNet]) -> Self {
        Self { deny: deny.into() }
    }

    /// Gets a page once.
    ///
    /// # Errors
    /// When there is no answer within `timeout`, in words fit for the client's eyes.
    pub async fn get(&self, page: &PageUrl, timeout: Span) -> Result<Fetched, String> {
        let limit = timeout.std();
        let got = tokio::time::timeout(limit, self.get_now(page, limit)).await;
        got.unwrap_or_else(|_| Err(format!("no answer within {timeout}")))
    }

    async fn get_now(&self, page: &PageUrl, limit: Duration) -> Result<Fetched, String> {
        let began = clock::instant();
        let origin = page.origin();
        let addresses = look_up(origin, &self.deny).await.map_err(|error| error.to_string())?;
        let socket = connect(&addresses, origin.port(), began + limit).await.map_err(|error| error.to_string())?;
        let (status, html) = exchange(socket, page).await?;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Fetched { status, took: Span::from_millis(took), html })
    }
}

async fn exchange(socket: TcpStream, page: &PageUrl) -> Result<Got, String> {
    let request = request(page).ok_or("the page cannot be asked for")?;
    let broken = |_| "the answer is not HTTP".to_owned();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        // Read also where it is not shown: so that the page's end, not a reset, is what its server sees.
        let body = whole(body).await;
        Ok((head.status.as_u16(), html(&head, body)))
    };
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        biased;
        answered = &mut answer => return answered,
        _ = &mut connection => {}
    }
    answer.await
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

fn request(page: &PageUrl) -> Option<Request<Empty<Bytes>>> {
    let host = HeaderValue::try_from(page.origin().authority()).ok()?;
    let request = Request::get(page.target())
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("signalbox"))
        .header(ACCEPT, HeaderValue::from_static("*/*"));
    request.body(Empty::new()).ok()
}
