//! Response bodies compressed on their way to the client.
//!
//! What it is not: the decision, which is `traffic`'s. What must hold: memory is bounded, by an encoder of at most 3 MiB
//! and a frame on either side of it; what has come is on its way to the client when the backend pauses, so that a slow stream stays
//! one; a body that breaks off never ends as if it were whole.

use std::io::{self, Write};
use std::task::{Context, Poll, ready};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::Frame;

use crate::memory_budget::MemoryShare;
use crate::proxy::response::streamed::StreamedBody;
use crate::proxy::upstream::body_error::BodyError;
use crate::traffic::{CompressionPlan, ContentCoding, drop_digests};

/// Fast levels: each costs less than the bytes it saves, on any network.
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
const GZIP_LEVEL: u32 = 5;
/// How far back brotli and zstd look, as a power of two: most of an encoder's memory.
const WINDOW_BITS_MAX: u32 = 19;
/// The most that is compressed in one go, so that a big frame holds up nobody else.
const SLICE_BYTES: usize = 16 * 1024;
/// As soon as so much has come out it is handed on.
const FRAME_BYTES: usize = 8 * 1024;

/// A backend's response body under way, compressed.
pub(crate) struct CompressedBody {
    pub(crate) source: StreamedBody,
    state: CompressionState,
    /// What of the backend's last frame has not been compressed yet.
    waiting: Bytes,
    /// True if the encoder may hold something back.
    holds: bool,
    /// The memory that the encoder takes.
    _share: MemoryShare,
}

enum CompressionState {
    Flowing(Encoder),
    /// All is compressed; only trailers may be left.
    Ended(Option<HeaderMap>),
    /// It is told once what came before has been written.
    Broken(BodyError),
}

/// What comes out of an encoder is in a vector.
enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

type PolledFrame = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl CompressedBody {
    pub(crate) fn new(source: StreamedBody, recoding: CompressionPlan, mut share: MemoryShare) -> Self {
        // Never more than was drawn before the length was known.
        let _ = share.set(encoder_bytes(recoding.coding, recoding.length));
        let encoder = Encoder::new(recoding);
        let state = encoder.map_or_else(|error| CompressionState::Broken(error.into()), CompressionState::Flowing);
        Self { source, state, waiting: Bytes::new(), holds: false, _share: share }
    }

    /// The next frame for the client.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        loop {
            let encoder = match &mut self.state {
                CompressionState::Flowing(encoder) => encoder,
                CompressionState::Ended(trailers) => {
                    return Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields))));
                }
                CompressionState::Broken(_) => return self.tell(),
            };
            let came = match encoder.step(&mut self.waiting, &mut self.holds, &mut self.source, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(CompressionStep::Nothing)) => encoder.take(FRAME_BYTES),
                Poll::Ready(Ok(CompressionStep::Pause)) => encoder.take(1),
                Poll::Ready(Ok(CompressionStep::End(trailers))) => match self.end(trailers) {
                    Ok(rest) => rest,
                    Err(error) => return self.break_off(error.into(), cx),
                },
                Poll::Ready(Err(error)) => return self.break_off(error, cx),
            };
            if let Some(data) = came {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    /// Nothing more will come.
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

    /// An error at once would have hyper drop what it has not written yet; first it writes.
    fn break_off(&mut self, error: BodyError, cx: &mut Context<'_>) -> PolledFrame {
        self.state = CompressionState::Broken(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn tell(&mut self) -> PolledFrame {
        match std::mem::replace(&mut self.state, CompressionState::Ended(None)) {
            CompressionState::Broken(error) => Poll::Ready(Some(Err(error))),
            CompressionState::Flowing(_) | CompressionState::Ended(_) => Poll::Ready(None),
        }
    }
}

/// What has come of a step.
enum CompressionStep {
    Nothing,
    /// The backend pauses; all that came is out.
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
                // It spends less on what it knows to be small.
                encoder.set_pledged_src_size(recoding.length)?;
                Self::Zstd(encoder)
            }
            ContentCoding::Gzip => Self::Gzip(GzEncoder::new(out, Compression::new(GZIP_LEVEL))),
        })
    }

    /// Compresses some of what waits, or else sees what the backend has.
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

    /// What has come out, if it is at least so much.
    fn take(&mut self, bytes_min: usize) -> Option<Bytes> {
        let out = match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        (out.len() >= bytes_min).then(|| std::mem::take(out).into())
    }

    /// The rest, the end included.
    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Gzip(encoder) => encoder.finish()?,
        }
        .into())
    }
}

/// The most memory that an encoder takes, with what waits on either side of it.
pub(crate) fn encoder_bytes(coding: ContentCoding, length: Option<u64>) -> usize {
    let window = 1 << window_bits(length);
    match coding {
        ContentCoding::Brotli => 512 * 1024 + 5 * window,
        ContentCoding::Zstd => 256 * 1024 + 3 * window,
        ContentCoding::Gzip => 384 * 1024,
    }
}

/// A window no larger than what is to be seen through it.
fn window_bits(length: Option<u64>) -> u32 {
    length.map_or(WINDOW_BITS_MAX, |length| length.max(2).next_power_of_two().ilog2().clamp(10, WINDOW_BITS_MAX))
}
