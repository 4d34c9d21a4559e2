//! An HTTP/1.1 client for a single request to a backend.
//!
//! Not here: the proxy's upstream connections, which carry many requests.

use std::future::poll_fn;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::Empty;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Http1Connection, ReadHead};
use super::response_error::ResponseError;

/// A request without a body on a connection of its own. Dropping it closes the connection.
pub(crate) struct SingleRequest<S>(Http1Connection<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> SingleRequest<S> {
    /// Sends the request and waits for the head of the final response. An answer counts also if it came before the request was sent.
    ///
    /// # Errors
    /// If the connection breaks off, the answer is not HTTP, or the head is too large.
    pub(crate) async fn send(
        stream: S,
        request: &Request<Empty<Bytes>>,
    ) -> Result<(Self, Response<()>), ResponseError> {
        let mut connection = Http1Connection::new(stream);
        connection.begin((request.method(), request.uri(), request.headers()), |_| {}, request.body());
        let head = poll_fn(|cx| {
            // A backend that takes only a part of it may answer all the same.
            let _: Poll<_> = connection.poll_request(&mut Empty::new(), cx)?;
            loop {
                if let ReadHead::Final(head) = ready!(connection.poll_head(cx, usize::MAX))? {
                    return Poll::Ready(Ok::<_, ResponseError>(head));
                }
            }
        });
        let head = head.await?;
        Ok((Self(connection), head))
    }

    /// Reads the next part of the body; `None` at its end.
    ///
    /// # Errors
    /// If the body breaks off.
    pub(crate) async fn next_data(&mut self) -> Option<Result<Bytes, ResponseError>> {
        loop {
            let frame = poll_fn(|cx| self.0.poll_frame(cx, usize::MAX)).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                // Nobody wants the trailers.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
