//! Finds the boundaries between server-sent events (WHATWG HTML, §9.2.6).
//!
//! An event ends with an empty line; a line ends with CR, LF or both. Invariants: it holds no bytes, and takes any input.

/// The place in a stream of events.
#[derive(Debug)]
pub(crate) struct EventTracker {
    at_line_start: bool,
    after_cr: bool,
    at_boundary: bool,
}

impl EventTracker {
    /// Returns the beginning of a stream, which is a boundary.
    pub(crate) fn new() -> Self {
        Self { at_line_start: true, after_cr: false, at_boundary: true }
    }

    /// Advances over `bytes`.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.take(*byte));
    }

    /// Advances to the first boundary in `bytes`. Returns the number of bytes up to there, or `None` if there is none.
    pub(crate) fn advance_to_boundary(&mut self, bytes: &[u8]) -> Option<usize> {
        let found = bytes.iter().position(|byte| {
            self.take(*byte);
            self.at_boundary
        })?;
        // The second half of a line end belongs to the event.
        let is_split = bytes.get(found) == Some(&b'\r') && bytes.get(found + 1) == Some(&b'\n');
        Some(found + 1 + usize::from(is_split))
    }

    /// Returns true if no event is under way.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.at_boundary
    }

    fn take(&mut self, byte: u8) {
        let ends_line_end = byte == b'\n' && self.after_cr;
        self.after_cr = byte == b'\r';
        if ends_line_end {
            return;
        }
        let is_line_end = byte == b'\r' || byte == b'\n';
        self.at_boundary = is_line_end && self.at_line_start;
        self.at_line_start = is_line_end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line_whatever_its_line_ends_are() {
        for end in ["\n", "\r", "\r\n"] {
            let event = format!("id: 1{end}data: a{end}{end}");
            let stream = format!("{event}data: b{end}");
            let mut tracker = EventTracker::new();
            assert!(tracker.is_at_boundary());
            assert_eq!(tracker.advance_to_boundary(stream.as_bytes()), Some(event.len()), "{end:?}");
            for cut in 0..event.len() {
                let (mut tracker, (before, after)) = (EventTracker::new(), stream.split_at(cut));
                tracker.advance(before.as_bytes());
                let passed = tracker.advance_to_boundary(after.as_bytes()).map(|found| cut + found);
                assert!(tracker.is_at_boundary(), "{end:?} cut at {cut}");
                assert_eq!(passed, Some(event.len()), "{end:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_middle_of_an_event_is_no_boundary() {
        let mut tracker = EventTracker::new();
        for part in ["data: a", "\n", "data: b\r", "\n", ": comment"] {
            assert_eq!(tracker.advance_to_boundary(part.as_bytes()), None, "{part:?}");
        }
        assert!(!tracker.is_at_boundary());
    }
}
