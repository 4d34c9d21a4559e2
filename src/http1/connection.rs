//! A connection to a backend that speaks HTTP/1.1, one request after the other.
//!
//! It does not run by itself: whoever wants a head or a part of a body polls it. Invariants: the bytes up to the end of a response
//! head are bounded, interim responses included; a response that has arrived is read even if the backend reads no more of the
//! request; nothing is read before somebody wants it.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::HEAD_BYTES_MAX;
use super::chunked::{BodyPart, ChunkReader, take_up_to};
use super::normalize::may_be_http;
use super::request_writer::RequestWriter;
use super::response_error::ResponseError;
use super::response_head::{ResponseFraming, ResponseHead, take_head};
use super::upgraded::UpgradedStream;

/// The bytes of a usual read.
const READ_BYTES: usize = 8 * 1024;
/// The most bytes of a read. Reads grow while they are filled.
const READ_BYTES_MAX: usize = 128 * 1024;

/// A connection to a backend.
pub(crate) struct Http1Connection<S> {
    stream: S,
    request: RequestWriter,
    method: Method,
    // The bytes that were read and belong to nothing yet.
    received: BytesMut,
    // The bytes among them that were looked through for a head.
    searched: usize,
    // The bytes of the next read.
    read_bytes: usize,
    // The bytes of the interim heads before the response.
    interim_bytes: usize,
    has_received: bool,
    body: BodyStage,
    keeps_alive: bool,
    // Whoever waits for the response while another task sends the request.
    reader: Option<Waker>,
}

/// The progress of a response, and the way in which its end is found.
#[derive(Debug)]
enum BodyStage {
    /// The head is still to come.
    AfterHead,
    Length(u64),
    Chunked(ChunkReader),
    UntilClose,
    Ended,
    /// The response cannot be read to its end.
    Broken,
}

/// A head of a response.
pub(crate) enum ReadHead {
    /// Another one follows (RFC 9110 §15.2). It holds the bytes of the head.
    Interim(StatusCode, Bytes),
    Final(Response<()>),
}

