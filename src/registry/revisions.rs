//! The revisions of an instance: the draft that a command decides on, the record that the store keeps, and their counts.
//!
//! A draft becomes a record when the writer adds the time and the actor. Invariant: a record holds no session id, no
//! token and no other secret.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{ApplyReason, Edit, HistoryMark, Session, Time};

use super::audit::words::words;
use super::audit::{Actor, Interface};

words! {
    /// The way that a revision came about.
    RevisionAction is "The way that a revision came about.", "action" {
        /// It was active when the server began to keep revisions.
        Recorded = "recorded",
        /// Staged changes were applied.
        Applied = "applied",
        /// An earlier revision was restored.
        Reverted = "reverted",
        /// An apply that waited for its confirmation was taken back by hand.
        Cancelled = "cancelled",
        /// An apply was taken back because nobody confirmed it in time.
        Unconfirmed = "unconfirmed",
        /// An apply was taken back because its guard saw too many errors.
        Guarded = "guarded",
    }
}

/// The numbers of entries that a revision changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct RevisionCounts {
    pub routes_added: u64,
    pub routes_changed: u64,
    pub routes_removed: u64,
    pub headers_changed: u64,
    pub options_changed: u64,
    pub health_checks_changed: u64,
    pub rate_limits_changed: u64,
    pub circuit_breakers_changed: u64,
}

impl RevisionCounts {
    /// Counts `edits` of the active configuration of a session.
    pub(crate) fn of(session: &Session, edits: &[Edit]) -> Self {
        let mut counts = Self::default();
        for edit in edits {
            let count = match edit {
                Edit::Route(_, None) => &mut counts.routes_removed,
                Edit::Route(id, Some(_)) if session.active.routes.contains_key(id) => &mut counts.routes_changed,
                Edit::Route(_, Some(_)) => &mut counts.routes_added,
                Edit::Header(..) => &mut counts.headers_changed,
                Edit::Option(..) => &mut counts.options_changed,
                Edit::Health(..) => &mut counts.health_checks_changed,
                Edit::RateLimit(..) => &mut counts.rate_limits_changed,
                Edit::Breaker(..) => &mut counts.circuit_breakers_changed,
            };
            *count += 1;
        }
        counts
    }
}

/// The part of a revision that its command names.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionNote {
    /// The way that it came about.
    pub action: RevisionAction,
    /// The reason.
    pub reason: Option<ApplyReason>,
    /// The revision that it restores; 0 for the empty configuration.
    pub reverted_to: Option<u64>,
}

impl RevisionNote {
    /// Returns the note of an apply.
    pub fn applied(reason: Option<ApplyReason>) -> Self {
        Self { action: RevisionAction::Applied, reason, reverted_to: None }
    }
}

/// A revision in the making: the part that the command knows.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionDraft {
    /// The kept revisions, with this one.
    pub mark: Arc<HistoryMark>,
    /// True if the edits are the whole configuration, and nothing of the revision before stays.
    pub is_whole: bool,
    /// The edits of the configuration.
    pub edits: Arc<[Edit]>,
    /// The revision of the session.
    pub revision: u64,
    /// The part that the command names.
    pub note: RevisionNote,
    /// The numbers of edits.
    pub changes: RevisionCounts,
}

/// A revision for the store.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionRecord {
    /// The kept revisions, with this one.
    pub mark: Arc<HistoryMark>,
    /// True if the edits are the whole configuration, and nothing of the revision before stays.
    pub is_whole: bool,
    /// The edits of the configuration.
    pub edits: Arc<[Edit]>,
    /// The revision as lists show it.
    pub view: RevisionView,
}

/// A revision of an instance's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Revision)]
pub struct RevisionView {
    /// Its number. Numbers are the instance's own and rise, also from one session to the next.
    #[schema(minimum = 1)]
    pub number: u64,
    /// The revision of the session that made it, with it. A new session begins at 0.
    pub revision: u64,
    /// The time by the system clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The way that it came about.
    pub action: RevisionAction,
    /// The actor.
    pub actor: Actor,
    /// The way that the call came.
    pub interface: Interface,
    /// The client's address, as trusted proxies tell it; `null` for the server itself.
    #[schema(value_type = Option<String>, required)]
    pub address: Option<IpAddr>,
    /// The reason that the caller gave, or the server's own; `null` without one.
    #[schema(required)]
    pub reason: Option<String>,
    /// The number of the revision that it restored, 0 for an empty configuration; `null` for an apply.
    #[schema(required)]
    pub reverted_to: Option<u64>,
    /// The numbers of entries that it changed.
    pub changes: RevisionCounts,
}
