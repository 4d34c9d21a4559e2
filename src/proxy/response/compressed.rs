//! Response bodies that are compressed on their way to the client.
//!
//! `traffic` decides which bodies are compressed. Invariants: the memory is bounded by an encoder of at most 3 MiB and a frame on either
//! side of it; all that has come goes out when the backend pauses, so that a slow stream stays one; a body that breaks
//! off never ends as if it were whole.

use std::io::{self, Write};
use std::task::{Context, Poll, ready};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::Frame;

use crate::memory_budget::MemoryShare;
use crate::proxy::body_error::BodyError;
use crate::proxy::response::streamed::StreamedBody;
use crate::traffic::{CompressionPlan, ContentCoding, drop_digests};

/// Fast levels: each costs less than the bytes that it saves, on any network.
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
const GZIP_LEVEL: u32 = 5;
/// The window of brotli and zstd as a power of two: most of an encoder's memory.
const WINDOW_BITS_MAX: u32 = 19;
/// The most bytes that are compressed at once, so that a large frame delays no other request.
const SLICE_BYTES: usize = 16 * 1024;
/// The number of bytes from which on output is sent.
const FRAME_BYTES: usize = 8 * 1024;

/// A backend's response body, compressed on its way.
pub(crate) struct CompressedBody {
    pub(crate) source: StreamedBody,
    state: CompressionState,
    /// The part of the backend's last frame that is not compressed yet.
    waiting: Bytes,
    /// True if the encoder may hold bytes back.
    holds: bool,
    /// The memory of the encoder.
    _share: MemoryShare,
}

enum CompressionState {
    Flowing(Encoder),
    /// All is compressed; only trailers may be left.
    Ended(Option<HeaderMap>),
    /// The client learns of the error once all that came before is written.
    Broken(BodyError),
}

/// An encoder that writes to a vector.
enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

type PolledCompressed = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl CompressedBody {
    pub(crate) fn new(source: StreamedBody, recoding: CompressionPlan, mut share: MemoryShare) -> Self {
        // It is never more than was taken before the length was known.
        let _ = share.set(encoder_bytes(recoding.coding, recoding.length));
        let encoder = Encoder::new(recoding);
        let state = encoder.map_or_else(|error| CompressionState::Broken(error.into()), CompressionState::Flowing);
        Self { source, state, waiting: Bytes::new(), holds: false, _share: share }
    }

    /// Returns the next frame for the client.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> PolledCompressed {
        loop {
            let encoder = match &mut self.state {
                CompressionState::Flowing(encoder) => encoder,
                CompressionState::Ended(trailers) => {
                    return Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields))));
                }
                CompressionState::Broken(_) => return self.take_error(),
            };
            let output = match encoder.step(&mut self.waiting, &mut self.holds, &mut self.source, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(CompressionStep::Nothing)) => encoder.take(FRAME_BYTES),
                Poll::Ready(Ok(CompressionStep::Pause)) => encoder.take(1),
                Poll::Ready(Ok(CompressionStep::End(trailers))) => match self.end(trailers) {
                    Ok(rest) => rest,
                    Err(error) => return self.break_off(error.into(), cx),
                },
                Poll::Ready(Err(error)) => return self.break_off(error, cx),
            };
            if let Some(data) = output {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    /// True if no further frame comes.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.state, CompressionState::Ended(None))
    }

    fn end(&mut self, mut trailers: Option<HeaderMap>) -> io::Result<Option<Bytes>> {
        trailers.iter_mut().for_each(drop_digests);
        match std::mem::replace(&mut self.state, CompressionState::Ended(trailers)) {
            CompressionState::Flowing(encoder) => {
                encoder.finish().map(|rest| Some(rest).filter(|rest| !rest.is_empty()))
            }
            CompressionState::Ended(_) | CompressionState::Broken(_) => Ok(None),
        }
    }

    /// Holds an error back for one turn: hyper drops the bytes that it has not written when it meets an error.
    fn break_off(&mut self, error: BodyError, cx: &mut Context<'_>) -> PolledCompressed {
        self.state = CompressionState::Broken(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns the error that broke the body off, once.
    fn take_error(&mut self) -> PolledCompressed {
        match std::mem::replace(&mut self.state, CompressionState::Ended(None)) {
            CompressionState::Broken(error) => Poll::Ready(Some(Err(error))),
            CompressionState::Flowing(_) | CompressionState::Ended(_) => Poll::Ready(None),
        }
    }
}

/// The result of one step.
enum CompressionStep {
    Nothing,
    /// The backend pauses, and all that came is out.
    Pause,
    End(Option<HeaderMap>),
}

impl Encoder {
    fn new(recoding: CompressionPlan) -> io::Result<Self> {
        let out = Vec::with_capacity(FRAME_BYTES);
        Ok(match recoding.coding {
            ContentCoding::Brotli => {
                let window = window_bits(recoding.length);
                Self::Brotli(Box::new(CompressorWriter::new(out, FRAME_BYTES, BROTLI_LEVEL, window)))
            }
            ContentCoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window_bits(recoding.length)))?;
                // The encoder spends less on a body that it knows to be small.
                encoder.set_pledged_src_size(recoding.length)?;
                Self::Zstd(encoder)
            }
            ContentCoding::Gzip => Self::Gzip(GzEncoder::new(out, Compression::new(GZIP_LEVEL))),
        })
    }

    /// Compresses some of the waiting bytes, or asks the backend for more.
    fn step(
        &mut self,
        waiting: &mut Bytes,
        holds: &mut bool,
        source: &mut StreamedBody,
        cx: &mut Context<'_>,
    ) -> Poll<Result<CompressionStep, BodyError>> {
        if !waiting.is_empty() {
            *holds = true;
            self.writer().write_all(&waiting.split_to(waiting.len().min(SLICE_BYTES)))?;
            return Poll::Ready(Ok(CompressionStep::Nothing));
        }
        let polled = source.poll(cx);
        if polled.is_pending() && std::mem::take(holds) {
            self.writer().flush()?;
            return Poll::Ready(Ok(CompressionStep::Pause));
        }
        let Some(frame) = ready!(polled).transpose()? else { return Poll::Ready(Ok(CompressionStep::End(None))) };
        Poll::Ready(Ok(match frame.into_data() {
            Ok(data) => {
                *waiting = data;
                CompressionStep::Nothing
            }
            Err(frame) => CompressionStep::End(frame.into_trailers().ok()),
        }))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Brotli(encoder) => encoder.as_mut(),
            Self::Zstd(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
        }
    }

    /// Takes the output if it has at least this many bytes.
    fn take(&mut self, bytes_min: usize) -> Option<Bytes> {
        let out = match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        (out.len() >= bytes_min).then(|| std::mem::take(out).into())
    }

    /// Returns the rest of the output with the end.
    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Gzip(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// Returns the most memory that an encoder takes, with the frames on either side of it.
pub(crate) fn encoder_bytes(coding: ContentCoding, length: Option<u64>) -> usize {
    let window = 1 << window_bits(length);
    match coding {
        ContentCoding::Brotli => 512 * 1024 + 5 * window,
        ContentCoding::Zstd => 256 * 1024 + 3 * window,
        ContentCoding::Gzip => 384 * 1024,
    }
}

/// Returns a window no larger than the body.
fn window_bits(length: Option<u64>) -> u32 {
    length.map_or(WINDOW_BITS_MAX, |length| length.max(2).next_power_of_two().ilog2().clamp(10, WINDOW_BITS_MAX))
}
