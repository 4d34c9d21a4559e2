//! A copy of the part of a request body that was sent, for another attempt.
//!
//! Invariants: it is bounded, its memory comes from the budget, and it holds either all that was sent or nothing.

use bytes::Bytes;

use crate::memory_budget::{MemoryBudget, MemoryShare};

/// The most bytes that are kept of a body.
const BYTES_MAX: usize = 64 * 1024;

/// A copy of all bytes that were sent so far.
#[derive(Debug)]
pub(crate) struct KeptBody {
    bytes: Vec<u8>,
    share: MemoryShare,
}

impl KeptBody {
    /// Returns an empty copy; `None` if there is no memory.
    pub(crate) fn new(memory: &MemoryBudget) -> Option<Self> {
        memory.take_optional(0).ok().map(|share| Self { bytes: Vec::new(), share })
    }

    /// Adds bytes that are sent next. Returns false if there is no room; the copy is then of no use.
    pub(crate) fn keep(&mut self, sent: &[u8]) -> bool {
        let length = self.bytes.len() + sent.len();
        // A vector grows by doubling.
        if length > BYTES_MAX || self.share.set(2 * length).is_err() {
            return false;
        }
        self.bytes.extend_from_slice(sent);
        true
    }

    /// Returns all bytes that were sent.
    pub(crate) fn copy(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_kept_as_there_is_room_for() {
        let memory = MemoryBudget::new(1 << 20);
        let mut kept = KeptBody::new(&memory).unwrap();
        assert!(kept.keep(&[1; 1000]) && kept.keep(&[2; 2000]));
        assert_eq!((kept.copy().len(), memory.bytes() >= 3000), (3000, true));
        assert!(!kept.keep(&vec![0; BYTES_MAX]), "more than is kept of any body");
        drop(kept);
        assert_eq!(memory.bytes(), 0);
        assert!(!KeptBody::new(&MemoryBudget::new(4096)).unwrap().keep(&[0; 5000]), "more than there is memory for");
    }
}
