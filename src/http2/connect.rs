//! The beginning of an HTTP/2 connection to a backend.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};

/// The sender of requests on a connection.
pub(crate) type Http2Sender = SendRequest<Bytes>;
/// The future that moves the bytes of a connection.
pub(crate) type Http2Connection<S> = Connection<S, Bytes>;

/// The most streams that are open on a connection at once, whatever the backend allows.
pub(crate) const STREAMS_MAX: u8 = 128;
/// The most bytes of a request's body that wait for the backend, of one stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// The most bytes of a response head, and of trailers.
const HEAD_BYTES_MAX: u32 = 128 * 1024;
/// Stands for the number of streams that the backend allows until its settings have come.
const UNTOLD: usize = usize::MAX - 1;

/// The reason why a connection did not become one of HTTP/2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Http2Error {
    /// The connection was closed before the settings came.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error("the connection was reset")]
    Reset,
    /// The first bytes are not those of HTTP/2.
    #[error("the answer is not HTTP/2")]
    NotHttp2,
}

/// Begins HTTP/2 on a connection and waits for the settings of the backend. The wait has no limit of its own. Of one response's body,
/// at most `window_bytes` wait for the client.
pub(crate) async fn open<S>(stream: S, window_bytes: u16) -> Result<(Http2Sender, Http2Connection<S>), Http2Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A client that takes nothing of its streams must not hold up those of others.
    let all = u32::from(STREAMS_MAX) * u32::from(window_bytes);
    let mut builder = Builder::new();
    builder
        .initial_window_size(window_bytes.into())
        .initial_connection_window_size(all)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_max_send_streams(UNTOLD)
        .enable_push(false);
    let (sender, mut connection) = builder.handshake(stream).await.map_err(|error| as_open_error(&error))?;
    poll_fn(|cx| {
        let polled = std::pin::Pin::new(&mut connection).poll(cx);
        match polled {
            _ if sender.current_max_send_streams() != UNTOLD => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(as_open_error(&error))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(Http2Error::Closed)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok((sender, connection))
}

fn as_open_error(error: &h2::Error) -> Http2Error {
    match error.get_io().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionReset) => Http2Error::Reset,
        Some(_) => Http2Error::Closed,
        None => Http2Error::NotHttp2,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Returns the error of a connection on which the other side says `said` and closes.
    async fn refused(said: &[u8]) -> String {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let answering = async {
            let _ = far.read(&mut [0; 1024]).await;
            let _ = far.write_all(said).await;
            let _ = far.shutdown().await;
        };
        let (opened, ()) = tokio::join!(open(near, u16::MAX), answering);
        opened.map(drop).expect_err("no HTTP/2").to_string()
    }

    #[tokio::test]
    async fn a_connection_counts_only_once_the_backend_has_said_its_settings() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&settings).await.unwrap();
        assert!(open(near, u16::MAX).await.is_ok());
        assert_eq!(refused(b"").await, "the connection was closed");
        assert_eq!(refused(&settings[..5]).await, "the connection was closed");
        assert_eq!(refused(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await, "the answer is not HTTP/2");
    }

    #[tokio::test]
    async fn the_number_of_streams_that_the_backend_allows_is_known_from_the_start() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        far.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7]).await.unwrap();
        assert_eq!(open(near, u16::MAX).await.unwrap().0.current_max_send_streams(), 7);
    }
}
