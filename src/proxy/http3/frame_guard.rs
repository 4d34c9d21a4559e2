//! A watch over the frames that a client sends on a stream. `h3` keeps an unfinished frame other than DATA in memory, however long it is
//! to be, and takes a DATA frame that breaks off for a whole one.
//!
//! It only follows the frames; `h3` reads them. Invariants: a frame that would be kept has at most `FRAME_BYTES_MAX`, and all unfinished
//! ones of a connection `UNFINISHED_BYTES_MAX`.

use std::cell::Cell;
use std::rc::Rc;

/// The most bytes of a frame that is kept until it is whole. A head that is longer than allowed, but not by much, gets an answer.
const FRAME_BYTES_MAX: u64 = 128 * 1024;
/// The most bytes of unfinished frames of one connection.
const UNFINISHED_BYTES_MAX: usize = 256 * 1024;
/// The length of the longest type with the longest length (RFC 9114 §7.1).
const HEADER_BYTES_MAX: usize = 16;

const DATA: u64 = 0;
/// The type of a control stream (RFC 9114 §6.2.1).
const CONTROL: u64 = 0;
/// A frame without a length, which `h3` refuses.
const WEBTRANSPORT_STREAM: u64 = 0x41;

/// A client that sends frames which nobody needs, or breaks them off.
#[derive(Debug, thiserror::Error)]
#[error("the frames on the stream are too long or broken off")]
pub(super) struct FrameFault;

/// The watch over one stream.
pub(super) struct FrameGuard {
    place: FramePlace,
    // The bytes of the type and length so far.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    // The bytes of this stream that `h3` keeps.
    kept: usize,
    // Those of all streams of the connection.
    kept_of_all: Rc<Cell<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramePlace {
    /// The type of a stream follows.
    StreamType,
    /// The type and length of a frame follow.
    Header,
    /// The number of bytes of the frame that are still to come.
    Payload { left: u64, is_kept: bool },
    /// The stream has no frames that are kept.
    Free,
}

impl FrameGuard {
    /// Creates the watch over a stream with a request.
    pub(super) fn of_request(kept_of_all: &Rc<Cell<usize>>) -> Self {
        Self::new(FramePlace::Header, kept_of_all)
    }

    /// Creates the watch over a stream in one direction.
    pub(super) fn of_one_direction(kept_of_all: &Rc<Cell<usize>>) -> Self {
        Self::new(FramePlace::StreamType, kept_of_all)
    }

    fn new(place: FramePlace, kept_of_all: &Rc<Cell<usize>>) -> Self {
        let kept_of_all = Rc::clone(kept_of_all);
        Self { place, header: [0; HEADER_BYTES_MAX], header_len: 0, kept: 0, kept_of_all }
    }

    /// Follows the next bytes of the stream.
    ///
    /// # Errors
    /// If `h3` would keep too many bytes.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Result<(), FrameFault> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.place {
                FramePlace::Free => return Ok(()),
                FramePlace::Payload { left, is_kept } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.pass(left, taken, is_kept);
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                FramePlace::StreamType | FramePlace::Header => {
                    self.take_header(*first)?;
                    bytes = rest;
                }
            }
        }
        if self.kept_of_all.get() > UNFINISHED_BYTES_MAX { Err(FrameFault) } else { Ok(()) }
    }

    /// Notes the end of the stream.
    ///
    /// # Errors
    /// If a frame is not whole.
    pub(super) fn end(&self) -> Result<(), FrameFault> {
        let is_whole = match self.place {
            FramePlace::Header | FramePlace::StreamType => self.header_len == 0,
            FramePlace::Payload { left, .. } => left == 0,
            FramePlace::Free => true,
        };
        if is_whole { Ok(()) } else { Err(FrameFault) }
    }

    fn pass(&mut self, left: u64, taken: usize, is_kept: bool) {
        let left = left - taken as u64;
        self.place = FramePlace::Payload { left, is_kept };
        if is_kept {
            self.keep(taken);
        }
        if left == 0 {
            self.begin_frame();
        }
    }

    fn keep(&mut self, bytes: usize) {
        self.kept += bytes;
        self.kept_of_all.set(self.kept_of_all.get() + bytes);
    }

    fn begin_frame(&mut self) {
        self.place = FramePlace::Header;
        self.header_len = 0;
        self.kept_of_all.set(self.kept_of_all.get() - self.kept);
        self.kept = 0;
    }

    fn take_header(&mut self, byte: u8) -> Result<(), FrameFault> {
        let slot = self.header.get_mut(self.header_len).ok_or(FrameFault)?;
        *slot = byte;
        self.header_len += 1;
        let header = self.header.get(..self.header_len).unwrap_or_default();
        let Some((kind, rest)) = number(header) else { return Ok(()) };
        if self.place == FramePlace::StreamType {
            self.header_len = 0;
            self.place = if kind == CONTROL { FramePlace::Header } else { FramePlace::Free };
            return Ok(());
        }
        if kind == WEBTRANSPORT_STREAM {
            self.place = FramePlace::Free;
            return Ok(());
        }
        let Some((length, _)) = number(rest) else { return Ok(()) };
        let is_kept = kind != DATA;
        if is_kept && length > FRAME_BYTES_MAX {
            return Err(FrameFault);
        }
        self.place = FramePlace::Payload { left: length, is_kept };
        if length == 0 {
            self.begin_frame();
        }
        Ok(())
    }
}

