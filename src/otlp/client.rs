//! The client that carries messages over HTTP/1.1, one connection for each: they come once a second at most.

use futures_util::future::join;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::dial::Dialer;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An error of any layer.
pub(super) type ClientError = Box<dyn std::error::Error + Send + Sync>;

/// Sends single messages to one URL. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct MessageClient {
    dialer: Dialer,
    url: Uri,
    fields: HeaderMap,
}

impl MessageClient {
    /// Creates a client that sends these fields with each message.
    pub(super) fn new(url: &Uri, mut fields: HeaderMap) -> Self {
        if let Some(host) = url.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
            fields.insert(header::HOST, host);
        }
        fields.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(super::AGENT));
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Self { dialer: Dialer::new(url, &[]), url: url.clone(), fields }
    }

    /// Sends a message. Returns the answer, with its body if it is one of success.
    ///
    /// # Errors
    /// If there is no complete answer.
    pub(super) async fn send(&self, message: Bytes) -> Result<Response<Bytes>, ClientError> {
        let stream = self.dialer.dial().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let target = self.url.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::post(if target.is_empty() { "/" } else { target }).body(Full::new(message))?;
        request.headers_mut().clone_from(&self.fields);
        let exchanged = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = if head.status.is_success() {
                Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes()
            } else {
                Bytes::new()
            };
            Ok(Response::from_parts(head, body))
        };
        // The connection ends once its sender is dropped.
        join(exchanged, connection).await.0
    }
}
