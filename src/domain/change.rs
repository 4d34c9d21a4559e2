//! Changes: the steps from one state of the registry to the next.
//!
//! Commands decide on changes. The catalog, the store and the routing table each absorb a change in one exhaustive
//! match.

use std::sync::Arc;

use super::{
    Confirmation, ConnectionId, Edit, HistoryMark, Pending, Sections, SessionKey, SessionRecord, Ticket, Time,
};

/// One step from a catalog to the next. Absorbing it cannot fail.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A session is opened, or its record has a new value.
    Record(SessionKey, Arc<SessionRecord>),
    /// A session ends, and with it everything that it had.
    End(SessionKey),
    /// An edit of the staged configuration.
    Stage {
        /// The session.
        key: SessionKey,
        /// The edit.
        edit: Edit,
        /// The time of the edit.
        at: Time,
    },
    /// The staged configuration is dropped.
    Unstage(SessionKey),
    /// Edits of the active configuration. Nothing in `sections` is staged afterwards.
    Apply {
        /// The session.
        key: SessionKey,
        /// The sections that are applied.
        sections: Sections,
        /// The edits of these sections.
        edits: Arc<[Edit]>,
    },
    /// A session is bound to a connection, which gets its server-sent lines. Not stored.
    Bind(SessionKey, ConnectionId),
    /// A session has lost its connection. Not stored.
    Unbind(SessionKey, Time),
    /// A maintenance request waits for its outcome.
    Await(SessionKey, Pending),
    /// A maintenance request has its outcome or was cancelled.
    Complete(SessionKey, Ticket),
    /// An event was observed, of a session or, with [`SessionKey::NONE`], of the whole server. Only the revision is stored:
    /// it is the event's number.
    Observed(SessionKey),
    /// An instance has one more revision. The store writes it from the record of the revision.
    Remember(Arc<HistoryMark>),
    /// The history of an instance is dropped.
    Forget(Arc<HistoryMark>),
    /// The last apply of a session waits for its confirmation.
    AwaitConfirmation(SessionKey, Arc<Confirmation>),
    /// The apply of a session that waited is confirmed, or was taken back.
    Settle(SessionKey),
}

impl Change {
    /// Returns the session that the change is about.
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
            | Change::Complete(key, _)
            | Change::AwaitConfirmation(key, _)
            | Change::Settle(key)
            | Change::Observed(key) => *key,
            Change::Remember(_) | Change::Forget(_) => SessionKey::NONE,
        }
    }

    /// Returns the number of entries that the change is about.
    pub fn rows(&self) -> usize {
        match self {
            Change::Apply { edits, .. } => edits.len(),
            _ => 1,
        }
    }

    /// Returns true if a restart must restore the change.
    pub fn is_stored(&self) -> bool {
        match self {
            Change::Record(..)
            | Change::End(_)
            | Change::Stage { .. }
            | Change::Unstage(_)
            | Change::Apply { .. }
            | Change::Await(..)
            | Change::Complete(..)
            | Change::Observed(_)
            | Change::Remember(_)
            | Change::Forget(_)
            | Change::AwaitConfirmation(..)
            | Change::Settle(_) => true,
            Change::Bind(..) | Change::Unbind(..) => false,
        }
    }

    /// Returns true if a loss of power must not lose the change.
    ///
    /// Staged edits may be lost. So may the outcome of a maintenance request: it is found again after a restart.
    pub fn is_precious(&self) -> bool {
        match self {
            Change::Record(..)
            | Change::End(_)
            | Change::Apply { .. }
            | Change::Await(..)
            | Change::AwaitConfirmation(..)
            | Change::Settle(_) => true,
            Change::Stage { .. }
            | Change::Unstage(_)
            | Change::Bind(..)
            | Change::Unbind(..)
            | Change::Complete(..)
            | Change::Observed(_)
            | Change::Remember(_)
            | Change::Forget(_) => false,
        }
    }

    /// Returns true if the change can affect traffic. Staged edits, bindings and waiting requests cannot.
    pub fn concerns_traffic(&self) -> bool {
        matches!(self, Change::Record(..) | Change::End(_) | Change::Apply { .. })
    }

    /// Returns true if the change increases the revision.
    pub fn moves_revision(&self) -> bool {
        self.concerns_traffic() || matches!(self, Change::Observed(_))
    }
}
