//! The chunks of a body with a chunked transfer coding (RFC 9112 §7.1).
//!
//! Invariants: a size that can be read in two ways is an error; the bytes besides the data are bounded.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use super::response_error::ResponseError;

/// The most bytes of all chunk extensions of a body.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of the trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// The most fields of the trailers.
const TRAILER_FIELDS_MAX: usize = 100;
/// The most digits of a size, and its CRLF.
const SIZE_BYTES_MAX: usize = 18;

/// The reader of the chunks of one body.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    stage: Stage,
    // The bytes of all extensions so far.
    extension_bytes: usize,
}

/// The next thing in the body.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Size,
    /// The bytes of a chunk that are still to come.
    Data(u64),
    DataEnd,
    Trailers,
    End,
}

/// A part of a body.
#[derive(Debug, PartialEq)]
pub(super) enum BodyPart {
    Data(Bytes),
    /// The body has ended, with these trailers.
    End(Option<HeaderMap>),
}

impl ChunkReader {
    /// Takes the next part of the body off `received`. Returns `None` if more bytes are needed.
    ///
    /// # Errors
    /// If the framing is broken.
    pub(super) fn take(&mut self, received: &mut BytesMut) -> Result<Option<BodyPart>, ResponseError> {
        loop {
            match self.stage {
                Stage::Size => {
                    let Some(size) = self.take_size(received)? else { return Ok(None) };
                    self.stage = if size == 0 { Stage::Trailers } else { Stage::Data(size) };
                }
                Stage::Data(_) if received.is_empty() => return Ok(None),
                Stage::Data(left) => {
                    let data = take_up_to(received, left);
                    let left = left - data.len() as u64;
                    self.stage = if left == 0 { Stage::DataEnd } else { Stage::Data(left) };
                    return Ok(Some(BodyPart::Data(data)));
                }
                Stage::DataEnd => {
                    if !take_line_end(received)? {
                        return Ok(None);
                    }
                    self.stage = Stage::Size;
                }
                Stage::Trailers => {
                    let end = take_trailers(received)?;
                    if end.is_some() {
                        self.stage = Stage::End;
                    }
                    return Ok(end);
                }
                Stage::End => return Ok(Some(BodyPart::End(None))),
            }
        }
    }

    /// Takes the end of a body without trailers off `received`, if it follows the last byte of data there. Returns true if it did.
    pub(super) fn take_plain_end(&mut self, received: &mut BytesMut) -> bool {
        let is_end = matches!(self.stage, Stage::DataEnd) && &**received == b"\r\n0\r\n\r\n";
        if is_end {
            received.clear();
            self.stage = Stage::End;
        }
        is_end
    }

    fn take_size(&mut self, received: &mut BytesMut) -> Result<Option<u64>, ResponseError> {
        let malformed = ResponseError::MalformedBody("the size of a chunk is malformed");
        if received.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(malformed);
        }
        let line_max = SIZE_BYTES_MAX + EXTENSION_BYTES_MAX - self.extension_bytes;
        match httparse::parse_chunk_size(received) {
            // An extension cannot have a line end in it, which another reader may take for its end.
            Ok(Status::Complete((end, size)))
                if end <= line_max && memchr::memchr(b'\n', received) == Some(end - 1) =>
            {
                self.extension_bytes += end.saturating_sub(SIZE_BYTES_MAX);
                let _ = received.split_to(end);
                Ok(Some(size))
            }
            Ok(Status::Partial) if received.len() < line_max && memchr::memchr(b'\n', received).is_none() => Ok(None),
            Ok(_) | Err(_) => Err(malformed),
        }
    }
}

/// Takes at most `bytes_max` bytes off `received`.
pub(super) fn take_up_to(received: &mut BytesMut, bytes_max: u64) -> Bytes {
    let bytes = usize::try_from(bytes_max).map_or(received.len(), |max| max.min(received.len()));
    received.split_to(bytes).freeze()
}

/// Takes a CRLF off `received`. Returns false if it is incomplete.
fn take_line_end(received: &mut BytesMut) -> Result<bool, ResponseError> {
    match &**received {
        [] | [b'\r'] => Ok(false),
        [b'\r', b'\n', ..] => {
            let _ = received.split_to(2);
            Ok(true)
        }
        _ => Err(ResponseError::MalformedBody("a chunk is longer than its size")),
    }
}

/// Takes the end of a body off `received`: the trailers and the blank line after them. Returns `None` if it is incomplete.
fn take_trailers(received: &mut BytesMut) -> Result<Option<BodyPart>, ResponseError> {
    if matches!(&**received, [] | [b'\r'] | [b'\r', b'\n', ..]) {
        return Ok(take_line_end(received)?.then_some(BodyPart::End(None)));
    }
    let malformed = || ResponseError::MalformedBody("the trailers are malformed");
    let mut lines = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    let (end, trailers) = match httparse::parse_headers(received, &mut lines) {
        Ok(Status::Complete((end, lines))) if end <= TRAILER_BYTES_MAX => {
            let mut trailers = HeaderMap::with_capacity(lines.len());
            for line in lines {
                let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| malformed())?;
                let value = HeaderValue::from_bytes(line.value).map_err(|_| malformed())?;
                trailers.append(name, value);
            }
            (end, trailers)
        }
        Ok(Status::Partial) if received.len() < TRAILER_BYTES_MAX => return Ok(None),
        Ok(_) | Err(_) => return Err(malformed()),
    };
    let _ = received.split_to(end);
    Ok(Some(BodyPart::End(Some(trailers))))
}
