//! The only things that can happen to a catalog, the store or the routing table.
//!
//! Commands decide on changes; each of those three absorbs them in one exhaustive match.

use std::sync::Arc;

use super::{ConnectionId, Edit, Pending, Sections, SessionKey, SessionRecord, Ticket, Time};

/// One step from a catalog to the next. Absorbing it cannot fail.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A session is opened, or its record has a new value.
    Record(SessionKey, Arc<SessionRecord>),
    /// A session ends; all it had is gone.
    End(SessionKey),
    /// An edit of the staged configuration.
    Stage {
        /// Whose.
        key: SessionKey,
        /// Which.
        edit: Edit,
        /// When.
        at: Time,
    },
    /// The staged configuration is dropped.
    Unstage(SessionKey),
    /// Edits of the active configuration. Nothing of `sections` is staged any more.
    Apply {
        /// Whose.
        key: SessionKey,
        /// Which sections were applied.
        sections: Sections,
        /// What changes in them.
        edits: Arc<[Edit]>,
    },
    /// A session's server-sent lines go to this connection from now on. Not stored.
    Bind(SessionKey, ConnectionId),
    /// A session has lost its connection. Not stored.
    Unbind(SessionKey, Time),
    /// A maintenance request waits for its outcome.
    Await(SessionKey, Pending),
    /// A maintenance request has its outcome, or was cancelled.
    Settle(SessionKey, Ticket),
    /// Something happened that is told of. It is stored only as a step of the revision: the event's number.
    Observed(SessionKey),
}

impl Change {
    /// The session it is about.
    pub fn key(&self) -> SessionKey {
        match self {
            Change::Record(key, _)
            | Change::End(key)
            | Change::Stage { key, .. }
            | Change::Unstage(key)
            | Change::Apply { key, .. }
            | Change::Bind(key, _)
            | Change::Unbind(key, _)
            | Change::Await(key, _)
            | Change::Settle(key, _)
            | Change::Observed(key) => *key,
        }
    }

    /// The number of entries that it is about.
    pub fn rows(&self) -> usize {
        match self {
            Change::Apply { edits, .. } => edits.len(),
            _ => 1,
        }
    }

    /// True if a restart must find it.
    pub fn is_stored(&self) -> bool {
        match self {
            Change::Record(..)
            | Change::End(_)
            | Change::Stage { .. }
            | Change::Unstage(_)
            | Change::Apply { .. }
            | Change::Await(..)
            | Change::Settle(..)
            | Change::Observed(_) => true,
            Change::Bind(..) | Change::Unbind(..) => false,
        }
    }

    /// True if the loss of power must not lose it: everything stored but what is only staged, and that a request has its outcome:
    /// it would have it again.
    pub fn is_precious(&self) -> bool {
        match self {
            Change::Record(..) | Change::End(_) | Change::Apply { .. } | Change::Await(..) => true,
            Change::Stage { .. }
            | Change::Unstage(_)
            | Change::Bind(..)
            | Change::Unbind(..)
            | Change::Settle(..)
            | Change::Observed(_) => false,
        }
    }

    /// True if traffic can tell the difference: what is staged, bound or awaited is none of its business.
    pub fn concerns_traffic(&self) -> bool {
        matches!(self, Change::Record(..) | Change::End(_) | Change::Apply { .. })
    }

    /// True if the revision counts it: what traffic can tell, and what was observed.
    pub fn moves_revision(&self) -> bool {
        self.concerns_traffic() || matches!(self, Change::Observed(_))
    }
}
