//! A request on its way into a connection: its head, and its body frame by frame.
//!
//! Invariants: a frame is asked for only when the one before was written; a body that breaks off never ends as if it were whole.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{Method, Uri};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::io::poll_write_slices;
use super::request_head::{RequestFraming, write_field, write_head};

/// A request on its way into a connection. Between two requests it holds nothing but memory for the next head.
#[derive(Debug)]
pub(super) struct RequestWriter {
    framing: RequestFraming,
    // The bytes before the data of the current frame: the head, or the size of a chunk.
    before: Vec<u8>,
    data: Bytes,
    // The bytes behind the data.
    after: &'static [u8],
    // The bytes of `before` that were written.
    written: usize,
    // True once the body has ended.
    is_whole: bool,
    // True if the stream holds back nothing of what was written. TLS does, while the socket takes no more.
    is_flushed: bool,
    // True if the backend reads no more.
    is_ignored: bool,
}

/// The most memory that is kept for the next head.
const KEPT_BYTES_MAX: usize = 2048;

/// The request cannot be sent to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestBroken;

impl RequestWriter {
    pub(super) fn new() -> Self {
        let (before, data, framing) = (Vec::new(), Bytes::new(), RequestFraming::Length(0));
        Self { framing, before, data, after: b"", written: 0, is_whole: true, is_flushed: true, is_ignored: false }
    }

    /// Begins to send a request.
    pub(super) fn begin(
        &mut self,
        head: (&Method, &Uri, &HeaderMap),
        add: impl FnOnce(&mut Vec<u8>),
        body: &impl Body,
    ) {
        self.framing = write_head(&mut self.before, head, add, body);
        self.is_whole = body.is_end_stream();
    }

    /// True if all was written.
    pub(super) fn has_ended(&self) -> bool {
        self.is_whole && !self.owes()
    }

    /// True if something is still to be written or flushed.
    fn owes(&self) -> bool {
        self.left() > 0 || !(self.is_flushed || self.is_ignored)
    }

    /// True if the backend read no more before all was written.
    pub(super) fn is_ignored(&self) -> bool {
        self.is_ignored
    }

    fn left(&self) -> usize {
        self.before.len() - self.written + self.data.len() + self.after.len()
    }

    /// Writes what can be written. It is ready once all was written, or nobody reads it.
    ///
    /// # Errors
    /// If the body broke off.
    pub(super) fn poll<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RequestBroken>> {
        loop {
            // The head and the first frame are written at once if both are there.
            while !self.is_whole && self.data.is_empty() {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending => {
                        let _: Poll<()> = self.poll_flush(stream, cx);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(frame))) => self.load(frame, body.is_end_stream())?,
                    Poll::Ready(None) => self.end()?,
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(RequestBroken)),
                }
            }
            ready!(self.poll_flush(stream, cx));
            if self.is_whole {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the next frame of the body.
    fn load(&mut self, frame: Frame<Bytes>, is_last: bool) -> Result<(), RequestBroken> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return self.end_with(&trailers);
            }
        };
        match &mut self.framing {
            RequestFraming::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(RequestBroken)?;
            }
            RequestFraming::Chunked(_) if data.is_empty() => {}
            RequestFraming::Chunked(_) => {
                self.before.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
                self.after = b"\r\n";
            }
        }
        self.data = data;
        if is_last { self.end() } else { Ok(()) }
    }

    /// Ends the body without trailers.
    fn end(&mut self) -> Result<(), RequestBroken> {
        self.is_whole = true;
        match self.framing {
            RequestFraming::Length(0) => {}
            RequestFraming::Length(_) => return Err(RequestBroken),
            RequestFraming::Chunked(_) if self.data.is_empty() => self.after = b"0\r\n\r\n",
            RequestFraming::Chunked(_) => self.after = b"\r\n0\r\n\r\n",
        }
        Ok(())
    }

    /// Ends the body with those trailers that were announced. A length leaves no room for any.
    fn end_with(&mut self, trailers: &HeaderMap) -> Result<(), RequestBroken> {
        if let RequestFraming::Chunked(announced) = &self.framing {
            let may_pass = |name: &HeaderName| announced.contains(name) && !ONLY_IN_HEADS.contains(name);
            let mut fields = trailers.iter().filter(|(name, _)| may_pass(name)).peekable();
            if fields.peek().is_some() {
                self.before.extend_from_slice(b"0\r\n");
                fields.for_each(|(name, value)| write_field(&mut self.before, name, value.as_bytes()));
                (self.after, self.is_whole) = (b"\r\n", true);
                return Ok(());
            }
        }
        self.end()
    }

    /// Writes all that waits. A backend that reads no more counts as one that took all, because its response may have come.
    fn poll_flush(&mut self, stream: &mut (impl AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        while self.left() > 0 && !self.is_ignored {
            let before = self.before.get(self.written..).unwrap_or_default();
            let slices = [before, &self.data, self.after].map(IoSlice::new);
            let has_more = !self.data.is_empty() || !self.after.is_empty();
            // A head alone is one slice.
            let slices = slices.get(..if has_more { 3 } else { 1 }).unwrap_or_default();
            match ready!(poll_write_slices(stream, cx, slices)) {
                Ok(bytes) if bytes > 0 => {
                    self.is_flushed = false;
                    self.advance(bytes);
                }
                Ok(_) | Err(_) => self.is_ignored = true,
            }
        }
        self.reset();
        if self.owes() {
            self.is_ignored = ready!(Pin::new(stream).poll_flush(cx)).is_err();
            self.is_flushed = true;
        }
        Poll::Ready(())
    }

    fn advance(&mut self, bytes: usize) {
        let of_before = bytes.min(self.before.len() - self.written);
        self.written += of_before;
        let of_data = (bytes - of_before).min(self.data.len());
        self.data.advance(of_data);
        self.after = self.after.get(bytes - of_before - of_data..).unwrap_or_default();
    }

    /// Makes room for what is written next.
    fn reset(&mut self) {
        self.before.clear();
        self.before.shrink_to(KEPT_BYTES_MAX);
        (self.written, self.data, self.after) = (0, Bytes::new(), b"");
    }
}

/// The fields that direct or frame a message, and mean nothing in trailers (RFC 9110 §6.5.1).
const ONLY_IN_HEADS: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];
