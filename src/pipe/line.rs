//! Splits bytes into lines of bounded length. It does no IO: the reader appends bytes and takes complete lines.
//!
//! It does not know the meaning of a line. Invariants: the lines do not depend on how the bytes were cut into reads;
//! the buffer never grows past the line limit or one chunk, whichever is more; a line that is too long is reported once
//! and not kept.

use memchr::{Memchr, memchr_iter, memrchr};

/// The size of the buffer at first, and for a connection with little traffic.
const SMALL_BYTES: usize = 1024;
/// The maximum number of bytes of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// The bytes of a connection that have been read but not executed.
#[derive(Debug)]
pub(super) struct LineBuffer {
    buffer: Vec<u8>,
    /// The length of the complete lines at the beginning of the buffer.
    complete: usize,
    /// The length of the buffer before the last read.
    seen: usize,
    /// True while the rest of a line is skipped that was reported as too long.
    skipping: bool,
    limit: usize,
    /// The room for the next read, in bytes.
    step: usize,
}

/// A complete line, or a marker for a line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputLine<'a> {
    /// A line without its line end.
    Whole(&'a [u8]),
    /// The first bytes of a line that is longer than the limit; the limit does not count the line end.
    TooLong(&'a [u8]),
}

impl LineBuffer {
    /// Creates an empty buffer for lines of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), complete: 0, seen: 0, skipping: false, limit, step: SMALL_BYTES }
    }

    /// Returns the buffer for the next bytes; it has room for at least one.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        let most = CHUNK_BYTES.max(self.limit + 1);
        // `release` leaves at most `limit` bytes, so there is always room.
        self.buffer.reserve_exact(self.step.min(most - self.buffer.len()));
        &mut self.buffer
    }

    /// Notes that bytes were appended. Returns true if a line has begun or ended with them.
    pub(super) fn appended(&mut self) -> bool {
        let was_unfinished = self.is_unfinished_at(self.seen);
        if self.buffer.len() == self.buffer.capacity() {
            self.step = (self.step * 4).min(CHUNK_BYTES);
        }
        let fresh = self.buffer.get(self.seen..).unwrap_or_default();
        self.complete = memrchr(b'\n', fresh).map_or(0, |at| self.seen + at + 1);
        self.complete > 0 || !was_unfinished
    }

    /// Returns the complete lines in order, and a marker for a line as soon as it is too long.
    pub(super) fn complete(&self) -> Complete<'_> {
        let (complete, rest) = self.buffer.split_at(self.complete);
        Complete {
            bytes: complete,
            ends: memchr_iter(b'\n', complete),
            begin: 0,
            skip: self.skipping,
            limit: self.limit,
            rest_too_long: Some(rest).filter(|rest| rest.len() > self.limit && !(self.skipping && complete.is_empty())),
        }
    }

    /// Removes the lines that [`LineBuffer::complete`] returned.
    pub(super) fn release(&mut self) {
        let small = self.complete > 0 && self.buffer.len() < SMALL_BYTES;
        self.skipping &= self.complete == 0;
        self.buffer.drain(..self.complete);
        self.complete = 0;
        self.skipping |= self.buffer.len() > self.limit;
        if self.skipping {
            self.buffer.clear();
        }
        if small {
            self.shrink();
        }
        self.seen = self.buffer.len();
    }

    /// Frees memory after a burst.
    pub(super) fn shrink(&mut self) {
        self.step = SMALL_BYTES;
        if self.buffer.capacity() > 4 * SMALL_BYTES {
            self.buffer.shrink_to(SMALL_BYTES);
        }
    }

    /// Returns the beginning of an unfinished line; empty for a line that is too long.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.buffer
    }

    /// Returns the number of bytes of memory in use: the buffer and, after it has grown, the half as large buffer
    /// before it, which the allocator does not release at once.
    pub(super) fn held(&self) -> usize {
        let bytes = self.buffer.capacity();
        if bytes > 4 * SMALL_BYTES { bytes + bytes / 2 } else { bytes }
    }

    /// Returns true if a line has begun and not ended.
    pub(super) fn is_unfinished(&self) -> bool {
        self.is_unfinished_at(self.buffer.len())
    }

    fn is_unfinished_at(&self, length: usize) -> bool {
        self.skipping || length > 0
    }
}

