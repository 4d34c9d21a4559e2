//! The bounds of the API port: its connections, its memory, and how long its clients may take.

use std::time::Duration;

use crate::connection_limits::PortConnections;
use crate::memory_budget::MemoryBudget;

/// The bounds of the port.
#[derive(Clone, Debug)]
pub struct ApiBounds {
    /// The places of connections.
    pub connections: PortConnections,
    /// The budget that requests and answers under way draw on.
    pub memory: MemoryBudget,
    /// The times that clients may take.
    pub patience: ClientTimeouts,
}

impl ApiBounds {
    /// These connections, this memory, and as much patience as suits most.
    pub fn new(connections: PortConnections, memory: MemoryBudget) -> Self {
        Self { connections, memory, patience: ClientTimeouts::default() }
    }
}

/// The times that clients of the port may take.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From the beginning of a connection, or the end of the answer before, to the last byte of a head.
    pub head: Duration,
    /// Without taking or sending anything that is waited for.
    pub stall: Duration,
    /// An HTTP/2 peer that is silent for this time is asked whether it is still there.
    pub silence: Duration,
    /// To answer that.
    pub pong: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        let [head, stall, silence, pong] = [30, 30, 30, 20].map(Duration::from_secs);
        Self { head, stall, silence, pong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_as_long_as_the_page_on_security_says() {
        let ClientTimeouts { head, stall, silence, pong } = ClientTimeouts::default();
        assert!(silence + pong < Duration::from_mins(1), "a peer that is gone is noticed within a minute");
        assert_eq!([head, stall], [Duration::from_secs(30); 2]);
    }
}