impl<S> Http1Connection<S> {
    /// Takes a new connection.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            request: RequestWriter::new(),
            method: Method::GET,
            received: BytesMut::new(),
            searched: 0,
            read_bytes: READ_BYTES,
            interim_bytes: 0,
            has_received: false,
            body: BodyStage::Ended,
            keeps_alive: true,
            reader: None,
        }
    }

    /// Begins a request. `add` writes further fields of its head. Its body is given to [`Self::poll_request`].
    pub(crate) fn begin(
        &mut self,
        head: (&Method, &Uri, &HeaderMap),
        add: impl FnOnce(&mut Vec<u8>),
        body: &impl Body,
    ) {
        self.request.begin(head, add, body);
        self.method.clone_from(head.0);
        (self.interim_bytes, self.has_received, self.body) = (0, false, BodyStage::AfterHead);
    }

    /// True if bytes of the response to the current request have come.
    pub(crate) fn has_received(&self) -> bool {
        self.has_received
    }

    /// True if all of the request was written.
    pub(crate) fn has_sent(&self) -> bool {
        self.request.has_ended()
    }

    /// True if both messages have ended and another request can follow.
    pub(crate) fn is_reusable(&self) -> bool {
        let has_ended = matches!(self.body, BodyStage::Ended) && self.has_sent() && !self.request.is_ignored();
        has_ended && self.keeps_alive && self.received.is_empty()
    }

    /// True if the response has ended.
    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.body, BodyStage::Ended)
    }

    /// Returns the number of bytes of the body that are at hand. Chunks are not looked at.
    pub(crate) fn ready_bytes(&self) -> usize {
        match self.body {
            BodyStage::Length(left) => {
                usize::try_from(left).map_or(self.received.len(), |left| left.min(self.received.len()))
            }
            BodyStage::UntilClose => self.received.len(),
            _ => 0,
        }
    }

    /// Returns the bytes of the body that are still to come, as far as they are known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.body {
            BodyStage::Length(left) => SizeHint::with_exact(left),
            BodyStage::Ended => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Returns the connection for another protocol.
    pub(crate) fn into_upgraded(self) -> UpgradedStream<S> {
        UpgradedStream::new(self.stream, self.received.into())
    }

    fn break_off<T>(&mut self, error: ResponseError) -> Result<T, ResponseError> {
        self.body = BodyStage::Broken;
        self.reader.take().into_iter().for_each(Waker::wake);
        Err(error)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1Connection<S> {
    /// Sends what can be sent of the request. It is ready once all was sent, or nobody reads the rest.
    ///
    /// # Errors
    /// If the body broke off. The response breaks off with it.
    pub(crate) fn poll_request<B>(&mut self, body: &mut B, cx: &mut Context<'_>) -> Poll<Result<(), ResponseError>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if self.request.has_ended() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.request.poll(&mut self.stream, body, cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(self.break_off(ResponseError::RequestBroken)),
        }
    }

    /// Reads the next head of the response, with reads of at most `read_max` bytes.
    ///
    /// # Errors
    /// If the head is malformed or too large, or the connection ends.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>, read_max: usize) -> Poll<Result<ReadHead, ResponseError>> {
        loop {
            match self.take_head() {
                Ok(Some(head)) if head.is_interim() => {
                    self.interim_bytes += head.interim.len();
                    return Poll::Ready(Ok(ReadHead::Interim(head.response.status(), head.interim)));
                }
                Ok(Some(head)) => return Poll::Ready(Ok(ReadHead::Final(self.accept(head)))),
                Ok(None) => {
                    let left = HEAD_BYTES_MAX.saturating_sub(self.interim_bytes + self.received.len());
                    match ready!(self.poll_read(cx, read_max.min(left))) {
                        Ok(0) => return Poll::Ready(self.break_off(ResponseError::Incomplete)),
                        Ok(_) => self.has_received = true,
                        Err(error) => return Poll::Ready(self.break_off(error.into())),
                    }
                }
                Err(error) => return Poll::Ready(self.break_off(error)),
            }
        }
    }

    /// Takes the next head off what was received. Returns `None` if it is incomplete.
    fn take_head(&mut self) -> Result<Option<ResponseHead>, ResponseError> {
        let new = self.received.get(self.searched..).unwrap_or_default();
        // A head ends with a line.
        let head = if memchr::memchr(b'\n', new).is_some() { take_head(&mut self.received)? } else { None };
        self.searched = if head.is_some() { 0 } else { self.received.len() };
        if head.is_none() && !may_be_http(&self.received) {
            return Err(ResponseError::Malformed);
        }
        if self.interim_bytes + self.received.len() >= HEAD_BYTES_MAX && head.is_none() {
            return Err(ResponseError::HeadTooLarge);
        }
        Ok(head)
    }

    /// Takes the final head of a response.
    fn accept(&mut self, head: ResponseHead) -> Response<()> {
        let framing = head.framing_of(&self.method);
        self.keeps_alive = head.keeps_alive && !head.is_switch() && framing != ResponseFraming::UntilClose;
        self.body = match framing {
            ResponseFraming::Length(0) => BodyStage::Ended,
            ResponseFraming::Length(length) => BodyStage::Length(length),
            ResponseFraming::Chunked => BodyStage::Chunked(ChunkReader::default()),
            ResponseFraming::UntilClose => BodyStage::UntilClose,
        };
        head.response
    }

    /// Reads the next frame of the body, with reads of at most `read_max` bytes.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        read_max: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        loop {
            match self.take_frame() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if matches!(self.body, BodyStage::Ended) => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(self.break_off(error))),
            }
            let Poll::Ready(read) = self.poll_read(cx, read_max) else {
                if !self.has_sent() {
                    self.reader = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            match read {
                Ok(0) if matches!(self.body, BodyStage::UntilClose) => self.body = BodyStage::Ended,
                Ok(0) => return Poll::Ready(Some(self.break_off(ResponseError::Incomplete))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(self.break_off(error.into()))),
            }
        }
    }

    /// Takes the next frame off what was received. Returns `None` if there is none.
    fn take_frame(&mut self) -> Result<Option<Frame<Bytes>>, ResponseError> {
        let received = &mut self.received;
        let (data, is_last) = match &mut self.body {
            BodyStage::Broken | BodyStage::AfterHead => return Err(ResponseError::RequestBroken),
            BodyStage::Ended => return Ok(None),
            BodyStage::Length(_) | BodyStage::UntilClose if received.is_empty() => return Ok(None),
            BodyStage::Length(left) => {
                let data = take_up_to(received, *left);
                *left -= data.len() as u64;
                (data, *left == 0)
            }
            BodyStage::Chunked(chunks) => match chunks.take(received)? {
                None => return Ok(None),
                Some(BodyPart::Data(data)) => (data, chunks.take_plain_end(received)),
                Some(BodyPart::End(trailers)) => {
                    self.body = BodyStage::Ended;
                    return Ok(trailers.map(Frame::trailers));
                }
            },
            BodyStage::UntilClose => (received.split().freeze(), false),
        };
        if is_last {
            self.body = BodyStage::Ended;
        }
        Ok(Some(Frame::data(data)))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, read_max: usize) -> Poll<io::Result<usize>> {
        if self.received.capacity() - self.received.len() < self.read_bytes.min(read_max) {
            self.received.reserve(self.read_bytes);
        }
        let room = self.received.capacity() - self.received.len();
        let mut buffer = (&mut self.received).limit(room.min(read_max));
        let bytes = ready!(pin!(self.stream.read_buf(&mut buffer)).poll(cx))?;
        // Reads grow while they are filled, and shrink while half of the room is enough.
        if bytes >= self.read_bytes {
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_MAX);
        } else if bytes < self.read_bytes / 2 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES);
        }
        Poll::Ready(Ok(bytes))
    }

    /// True if the backend has neither closed the idle connection nor sent anything.
    pub(crate) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0; 1];
        self.received.is_empty() && Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Gives back memory while the connection is idle.
    pub(crate) fn rest(&mut self) {
        if self.received.capacity() > READ_BYTES {
            self.received = BytesMut::new();
        }
    }
}
