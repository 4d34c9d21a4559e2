//! The input and the result of a decision: the context, and the reply, changes and effects.
//!
//! Every command uses this module; it uses no command.

use std::sync::Arc;

use crate::domain::{
    Change, Confirmation, ConnectionId, Error, Event, Forbidden, PageUrl, Pending, PendingKind, RouteId, SessionId,
    SessionKey, Ticket, Time,
};

use serde::Serialize;
use utoipa::ToSchema;

use crate::registry::audit::{AuditAction, AuditDetails, AuditDraft};
use crate::registry::instance_outcomes::{InstancePut, SetOutcome};
use crate::registry::limits::RegistryLimits;
use crate::registry::registration_tokens::RegistrationTokens;
use crate::registry::revisions::RevisionDraft;

/// The context of a decision: the time and the rules.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// The present time.
    pub now: Time,
    /// The bounds.
    pub limits: &'a RegistryLimits,
    /// The registration tokens.
    pub tokens: &'a RegistrationTokens,
    /// The addresses that are never connected to.
    pub forbidden: &'a Forbidden,
}

/// The result of a decision: a reply, changes and effects.
#[derive(Debug)]
pub struct Decided {
    /// The reply, sent once the changes are stored and published.
    pub reply: Reply,
    /// The changes, in the order in which they are absorbed.
    pub changes: Vec<Change>,
    /// The effects, which follow once the changes are stored and published.
    pub effects: Vec<Effect>,
}

impl Decided {
    /// Returns a reply with its changes and no effects.
    pub fn new(reply: Reply, changes: Vec<Change>) -> Self {
        Self { reply, changes, effects: Vec::new() }
    }

    /// Adds an event of the whole server.
    #[must_use]
    pub fn with_server_event(mut self, event: Event) -> Self {
        self.effects.push(Effect::ServerEvent(event));
        self
    }

    /// Adds a record of the audit about a session.
    #[must_use]
    pub fn with_audit(mut self, key: SessionKey, action: AuditAction, details: AuditDetails) -> Self {
        self.effects.push(Effect::Audit(Box::new(AuditDraft { key: Some(key), action, details })));
        self
    }

    /// Adds a record of the audit about the server.
    #[must_use]
    pub fn with_server_audit(mut self, action: AuditAction, details: AuditDetails) -> Self {
        self.effects.push(Effect::Audit(Box::new(AuditDraft { key: None, action, details })));
        self
    }

    /// Adds a revision of an instance, which the catalog and the store remember.
    #[must_use]
    pub fn with_revision(mut self, draft: RevisionDraft) -> Self {
        self.changes.push(Change::Remember(Arc::clone(&draft.mark)));
        self.effects.push(Effect::Revision(Box::new(draft)));
        self
    }

    /// Adds an event of a session.
    #[must_use]
    pub fn with_event(mut self, key: SessionKey, event: Event) -> Self {
        self.effects.push(Effect::Event(key, event));
        self
    }
}

/// A decision or a refusal. A refusal has no changes.
pub type Decision = Result<Decided, Error>;

/// An effect of a command in addition to its changes: a message for a connection, or an order for traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An event of a session, sent to the bound connection if the session subscribed to it.
    Event(SessionKey, Event),
    /// An event of the whole server, sent to the bound connection of each session that subscribed to it.
    ServerEvent(Event),
    /// A record of the audit, stored with the changes.
    Audit(Box<AuditDraft>),
    /// A revision of an instance, stored with the changes.
    Revision(Box<RevisionDraft>),
    /// Warns that a session ends at this time unless its client comes back.
    ExpiresSoon(SessionKey, Time),
    /// Closes the connection, because its session was shut down.
    Close(ConnectionId),
    /// Tells the connection that its session has another connection now, or none.
    Released(ConnectionId, Release),
    /// Tells traffic to close the breaker of the route.
    ResetBreaker(SessionKey, RouteId),
    /// Tells traffic that the backends of these routes have just answered.
    Vouch(SessionKey, Vec<RouteId>),
}

/// The reason for which a connection lost its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Another connection took the session over.
    TakenOver,
    /// The instance registered again, which replaced the session.
    Replaced,
}

impl Release {
    /// Returns the reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Release::TakenOver => "another connection took the session over",
            Release::Replaced => "the instance registered anew, which replaced the session",
        }
    }
}

/// The replies to commands; many commands share one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A session was opened.
    Registered(SessionId),
    /// A session was found and bound.
    Reconnected,
    /// There is no such session; register again.
    Gone,
    /// The command succeeded; there is nothing to return.
    Done,
    /// A route was staged.
    RouteAdded(RouteId),
    /// Routes were staged, in the order given.
    RoutesAdded(Vec<RouteId>),
    /// A drain runs; it completes at this time.
    DrainUntil(Time),
    /// A maintenance request was accepted; [`crate::registry::Registry::verify`] waits for its outcome.
    Maintenance(Verification),
    /// A configuration was applied or restored.
    Applied(AppliedView),
    /// An instance of the operators has its configuration.
    Put(Box<InstancePut>),
    /// The outcome for each set of instances.
    SetsPut(Vec<SetOutcome>),
}

/// The result of an apply or of a revert.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Applied)]
pub struct AppliedView {
    /// The number of applies of the session that changed something; also the `ETag`.
    pub revision: u64,
    /// The number of the instance's last revision, which this call has made if it changed something; `null` if nothing
    /// was ever applied.
    #[schema(required)]
    pub number: Option<u64>,
    /// The confirmation for which the apply waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub confirmation: Option<ConfirmationView>,
}

/// An apply that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Confirmation)]
pub struct ConfirmationView {
    /// Its id. It is all that is needed to confirm.
    pub id: String,
    /// The number of the revision that waits.
    pub number: u64,
    /// The number of the revision that is restored at the deadline; 0 for the empty configuration.
    pub reverts_to: u64,
    /// The deadline.
    #[schema(value_type = String, format = DateTime)]
    pub until: Time,
    /// True if the apply is taken back at once when the share of 5xx rises.
    pub guard: bool,
}

impl ConfirmationView {
    /// Returns the view of a confirmation.
    pub(crate) fn of(confirmation: &Confirmation) -> Self {
        let Confirmation { id, number, previous, before: _, until, guard } = confirmation;
        let (id, guard) = (id.to_string(), guard.is_some());
        Self { id, number: *number, reverts_to: *previous, until: *until, guard }
    }
}

/// An accepted maintenance request, with the pages that must answer before its outcome is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// The session.
    pub key: SessionKey,
    /// The ticket of the request.
    pub ticket: Ticket,
    /// The direction: into maintenance, or out of it.
    pub kind: PendingKind,
    /// The page that must answer. `None` for a request to leave maintenance: there the backends must answer.
    pub page: Option<PageUrl>,
}

impl Verification {
    /// Returns the verification of a waiting request.
    pub(crate) fn of(key: SessionKey, pending: &Pending) -> Self {
        Self { key, ticket: pending.ticket, kind: pending.kind, page: pending.page.clone() }
    }
}
