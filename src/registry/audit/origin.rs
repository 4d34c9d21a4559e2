//! The origin of a call: the interface and address that it came by, and the operator who made it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::OperatorName;

use super::words::words;

words! {
    /// The way that a call came.
    Interface is "The way that the call came; `server` for the server itself.", "interface" {
        /// The pipe.
        Pipe = "pipe",
        /// gRPC.
        Grpc = "grpc",
        /// REST.
        Rest = "rest",
        /// No interface: the server itself acts.
        Server = "server",
    }
}

/// The origin of a call. It stays with the call's commands until they are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOrigin {
    /// The interface.
    pub interface: Interface,
    /// The client's address, as trusted proxies tell it; `None` if it is not known.
    pub address: Option<IpAddr>,
    /// The operator; `None` for a call of a session or of the server.
    pub operator: Option<OperatorName>,
    /// The mark of the call.
    pub mark: CallMark,
}

/// Says of a call if it is counted: by the writer, which decides on it, or by its interface, whichever comes first. It says nothing about the
/// origin: all marks are equal.
#[derive(Clone, Debug, Default)]
pub struct CallMark(Option<Arc<AtomicU8>>);

const UNCOUNTED: u8 = 0;
const COUNTED_BY_WRITER: u8 = 1;
const COUNTED_BY_INTERFACE: u8 = 2;

impl CallMark {
    /// Returns the mark of a new call.
    pub fn of_call() -> Self {
        Self(Some(Arc::default()))
    }

    /// Returns true if the writer counts the commands of the call, all of them: its interface has not counted it.
    pub(in crate::registry) fn writer_counts(&self) -> bool {
        self.is_counted_by(COUNTED_BY_WRITER)
    }

    /// Returns true if the interface counts the call: the writer has not decided on it.
    pub(in crate::registry) fn interface_counts(&self) -> bool {
        self.is_counted_by(COUNTED_BY_INTERFACE)
    }

    fn is_counted_by(&self, one: u8) -> bool {
        let Some(mark) = &self.0 else { return true };
        // Nothing but the mark itself depends on its order.
        let before = mark.compare_exchange(UNCOUNTED, one, Ordering::Relaxed, Ordering::Relaxed);
        before.map_or_else(|by| by == one, |_| true)
    }
}

impl PartialEq for CallMark {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CallMark {}

impl CallOrigin {
    /// The server itself.
    pub const SERVER: Self = Self { interface: Interface::Server, address: None, operator: None, mark: CallMark(None) };

    /// Returns the origin of a call from `address`.
    pub fn new(interface: Interface, address: Option<IpAddr>) -> Self {
        let address = address.map(|address| address.to_canonical());
        Self { interface, address, operator: None, mark: CallMark::default() }
    }

    /// Returns the same origin for a call with this mark.
    #[must_use]
    pub fn marked(self, mark: CallMark) -> Self {
        Self { mark, ..self }
    }

    /// Returns the same origin for a call of an operator.
    #[must_use]
    pub fn by(self, operator: OperatorName) -> Self {
        Self { operator: Some(operator), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_by_the_writer_or_by_its_interface_and_never_by_both() {
        let decided = CallMark::of_call();
        // A call may make several commands.
        assert!(decided.writer_counts() && decided.clone().writer_counts());
        assert!(!decided.interface_counts());
        // Its deadline passed before the writer came to it.
        let late = CallMark::of_call();
        assert!(late.interface_counts() && !late.clone().writer_counts());
        assert!(CallMark::default().writer_counts());
    }
}
