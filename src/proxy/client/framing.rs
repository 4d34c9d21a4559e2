//! The end of a request body in the bytes of its connection (RFC 9112 §6, §7.1).
//!
//! hyper reads the body itself. It is stricter than this about chunk sizes, but it takes a bare line feed after the last
//! chunk for the start of a trailer field, and reads on into the next request. Invariants: each line of the framing
//! ends with CR LF, or the body is refused; no byte of data is read.

/// The way in which a request says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is no body.
    None,
    /// `Content-Length`, in bytes.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The error of a broken framing: the start of the next request cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the body's framing does not end with CR LF")]
pub(crate) struct FramingError;

/// A body of which some is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// The number of bytes that are left.
    Known(u64),
    Chunked(ChunkPart),
}

/// The part of a chunked body that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkPart {
    /// The size of a chunk, as far as it was read.
    Size(u64),
    /// The extension after the size.
    Extension(u64),
    /// The line feed after the size.
    SizeEnd(u64),
    /// The bytes of data that are left.
    Data(u64),
    /// The carriage return after the data, and its line feed.
    DataReturn,
    DataEnd,
    /// The first byte of a trailer field, or the carriage return of the last empty line.
    Line,
    /// The inside of a trailer field.
    Trailer,
    /// The line feed after a trailer field, and the one after the empty line.
    TrailerEnd,
    End,
    /// The end of the body.
    Done,
}

impl BodyFraming {
    /// Returns a body before its first byte; `None` if there is no body.
    pub(crate) fn of(length: BodyLength) -> Option<Self> {
        match length {
            BodyLength::None | BodyLength::Known(0) => None,
            BodyLength::Known(bytes) => Some(Self::Known(bytes)),
            BodyLength::Chunked => Some(Self::Chunked(ChunkPart::Size(0))),
        }
    }

    /// Returns the bytes behind the body; `None` if more of the body is to come.
    pub(crate) fn pass<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FramingError> {
        match self {
            Self::Known(left) => Ok(skip(left, bytes).filter(|_| *left == 0)),
            Self::Chunked(part) => pass_chunked(part, bytes),
        }
    }
}

/// Skips `left` bytes, or as many as there are. Returns the rest.
fn skip<'b>(left: &mut u64, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= taken as u64;
    bytes.get(taken..)
}

fn pass_chunked<'b>(part: &mut ChunkPart, mut bytes: &'b [u8]) -> Result<Option<&'b [u8]>, FramingError> {
    loop {
        if let ChunkPart::Data(left) = part {
            bytes = skip(left, bytes).unwrap_or_default();
            if *left == 0 {
                *part = ChunkPart::DataReturn;
            }
        }
        let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
        *part = part.after(byte)?;
        bytes = rest;
        if *part == ChunkPart::Done {
            return Ok(Some(bytes));
        }
    }
}

impl ChunkPart {
    fn after(self, byte: u8) -> Result<Self, FramingError> {
        Ok(match (self, byte) {
            (ChunkPart::Size(size) | ChunkPart::Extension(size), b'\r') => ChunkPart::SizeEnd(size),
            (ChunkPart::Line, b'\r') => ChunkPart::End,
            (ChunkPart::Trailer, b'\r') => ChunkPart::TrailerEnd,
            (ChunkPart::DataReturn, b'\r') => ChunkPart::DataEnd,
            (ChunkPart::SizeEnd(0) | ChunkPart::TrailerEnd, b'\n') => ChunkPart::Line,
            (ChunkPart::SizeEnd(size), b'\n') => ChunkPart::Data(size),
            (ChunkPart::DataEnd, b'\n') => ChunkPart::Size(0),
            (ChunkPart::End, b'\n') => ChunkPart::Done,
            (_, b'\r' | b'\n') => return Err(FramingError),
            (ChunkPart::Size(size), byte) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
                    ChunkPart::Size(size.ok_or(FramingError)?)
                }
                None => ChunkPart::Extension(size),
            },
            (ChunkPart::Extension(size), _) => ChunkPart::Extension(size),
            (ChunkPart::Line | ChunkPart::Trailer, _) => ChunkPart::Trailer,
            _ => return Err(FramingError),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the bytes behind a chunked body, which must be the same for each cut into reads.
    fn behind(bytes: &str) -> Result<Option<String>, FramingError> {
        let read = |cut: usize| {
            let mut framing = BodyFraming::of(BodyLength::Chunked).unwrap();
            let (first, second) = bytes.as_bytes().split_at(cut);
            Ok(match framing.pass(first)? {
                Some(rest) => Some([rest, second].concat()),
                None => framing.pass(second)?.map(<[u8]>::to_vec),
            })
        };
        let whole = read(0);
        for cut in 0..=bytes.len() {
            assert_eq!(read(cut), whole, "{bytes:?} cut at {cut}");
        }
        whole.map(|rest| rest.map(|rest| String::from_utf8(rest).unwrap()))
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "2\r\n\n\n\r\n2\r\n\r\r\r\n00\r\n\r\n",
            "3 ;x=\"y\"\r\nabc\r\n0;z\r\na: b\r\nc: d\r\n\r\n",
            "00A\r\n0123456789\r\n0\r\n\r\n",
        ] {
            assert_eq!(behind(body), Ok(Some(String::new())), "{body:?}");
            assert_eq!(behind(&format!("{body}GET /")), Ok(Some("GET /".to_owned())), "{body:?}");
        }
        for part in ["", "3", "3\r", "3\r\nab", "3\r\nabc\r\n0\r\n", "0\r\na: b\r\n"] {
            assert_eq!(behind(part), Ok(None), "{part:?}");
        }
    }

    #[test]
    fn a_line_of_the_framing_without_cr_lf_is_refused() {
        for body in [
            "0\n",
            "0\r\n\n",
            "0\r\n\nGET / HTTP/1.1\r\n\r\n",
            "0\r\na: b\n",
            "0\r\na: b\r\n\n",
            "0\r\na: b\r\r\n",
            "0\r\n\r\r\n",
            "3\nabc",
            "3;x\nabc",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabc0\r\n",
            "3\r\rabc",
            "\n0\r\n",
            "10000000000000000\r\n",
        ] {
            assert_eq!(behind(body), Err(FramingError), "{body:?}");
        }
    }

    #[test]
    fn a_body_of_known_length_ends_behind_it() {
        assert_eq!(BodyFraming::of(BodyLength::Known(0)), None);
        let mut framing = BodyFraming::of(BodyLength::Known(5)).unwrap();
        assert_eq!(framing.pass(b"abc"), Ok(None));
        assert_eq!(framing.pass(b"deGET"), Ok(Some(b"GET".as_slice())));
    }
}
