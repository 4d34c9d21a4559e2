//! An HTTP/2 client for a single request to a backend, on a connection of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::Fuse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::{Http2Connection, Http2Error, Http2Sender, open};

/// True if a backend has said that it wants HTTP/1.1 in place of HTTP/2 (RFC 9113 §7).
pub(crate) fn wants_http1(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
}

/// A connection over which one request is sent. Dropping it closes the connection.
pub(crate) struct SingleStream<S: AsyncRead + AsyncWrite + Unpin> {
    connection: Fuse<Pin<Box<Http2Connection<S>>>>,
    sender: Http2Sender,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SingleStream<S> {
    /// Begins HTTP/2 on a connection.
    ///
    /// # Errors
    /// If the other side does not speak HTTP/2.
    pub(crate) async fn open(stream: S) -> Result<Self, Http2Error> {
        let (sender, connection) = open(stream, u16::MAX).await?;
        Ok(Self { connection: Box::pin(connection).fuse(), sender })
    }

    /// Sends the request with a body and waits for the head of its response.
    ///
    /// # Errors
    /// If the stream is reset or the connection ends before.
    pub(crate) async fn send(&mut self, request: Request<()>, body: Bytes) -> Result<Response<RecvStream>, h2::Error> {
        let (response, mut stream) = self.sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        self.drive(response).await
    }

    /// Reads a body to its end, or until it has `bytes_max` bytes. Returns it with its trailers.
    ///
    /// # Errors
    /// If the stream is reset or the connection ends before.
    pub(crate) async fn read(
        &mut self,
        mut body: RecvStream,
        bytes_max: usize,
    ) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
        let reading = async {
            let mut read = BytesMut::new();
            while let Some(data) = body.data().await {
                let data = data?;
                // It fails only for more bytes than have come.
                let _ = body.flow_control().release_capacity(data.len());
                read.extend_from_slice(&data);
                if read.len() >= bytes_max {
                    return Ok((read.freeze(), None));
                }
            }
            Ok((read.freeze(), body.trailers().await?))
        };
        self.drive(reading).await
    }

    /// Runs `work`, which waits for the connection, and polls the connection with it.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            // `work` itself gets the end of the connection and its errors.
            let _: Poll<_> = self.connection.poll_unpin(cx);
            work.as_mut().poll(cx)
        })
        .await
    }
}
