//! The bounds of the API port: its connections, its memory, and the timeouts of its clients.

use std::time::Duration;

use crate::connection_limits::PortConnections;
use crate::memory_budget::MemoryBudget;

/// The bounds of the port.
#[derive(Clone, Debug)]
pub struct ApiBounds {
    /// The connections of the port.
    pub connections: PortConnections,
    /// The budget for running requests and responses.
    pub memory: MemoryBudget,
    /// The timeouts of clients.
    pub timeouts: ClientTimeouts,
}

impl ApiBounds {
    /// Creates bounds with the default timeouts.
    pub fn new(connections: PortConnections, memory: MemoryBudget) -> Self {
        Self { connections, memory, timeouts: ClientTimeouts::default() }
    }
}

/// The timeouts of the port's clients.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// The maximum time from the beginning of a connection, or the end of the last response, to the end of a head.
    pub head: Duration,
    /// The maximum time without progress while the server waits for the client.
    pub stall: Duration,
    /// The silence after which an HTTP/2 client gets a PING.
    pub silence: Duration,
    /// The maximum time until its answer to the PING.
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
