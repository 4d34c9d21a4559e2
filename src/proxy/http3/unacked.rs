//! The bytes of responses that a connection has taken and its client has not received yet. QUIC keeps them to send them again.
//!
//! Invariants: they are drawn from the memory budget until the client has received the stream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::memory_budget::{MemoryBudget, MemoryFull, MemoryShare};

/// The most bytes that a connection keeps for its client.
pub(super) const SEND_WINDOW_BYTES: u32 = 512 * 1024;

/// The bytes that a connection keeps.
pub(super) struct UnackedBytes {
    // Those that open streams have written. A long stream has written more than is kept.
    written: Cell<u64>,
    memory: RefCell<MemoryShare>,
}

/// The bytes of one stream among them.
pub(super) struct StreamUnacked {
    all: Rc<UnackedBytes>,
    written: u64,
}

impl UnackedBytes {
    pub(super) fn new(memory: &MemoryBudget) -> Rc<Self> {
        Rc::new(Self { written: Cell::new(0), memory: RefCell::new(memory.take_always(0)) })
    }

    /// Returns the entry of a new stream.
    pub(super) fn stream(self: &Rc<Self>) -> StreamUnacked {
        StreamUnacked { all: Rc::clone(self), written: 0 }
    }

    /// Draws memory for them.
    ///
    /// # Errors
    /// [`MemoryFull`] if there is none.
    pub(super) fn draw_memory(&self) -> Result<(), MemoryFull> {
        let bytes = self.written.get().min(SEND_WINDOW_BYTES.into());
        self.memory.borrow_mut().set(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

impl StreamUnacked {
    /// Notes the number of bytes that the stream has written so far.
    pub(super) fn note(&mut self, written: u64) {
        self.all.written.set(self.all.written.get() + written - self.written);
        self.written = written;
    }
}

impl Drop for StreamUnacked {
    fn drop(&mut self) {
        self.all.written.set(self.all.written.get() - self.written);
    }
}
