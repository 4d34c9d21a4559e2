//! The bytes of responses that backends may send ahead of one client.
//!
//! A client with many streams that takes nothing makes their backends wait, but what is under way to the proxy by then stays there.
//! The first streams of a connection get much, so that they are fast over a long distance; a crowd gets little. Invariants: for
//! 100 streams of one connection (HTTP/2) at most 656 KiB wait here, for 128 (HTTP/3) 712 KiB, whatever their backends send; a
//! stream alone gets much; streams that stand still do not hold up the others.

use std::cell::Cell;
use std::rc::Rc;

/// The number of bytes that the backend of one stream may send ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReadAhead {
    #[default]
    Much,
    Some,
    Little,
}

/// The streams of one connection that may read much ahead at once.
const MUCH_MAX: usize = 2;
/// The further streams that may read something ahead.
const SOME_MAX: usize = 10;
/// The bytes held by all streams of a connection up to which each may read much at once.
const HELD_BYTES_MAX: usize = 128 * 1024;

impl ReadAhead {
    /// Returns the bytes, also as the window of a stream.
    pub(crate) fn bytes(self) -> u16 {
        match self {
            Self::Much => u16::MAX,
            Self::Some => 16 * 1024,
            Self::Little => 2 * 1024,
        }
    }
}

/// The places for the streams of one connection.
#[derive(Debug, Default)]
pub(crate) struct ReadAheadPlaces {
    much: Cell<usize>,
    some: Cell<usize>,
    // The bytes that streams hold, because the client gives no window for them.
    held: Cell<usize>,
}

/// The place of one stream. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct ReadAheadPlace {
    places: Rc<ReadAheadPlaces>,
    kind: ReadAhead,
}

impl ReadAheadPlaces {
    /// Takes the best place that is free.
    pub(crate) fn take(self: &Rc<Self>) -> ReadAheadPlace {
        let kind = match (self.much.get() < MUCH_MAX, self.some.get() < SOME_MAX) {
            (true, _) => ReadAhead::Much,
            (false, true) => ReadAhead::Some,
            (false, false) => ReadAhead::Little,
        };
        if let Some(taken) = self.taken(kind) {
            taken.set(taken.get() + 1);
        }
        ReadAheadPlace { places: Rc::clone(self), kind }
    }

    /// Returns the bytes that streams hold.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    /// Counts bytes that a stream has taken from its backend and holds.
    pub(crate) fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
    }

    /// Counts bytes that a stream holds no longer.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.held.set(self.held.get().saturating_sub(bytes));
    }

    /// Returns the number of places of a kind that are taken, if they are bounded.
    fn taken(&self, kind: ReadAhead) -> Option<&Cell<usize>> {
        match kind {
            ReadAhead::Much => Some(&self.much),
            ReadAhead::Some => Some(&self.some),
            ReadAhead::Little => None,
        }
    }
}

impl ReadAheadPlace {
    pub(crate) fn kind(&self) -> ReadAhead {
        self.kind
    }

    /// Returns the most bytes of one read for a client that wants some now. The most of it may be held afterwards.
    pub(crate) fn read_max(&self) -> usize {
        match self.places.held() {
            0 => usize::MAX,
            held if held < HELD_BYTES_MAX => ReadAhead::Much.bytes().into(),
            _ => self.kind.bytes().into(),
        }
    }
}

impl Drop for ReadAheadPlace {
    fn drop(&mut self) {
        if let Some(taken) = self.places.taken(self.kind) {
            taken.set(taken.get().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_of_a_connection_together_read_a_bounded_number_of_bytes_ahead() {
        let places = Rc::new(ReadAheadPlaces::default());
        let mut taken = Vec::new();
        for (streams, kib_max) in [(100, 656), (128, 712)] {
            taken.resize_with(streams, || places.take());
            let bytes: usize = taken.iter().map(|place| usize::from(place.kind().bytes())).sum();
            assert!(bytes + HELD_BYTES_MAX + usize::from(u16::MAX) <= kib_max * 1024, "{streams}: {bytes}");
        }
        assert_eq!(taken[99].read_max(), usize::MAX, "a stream that takes its bytes reads as much as it likes");
        places.hold(1);
        assert_eq!(taken[99].read_max(), usize::from(u16::MAX));
        places.hold(HELD_BYTES_MAX);
        assert_eq!(taken[99].read_max(), 2048);
        assert_eq!(taken[99].kind(), ReadAhead::Little);
        taken.clear();
        assert_eq!(places.take().kind(), ReadAhead::Much, "the places are free again");
    }
}
