//! An HTTP/1.1 client for a single request to a backend.
//!
//! Not here: the proxy's upstream connections, which carry many requests. They share only [`client_builder`].

use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Fuse;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::upstream_io::{HEAD_BYTES_MAX, UpstreamIo};

/// Returns hyper's settings for connections to backends. The connection must be an [`UpstreamIo`].
pub(crate) fn client_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).title_case_headers(true);
    // A proxy must remove them (RFC 9112 §5.1).
    builder.allow_spaces_after_header_name_in_responses(true);
    // Lines that are no fields are dropped. `normalize` has refused those that affect the framing.
    builder.ignore_invalid_headers_in_responses(true);
    builder
}

/// A connection over which one request without a body is sent.
type OneConnection<S> = Connection<TokioIo<UpstreamIo<S>>, Empty<Bytes>>;

/// A request without a body on a connection of its own. Dropping it closes the connection.
pub(crate) struct SingleRequest<S: AsyncRead + AsyncWrite + Unpin + Send> {
    connection: Fuse<Pin<Box<OneConnection<S>>>>,
    _sender: SendRequest<Empty<Bytes>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> SingleRequest<S> {
    /// Sends the request and waits for the head of the final response. That head and all interim responses before it may have
    /// [`HEAD_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// If the connection breaks off, the answer is not HTTP, or the head is too large; see [`super::is_head_too_large`].
    pub(crate) async fn send(stream: S, request: Request<Empty<Bytes>>) -> hyper::Result<(Self, Response<Incoming>)> {
        let (io, budget) = UpstreamIo::new(stream);
        let (mut sender, connection) = client_builder().handshake(TokioIo::new(io.read_after_request())).await?;
        budget.await_head();
        let response = sender.send_request(request);
        let mut sent = Self { connection: Box::pin(connection).fuse(), _sender: sender };
        let response = sent.drive(response).await?;
        budget.remove_limit();
        Ok((sent, response))
    }

    /// Runs `work`, which waits for the connection, and polls the connection with it.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            // `work` itself gets the end of the connection and its errors.
            let _: Poll<_> = self.connection.poll_unpin(cx);
            work.as_mut().poll(cx)
        })
        .await
    }
}
