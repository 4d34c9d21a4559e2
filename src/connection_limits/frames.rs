//! Counts the frames of an HTTP/2 connection that cost work without asking for anything.
//!
//! h2 answers each PING and SETTINGS and reads each PRIORITY, without a limit. It limits CONTINUATION, early resets
//! of streams and small DATA itself. Invariants: frames that ask for something, or that follow from data sent to
//! the client, never count.

use std::time::{Duration, Instant};

use crate::clock;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Too few bytes came to decide.
    Unknown,
    Http1,
    Http2,
}

/// The error of a client that sent too many control frames.
#[derive(Debug, thiserror::Error)]
#[error("too many control frames")]
pub(crate) struct FrameFlood;

/// The client's preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The size of a frame's header (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// The number of control frames that may come at once.
const BURST: u32 = 1_000;
/// The time after which one more may come.
const EVERY: Duration = Duration::from_millis(10);
/// The number of sent bytes that explain a `WINDOW_UPDATE` for the stream and one for the connection.
const SENT_BYTES_PER_UPDATE: usize = 1024;

/// The state of the count.
#[derive(Debug)]
pub(crate) struct FrameCounter {
    protocol: Protocol,
    /// The number of bytes of the preface that came.
    preface: usize,
    head: [u8; HEAD_BYTES],
    head_filled: usize,
    /// The number of bytes of the current payload that are still to come.
    payload: usize,
    /// The number of control frames that count.
    count: u32,
    forgiven: Option<Instant>,
    /// The number of `WINDOW_UPDATE`s that sent data explains.
    updates: usize,
    sent: usize,
}

impl Default for FrameCounter {
    fn default() -> Self {
        Self {
            protocol: Protocol::Unknown,
            preface: 0,
            head: [0; HEAD_BYTES],
            head_filled: 0,
            payload: 0,
            count: 0,
            forgiven: None,
            updates: 0,
            sent: 0,
        }
    }
}

impl FrameCounter {
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Counts the frames in received bytes.
    pub(crate) fn see(&mut self, mut bytes: &[u8]) -> Result<(), FrameFlood> {
        if self.protocol == Protocol::Unknown {
            bytes = self.see_preface(bytes);
        }
        if self.protocol == Protocol::Http2 {
            return self.see_frames(bytes);
        }
        Ok(())
    }

    /// Counts bytes that were sent to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        self.updates = (self.updates + 2 * (self.sent / SENT_BYTES_PER_UPDATE)).min(1 << 20);
        self.sent %= SENT_BYTES_PER_UPDATE;
    }

    fn see_preface<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let expected = PREFACE.get(self.preface..).unwrap_or_default();
        let length = expected.len().min(bytes.len());
        let (begin, rest) = bytes.split_at(length);
        if !expected.starts_with(begin) {
            self.protocol = Protocol::Http1;
        }
        self.preface += length;
        if self.preface == PREFACE.len() && self.protocol == Protocol::Unknown {
            self.protocol = Protocol::Http2;
        }
        rest
    }

    fn see_frames(&mut self, mut bytes: &[u8]) -> Result<(), FrameFlood> {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = HEAD_BYTES - self.head_filled;
            let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
            if let Some(room) = self.head.get_mut(self.head_filled..self.head_filled + piece.len()) {
                room.copy_from_slice(piece);
            }
            self.head_filled += piece.len();
            bytes = rest;
            if self.head_filled == HEAD_BYTES {
                self.head_filled = 0;
                let [a, b, c, kind, ..] = self.head;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.frame(kind)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8) -> Result<(), FrameFlood> {
        match kind {
            // DATA with content, HEADERS and CONTINUATION: h2 and the memory budget limit them.
            0 if self.payload > 0 => return Ok(()),
            1 | 9 => return Ok(()),
            8 if self.updates > 0 => {
                self.updates -= 1;
                return Ok(());
            }
            // PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, further WINDOW_UPDATEs, and unknown kinds.
            _ => self.count += 1,
        }
        if self.count <= BURST {
            return Ok(());
        }
        self.forgive();
        if self.count > BURST { Err(FrameFlood) } else { Ok(()) }
    }

    /// Lowers the count by the time that has passed. The clock is read only after many frames.
    fn forgive(&mut self) {
        let now = clock::instant();
        let passed = self.forgiven.map_or(EVERY * BURST, |before| now.saturating_duration_since(before));
        let steps = u32::try_from(passed.as_millis() / EVERY.as_millis()).unwrap_or(u32::MAX);
        if steps > 0 {
            self.count = self.count.saturating_sub(steps);
            self.forgiven = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], &vec![0; payload]].concat()
    }

    fn seen(bytes: &[u8], piece: usize) -> (FrameCounter, bool) {
        let mut frames = FrameCounter::default();
        let mut flood = false;
        bytes.chunks(piece).for_each(|piece| flood |= frames.see(piece).is_err());
        (frames, flood)
    }

    #[test]
    fn the_preface_tells_the_protocol_however_it_is_cut() {
        for piece in [1, 7, 100] {
            assert_eq!(seen(PREFACE, piece).0.protocol(), Protocol::Http2);
            assert_eq!(seen(b"POST / HTTP/1.1\r\n", piece).0.protocol(), Protocol::Http1);
            assert_eq!(seen(b"PRI * HTTP/1.1\r\n", piece).0.protocol(), Protocol::Http1);
        }
        assert_eq!(seen(b"PR", 1).0.protocol(), Protocol::Unknown);
    }

    #[test]
    fn control_frames_without_end_are_a_flood_of_whatever_kind_and_however_cut() {
        for kind in [2, 3, 4, 6, 8, 200] {
            for piece in [5, 4096] {
                let bytes = [PREFACE.to_vec(), frame(kind, 8).repeat(5 * BURST as usize)].concat();
                assert!(seen(&bytes, piece).1, "{kind}");
                let few = [PREFACE.to_vec(), frame(kind, 8).repeat(BURST as usize)].concat();
                assert!(!seen(&few, piece).1, "{kind}");
            }
        }
        let empty = [PREFACE.to_vec(), frame(0, 0).repeat(5 * BURST as usize)].concat();
        assert!(seen(&empty, 4096).1, "DATA with nothing in it");
    }

    #[test]
    fn frames_that_request_something_are_no_flood() {
        for kind in [0, 1] {
            let bytes = [PREFACE.to_vec(), frame(kind, 20).repeat(5 * BURST as usize)].concat();
            assert!(!seen(&bytes, 4096).1);
        }
        let mut frames = seen(PREFACE, 100).0;
        for _ in 0..5 * BURST {
            frames.sent(SENT_BYTES_PER_UPDATE);
            assert!(frames.see(&frame(8, 4)).is_ok(), "it reads what it was sent");
        }
    }
}
