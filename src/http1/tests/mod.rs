//! Requests and responses on connections whose bytes come in pieces of any size.

mod beside_hyper;
mod requests;
mod responses;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, TRAILER};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Http1Connection, ReadHead, ResponseError};

/// A stream that gives its pieces one by one, takes all that is written, and is closed by its other side after the last piece.
#[derive(Default)]
struct Pieces {
    to_read: VecDeque<Vec<u8>>,
    written: Vec<u8>,
    refuses_writes: bool,
    // The flushes that are not ready.
    slow_flushes: u32,
}

impl Pieces {
    fn of(bytes: &[u8], size: usize) -> Self {
        Self { to_read: bytes.chunks(size.max(1)).map(<[u8]>::to_vec).collect(), ..Self::default() }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.to_read.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.to_read.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.refuses_writes {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.written.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_ready = self.slow_flushes == 0;
        self.slow_flushes = self.slow_flushes.saturating_sub(1);
        if is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A response as it was read.
#[derive(Debug, PartialEq)]
struct Read {
    status: u16,
    fields: Vec<String>,
    body: Vec<u8>,
    trailers: Vec<String>,
    interims: Vec<u16>,
    is_whole: bool,
    is_reusable: bool,
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", value.as_bytes().escape_ascii())).collect()
}

/// Sends a request and reads what comes in pieces of `size` bytes.
fn read(method: &Method, bytes: &[u8], size: usize) -> Result<Read, ResponseError> {
    read_from(method, Pieces::of(bytes, size))
}

fn read_from(method: &Method, stream: Pieces) -> Result<Read, ResponseError> {
    let mut connection = Http1Connection::new(stream);
    connection.begin((method, &Uri::from_static("/"), &HeaderMap::new()), |_| {}, &Empty::<Bytes>::new());
    let reading = async {
        poll_fn(|cx| connection.poll_request(&mut Empty::<Bytes>::new(), cx)).await?;
        let mut interims = Vec::new();
        let head = loop {
            match poll_fn(|cx| connection.poll_head(cx, usize::MAX)).await? {
                ReadHead::Interim(status, _) => interims.push(status.as_u16()),
                ReadHead::Final(head) => break head,
            }
        };
        let (mut body, mut trailers, mut is_whole) = (Vec::new(), Vec::new(), true);
        while let Some(frame) = poll_fn(|cx| connection.poll_frame(cx, usize::MAX)).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => body.extend(data),
                Ok(Err(frame)) => trailers = lines(&frame.into_trailers().unwrap()),
                Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        let (status, fields) = (head.status().as_u16(), lines(head.headers()));
        let is_reusable = connection.is_reusable() && connection.stream().to_read.is_empty();
        Ok(Read { status, fields, body, trailers, interims, is_whole, is_reusable })
    };
    reading.now_or_never().expect("nothing to wait for")
}

/// Reads a response in all ways to cut it, which must be the same.
fn read_cut(method: &Method, response: &str) -> Result<Read, ResponseError> {
    let whole = read(method, response.as_bytes(), usize::MAX);
    for size in [1, 2, 3, 7, 19, 100] {
        let cut = read(method, response.as_bytes(), size);
        assert_eq!(format!("{cut:?}"), format!("{whole:?}"), "in pieces of {size} bytes: {response:?}");
    }
    whole
}

fn get(response: &str) -> Read {
    read_cut(&Method::GET, response).expect(response)
}
