//! Counts of the connections of a listener, for metrics: each listener of each worker has its own.
//!
//! It limits nothing. Invariants: no worker writes to the counts of another one; an open connection counts until its
//! [`CountedConnection`] is dropped, under one protocol at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The protocol that a connection speaks, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum WireProtocol {
    Pipe,
    Http1,
    Http2,
    Http3,
}

/// The number of protocols.
const PROTOCOLS: usize = WireProtocol::ALL.len();

impl WireProtocol {
    /// All protocols, each at its own index.
    pub const ALL: [Self; 4] = [Self::Pipe, Self::Http1, Self::Http2, Self::Http3];

    /// Returns the name of the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }
}

/// The counts of the connections of one listener. Aligned to cache lines of its own, together with its reference count.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCounts {
    accepted: AtomicU64,
    refused: AtomicU64,
    handshake_failures: AtomicU64,
    /// Connections whose protocol is not known yet.
    undecided: AtomicU64,
    begun: [AtomicU64; PROTOCOLS],
    ended: [AtomicU64; PROTOCOLS],
}

/// The counts of a listener at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTotals {
    /// The number of accepted connections.
    pub accepted: u64,
    /// The number of connections for which there was no room.
    pub refused: u64,
    /// The number of connections that came to no TLS.
    pub handshake_failures: u64,
    /// The number of open connections whose protocol is not known yet.
    pub undecided: u64,
    /// The numbers of connections by protocol: those that have begun, and those that are open.
    pub protocols: [(u64, u64); PROTOCOLS],
}

/// A connection that counts as open.
#[derive(Debug)]
pub struct CountedConnection {
    counts: Arc<ListenerCounts>,
    protocol: Option<WireProtocol>,
}

impl ListenerCounts {
    /// Counts an accepted connection as open until the returned guard is dropped.
    pub fn begin(self: &Arc<Self>) -> CountedConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.undecided.fetch_add(1, Ordering::Relaxed);
        CountedConnection { counts: Arc::clone(self), protocol: None }
    }

    /// Counts a connection for which there was no room.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that came to no TLS.
    pub fn handshake_failed(&self) {
        self.handshake_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts of this moment.
    pub fn totals(&self) -> ListenerTotals {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let protocol = |(begun, ended): (&AtomicU64, &AtomicU64)| {
            // Read in this order, so that no connection seems to have ended before it has begun.
            let ended = of(ended);
            let begun = of(begun);
            (begun, begun.saturating_sub(ended))
        };
        let mut pairs = self.begun.iter().zip(&self.ended).map(protocol);
        ListenerTotals {
            accepted: of(&self.accepted),
            refused: of(&self.refused),
            handshake_failures: of(&self.handshake_failures),
            undecided: of(&self.undecided),
            protocols: std::array::from_fn(|_| pairs.next().unwrap_or_default()),
        }
    }
}

impl ListenerTotals {
    /// Adds the counts of the same listener of another worker.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.handshake_failures += other.handshake_failures;
        self.undecided += other.undecided;
        for ((begun, open), (more, more_open)) in self.protocols.iter_mut().zip(other.protocols) {
            *begun += more;
            *open += more_open;
        }
    }
}

impl CountedConnection {
    /// Notes the protocol of the connection. Only the first call counts.
    pub fn speaks(&mut self, protocol: WireProtocol) {
        if self.protocol.is_none() {
            self.protocol = Some(protocol);
            self.counts.undecided.fetch_sub(1, Ordering::Relaxed);
            // Every protocol has an index in the array.
            self.counts.begun[protocol as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the counts of its listener.
    pub fn listener(&self) -> &ListenerCounts {
        &self.counts
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        match self.protocol {
            // Every protocol has an index in the array.
            Some(protocol) => self.counts.ended[protocol as usize].fetch_add(1, Ordering::Relaxed),
            None => self.counts.undecided.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_open_under_one_protocol_until_it_ends() {
        let counts = Arc::new(ListenerCounts::default());
        let (mut first, second) = (counts.begin(), counts.begin());
        first.speaks(WireProtocol::Http2);
        first.speaks(WireProtocol::Http1);
        let totals = counts.totals();
        assert_eq!((totals.accepted, totals.undecided), (2, 1));
        assert_eq!(totals.protocols, [(0, 0), (0, 0), (1, 1), (0, 0)]);
        drop((first, second));
        let mut totals = counts.totals();
        assert_eq!((totals.accepted, totals.undecided, totals.protocols[2]), (2, 0, (1, 0)));
        totals.add(&totals.clone());
        assert_eq!((totals.accepted, totals.protocols[2]), (4, (2, 0)));
    }

    #[test]
    fn every_protocol_is_at_its_own_index() {
        for (index, protocol) in WireProtocol::ALL.into_iter().enumerate() {
            assert_eq!(protocol as usize, index);
        }
    }
}
