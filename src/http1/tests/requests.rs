//! Requests: the framing of their bodies, trailers, and the moment at which they have ended.

use super::*;

/// A TLS stream takes bytes that it cannot write yet.
#[test]
fn a_request_has_ended_only_when_the_stream_holds_back_nothing_of_it() {
    let mut connection = Http1Connection::new(Pieces { slow_flushes: 2, ..Pieces::default() });
    connection.begin((&Method::GET, &Uri::from_static("/"), &HeaderMap::new()), |_| {}, &Empty::<Bytes>::new());
    let mut send = || {
        let sent = poll_fn(|cx| connection.poll_request(&mut Empty::<Bytes>::new(), cx)).now_or_never();
        (sent.is_some(), connection.has_sent())
    };
    assert_eq!([send(), send(), send()], [(false, false), (false, false), (true, true)]);
}

/// Sends a request with a body of these frames, and returns what was written.
fn sent(
    method: &Method,
    fields: &[(&str, &str)],
    frames: Vec<Frame<Bytes>>,
    length: Option<u64>,
) -> Result<String, ()> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(http::HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let frames = frames.into_iter().map(Ok::<_, io::Error>);
    let mut body = SizedBody { frames: StreamBody::new(futures_util::stream::iter(frames)), length };
    let mut connection = Http1Connection::new(Pieces::default());
    connection.begin((method, &Uri::from_static("/p?q"), &headers), |_| {}, &body);
    let sending = poll_fn(|cx| connection.poll_request(&mut body, cx)).now_or_never().expect("nothing to wait for");
    sending.map_err(drop)?;
    assert!(connection.has_sent());
    Ok(String::from_utf8(connection.stream().written.clone()).unwrap())
}

/// A body with a length that is known or not.
struct SizedBody<B> {
    frames: B,
    length: Option<u64>,
}

impl<B: http_body::Body + Unpin> http_body::Body for SizedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.frames).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

fn data(parts: &[&'static str]) -> Vec<Frame<Bytes>> {
    parts.iter().map(|part| Frame::data(Bytes::from_static(part.as_bytes()))).collect()
}

#[test]
fn a_request_is_written_with_the_framing_of_its_body() {
    let chunked = [("transfer-encoding", "chunked"), ("content-length", "9")];
    for (method, fields, frames, length, written) in [
        (Method::GET, &[("x-ab-c", "d")][..], data(&[]), Some(0), "GET /p?q HTTP/1.1\r\nX-Ab-C: d\r\n\r\n"),
        (Method::POST, &chunked[..1], data(&[]), Some(0), "POST /p?q HTTP/1.1\r\n\r\n"),
        (
            Method::POST,
            &[("content-length", "3")],
            data(&["a", "bc"]),
            Some(3),
            "POST /p?q HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        ),
        (Method::POST, &[], data(&["abc"]), Some(3), "POST /p?q HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
        (
            Method::GET,
            &chunked,
            data(&["a", "", "0123456789abcdef"]),
            None,
            "GET /p?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
        ),
        (Method::PUT, &[], data(&[]), None, "PUT /p?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        assert_eq!(sent(&method, fields, frames, length).as_deref(), Ok(written));
    }
}

#[test]
fn only_announced_trailers_are_sent_and_none_that_belong_to_a_head() {
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-other", "content-length"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let frames = || data(&["a"]).into_iter().chain([Frame::trailers(trailers.clone())]).collect();
    let end = |fields: &[(&str, &str)]| {
        let sent = sent(&Method::POST, fields, frames(), None).unwrap();
        sent.split_once("\r\n1\r\na\r\n").unwrap().1.to_owned()
    };
    assert_eq!(end(&[(TRAILER.as_str(), "X-Sum, content-length")]), "0\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(end(&[(TRAILER.as_str(), "y")]), "0\r\n\r\n");
    assert_eq!(end(&[]), "0\r\n\r\n");
}

#[test]
fn a_body_of_another_length_than_its_head_says_never_ends_as_if_it_were_whole() {
    let length = [(CONTENT_LENGTH.as_str(), "3")];
    assert_eq!(sent(&Method::POST, &length, data(&["ab"]), Some(3)), Err(()));
    assert_eq!(sent(&Method::POST, &length, data(&["abcd"]), Some(3)), Err(()));
}
