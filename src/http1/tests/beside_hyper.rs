//! Responses as hyper's client reads them, and bytes that are no response.

use super::*;

/// Reads a response with hyper. Returns `None` if hyper refuses it or it breaks off.
fn read_by_hyper(bytes: &[u8]) -> Option<(u16, Vec<String>, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let io = TokioIo::new(Pieces::of(bytes, usize::MAX));
        // hyper takes bytes that are there before the request for an error.
        let held = TokioIo::new(HeldBack { inner: io.into_inner(), has_written: false });
        let (mut sender, connection) = hyper::client::conn::http1::handshake(held).await.ok()?;
        let answered = sender.send_request(Request::new(Empty::<Bytes>::new()));
        let (_, response) = tokio::join!(connection, async {
            let response = answered.await.ok()?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.ok()?.to_bytes().to_vec();
            Some((head.status.as_u16(), lines(&head.headers), body))
        });
        response
    })
}

/// A stream that gives nothing before something was written.
struct HeldBack {
    inner: Pieces,
    has_written: bool,
}

impl AsyncRead for HeldBack {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.has_written {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for HeldBack {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Bytes that look like a response, in an order that makes sense or does not.
fn response_like() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "content-length: 2\r\n",
        "content-length: 3\r\n",
        "Content-Length : 2\r\n",
        "content-length: 2,2\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "connection: close\r\n",
        "x: y\r\n",
        "x:\r\n",
        "x: y\n",
        " folded\r\n",
        "no field\r\n",
    ]);
    let part = prop::sample::select(vec![
        "2\r\nok\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "ok",
        "x: y\r\n",
        "\r\n",
        "\n",
        "1;e\r\n",
        "a",
        "5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\n",
    ]);
    let status = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 X\r\n",
        "HTTP/1.1 304 X\r\n",
        "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 404\r\n",
    ]);
    (status, prop::collection::vec(line, 0..4), prop::collection::vec(part, 0..6))
        .prop_map(|(status, lines, parts)| format!("{status}{}\r\n{}", lines.concat(), parts.concat()))
}

proptest! {
    /// A response that hyper reads to its end, and that is no error here, is read in the same way.
    #[test]
    fn a_response_is_read_as_hyper_reads_it(response in response_like()) {
        let by_hyper = read_by_hyper(response.as_bytes());
        let read = read_cut(&Method::GET, &response);
        // `identity` is no coding here.
        if let Some((status, fields, body)) = by_hyper.filter(|_| !response.contains("identity"))
            && let Ok(read) = read
        {
            prop_assert!(read.is_whole, "{:?}", read);
            let own = |fields: Vec<String>| {
                fields.into_iter().filter(|field| !field.starts_with("transfer-encoding") && !field.starts_with("connection"))
            };
            let (fields, read_fields) = (own(fields), own(read.fields));
            prop_assert!(fields.eq(read_fields));
            prop_assert_eq!((status, body), (read.status, read.body));
        }
    }

    /// Any bytes, in any pieces, end in a response or an error.
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..50) {
        let _ = read(&Method::GET, &bytes, size);
        let _ = read(&Method::GET, &[b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat(), size);
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
        let _ = read(&Method::GET, &[chunked, &bytes].concat(), size);
    }
}