impl Drop for FrameGuard {
    fn drop(&mut self) {
        self.kept_of_all.set(self.kept_of_all.get() - self.kept);
    }
}

/// Reads a number (RFC 9000 §16), and returns the bytes after it; `None` if it is not whole.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let own = bytes.get(..length)?;
    let number = own.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte));
    // The two highest bits say the length.
    Some((number & (u64::MAX >> (64 - (8 * length - 2))), bytes.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(all: &Rc<Cell<usize>>) -> FrameGuard {
        FrameGuard::of_request(all)
    }

    #[test]
    fn numbers_of_every_length_are_read() {
        for (bytes, expected) in [
            (&[0x25][..], 37),
            (&[0x40, 0x25], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        ] {
            assert_eq!(number(bytes), Some((expected, &[][..])));
            assert_eq!(number(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn frames_may_come_in_any_pieces_and_end_whole() {
        // A head of 3 bytes, 5 bytes of data, an unknown frame, and an empty one.
        let stream = [1, 3, 9, 9, 9, 0, 0x40, 5, 1, 2, 3, 4, 5, 0x21, 2, 7, 7, 0, 0];
        let whole = [5, 13, 17, 19];
        for size in 1..=stream.len() {
            let all = Rc::default();
            let mut guard = guard(&all);
            for piece in stream.chunks(size) {
                guard.see(piece).unwrap();
            }
            assert!(guard.end().is_ok() && all.get() == 0, "pieces of {size}");
        }
        for cut in 1..stream.len() {
            let all = Rc::default();
            let mut guard = guard(&all);
            guard.see(&stream[..cut]).unwrap();
            assert_eq!(guard.end().is_ok(), whole.contains(&cut), "cut at {cut}");
            drop(guard);
            assert_eq!(all.get(), 0);
        }
    }

    #[test]
    fn what_would_be_kept_is_bounded_per_frame_and_per_connection() {
        let all = Rc::default();
        // 1 GiB of data is not kept; of a head it would be.
        guard(&all).see(&[0, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).unwrap();
        assert!(guard(&all).see(&[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).is_err());
        let head = [&[1, 0x80, 1, 0, 0][..], &vec![0; 65_000]].concat();
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut guard = guard(&all);
            guard.see(&head).unwrap();
            open.push(guard);
        }
        assert!(guard(&all).see(&head).is_err(), "five unfinished heads");
        open.clear();
        guard(&all).see(&head).unwrap();
    }

    #[test]
    fn a_control_stream_has_frames_and_others_are_not_followed() {
        let all = Rc::default();
        let mut control = FrameGuard::of_one_direction(&all);
        control.see(&[0, 4, 0]).unwrap();
        assert!(control.see(&[0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).is_err());
        let mut other = FrameGuard::of_one_direction(&all);
        other.see(&[2, 0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).unwrap();
        assert!(other.end().is_ok());
    }
}