/// An iterator over complete lines.
#[derive(Debug)]
pub(super) struct Complete<'a> {
    bytes: &'a [u8],
    ends: Memchr<'a>,
    begin: usize,
    /// True if the first line is the rest of a line that is too long.
    skip: bool,
    limit: usize,
    rest_too_long: Option<&'a [u8]>,
}

impl<'a> Iterator for Complete<'a> {
    type Item = InputLine<'a>;

    fn next(&mut self) -> Option<InputLine<'a>> {
        loop {
            let Some(end) = self.ends.next() else {
                return self.rest_too_long.take().map(InputLine::TooLong);
            };
            let line = self.bytes.get(self.begin..end).unwrap_or_default();
            self.begin = end + 1;
            if std::mem::take(&mut self.skip) {
                continue;
            }
            if line.len() > self.limit {
                return Some(InputLine::TooLong(line));
            }
            return Some(InputLine::Whole(line.strip_suffix(b"\r").unwrap_or(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the lines of the bytes in `pieces`.
    fn lines(limit: usize, pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut lines = LineBuffer::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            let mut left = *piece;
            while !left.is_empty() {
                let room = lines.room();
                let count = left.len().min(room.capacity() - room.len());
                room.extend_from_slice(&left[..count]);
                left = &left[count..];
                lines.appended();
                out.extend(lines.complete().map(|line| match line {
                    InputLine::Whole(line) => Some(line.to_vec()),
                    InputLine::TooLong(_) => None,
                }));
                lines.release();
                assert!(lines.buffer.capacity() <= CHUNK_BYTES.max(limit + 1), "the buffer is bounded");
            }
        }
        out
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands beside `None`, which is a line that is too long")]
    fn whole(line: &str) -> Option<Vec<u8>> {
        Some(line.as_bytes().to_vec())
    }

    #[test]
    fn lines_end_with_a_newline_and_may_have_a_carriage_return() {
        let out = lines(100, &[b"PING|a\nPI", b"NG|b\r", b"\n\r\n\nunfinished"]);
        assert_eq!(out, [whole("PING|a"), whole("PING|b"), whole(""), whole("")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_skipped() {
        let out = lines(4, &[b"1234\n12345", b"678", b"9\nab\n", b"123456789\ncd\n"]);
        assert_eq!(out, [whole("1234"), None, whole("ab"), None, whole("cd")]);
    }

    #[test]
    fn a_long_line_within_the_limit_is_whole() {
        let long = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        assert_eq!(lines(1 << 20, &[&long]), [Some(vec![b'x'; 1 << 20])]);
        assert_eq!(lines((1 << 20) - 1, &[&long]), [None]);
    }

    #[test]
    fn a_burst_leaves_little_memory_behind() {
        let mut lines = LineBuffer::new(1 << 20);
        for bytes in [&[b'x'; 700][..], &vec![b'x'; 200_000], b"\n", b"PING\n"] {
            lines.room().extend_from_slice(bytes);
            lines.appended();
            lines.release();
        }
        assert!(lines.buffer.capacity() <= 4 * SMALL_BYTES);
    }

    #[test]
    fn it_is_known_whether_a_line_has_begun() {
        let mut lines = LineBuffer::new(4);
        let mut take = |bytes: &[u8]| {
            lines.room().extend_from_slice(bytes);
            let fresh = lines.appended();
            lines.release();
            (fresh, lines.is_unfinished())
        };
        assert_eq!(take(b"a\n"), (true, false));
        assert_eq!(take(b"b"), (true, true));
        assert_eq!(take(b"b"), (false, true), "the same line goes on");
        assert_eq!(take(b"b\nc"), (true, true), "another line");
        assert_eq!(take(b"ccccccc"), (false, true), "now it is too long");
        assert_eq!(take(b"ccccccc"), (false, true), "and is skipped");
        assert_eq!(take(b"\n"), (true, false));
    }

    proptest! {
        #[test]
        fn the_cut_of_the_bytes_makes_no_difference(
            pieces in proptest::collection::vec("[ab\r\n]{0,12}", 0..12),
            limit in 1_usize..8,
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            let uncut = pieces.concat();
            prop_assert_eq!(lines(limit, &pieces), lines(limit, &[&uncut]));
        }
    }
}
