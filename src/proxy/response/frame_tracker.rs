//! Finds the boundaries between the WebSocket frames of one direction (RFC 6455 §5.2).
//!
//! It reads lengths only, never contents. Invariants: it holds the bytes of one header at most, and takes any input.

/// The opcode of a Close frame.
const CLOSE_OPCODE: u8 = 0x8;
/// A Close frame with status 1001: an endpoint is going away (RFC 6455 §7.4.1).
pub(crate) const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];

/// The place in a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    header: [u8; 14],
    // The bytes of the header that have come.
    held: usize,
    // The bytes of the payload that are still to come.
    payload: u64,
    is_closed: bool,
}

impl FrameTracker {
    /// Advances over `bytes`, or to the first end of a frame in them if `to_boundary`. Returns the number of bytes it
    /// has advanced over.
    pub(crate) fn advance(&mut self, bytes: &[u8], to_boundary: bool) -> usize {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if self.payload > 0 {
                let part = rest.len().min(usize::try_from(self.payload).unwrap_or(usize::MAX));
                self.payload -= part as u64;
                rest = rest.get(part..).unwrap_or_default();
            } else {
                self.take_header_byte(*first);
                rest = after;
            }
            if to_boundary && self.is_at_boundary() {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    /// Returns true if no frame is under way.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.held == 0 && self.payload == 0
    }

    /// Returns true if a Close frame has begun. Nothing follows it.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn take_header_byte(&mut self, byte: u8) {
        if let Some(place) = self.header.get_mut(self.held) {
            *place = byte;
        }
        self.held += 1;
        let [first, second, extended @ ..] = &self.header;
        let (length_bytes, mask_bytes) = match second & 0x7f {
            126 => (2, usize::from(second >> 7) * 4),
            127 => (8, usize::from(second >> 7) * 4),
            _ => (0, usize::from(second >> 7) * 4),
        };
        if self.held < 2 || self.held < 2 + length_bytes + mask_bytes {
            return;
        }
        let extended = extended.iter().take(length_bytes);
        self.payload = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => extended.fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        self.is_closed |= first & 0x0f == CLOSE_OPCODE;
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes a frame with an opcode, as a server (without mask) or as a client does.
    fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let length = u64::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            0..=125 => bytes.push(mask | length[7]),
            126..=0xffff => bytes.extend([mask | 0x7e, length[6], length[7]]),
            _ => {
                bytes.push(mask | 0x7f);
                bytes.extend(length);
            }
        }
        bytes.extend(if masked { &[1, 2, 3, 4][..] } else { &[] });
        bytes.extend(payload);
        bytes
    }

    proptest! {
        #[test]
        fn boundaries_are_found_in_whatever_pieces_the_frames_come(
            lengths in prop::collection::vec((prop_oneof![0..130_usize, 65_530..65_540_usize], any::<bool>()), 1..5),
            cuts in prop::collection::vec(1..70_000_usize, 1..20),
        ) {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for (length, masked) in lengths {
                bytes.extend(frame(2, &vec![0x88; length], masked));
                ends.push(bytes.len());
            }
            let (mut tracker, mut at, mut found) = (FrameTracker::default(), 0, Vec::new());
            let mut cuts = cuts.into_iter().cycle();
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap()).min(bytes.len());
                while at < end {
                    at += tracker.advance(&bytes[at..end], true);
                    if tracker.is_at_boundary() {
                        found.push(at);
                    }
                }
            }
            prop_assert_eq!(&found, &ends);
            prop_assert!(!tracker.is_closed());
            let mut whole = FrameTracker::default();
            prop_assert_eq!(whole.advance(&bytes, false), bytes.len());
            prop_assert!(whole.is_at_boundary());
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut tracker = FrameTracker::default();
            prop_assert_eq!(tracker.advance(&bytes, false), bytes.len());
        }
    }

    #[test]
    fn a_close_frame_is_noticed() {
        let mut tracker = FrameTracker::default();
        tracker.advance(&frame(9, b"ping", false), false);
        assert!(!tracker.is_closed());
        tracker.advance(GOING_AWAY, false);
        assert!(tracker.is_closed() && tracker.is_at_boundary());
    }
}
