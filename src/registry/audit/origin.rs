//! The origin of a call: the interface and address that it came by, and the operator who made it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Tells the interface of a call if the writer has decided on it and so has counted it. It says nothing about the origin: all marks are
/// equal.
#[derive(Clone, Debug, Default)]
pub struct CallMark(Option<Arc<AtomicBool>>);

impl CallMark {
    /// Returns the mark of a new call.
    pub fn of_call() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes that the writer has decided on the call.
    pub(in crate::registry) fn set(&self) {
        // The answer of the writer, which follows, orders it.
        self.0.iter().for_each(|mark| mark.store(true, Ordering::Relaxed));
    }

    /// Returns true if the writer has decided on the call.
    pub fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|mark| mark.load(Ordering::Relaxed))
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
