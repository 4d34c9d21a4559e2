//! The input and the result of a decision: the context, and the reply, changes and effects.
//!
//! Every command uses these; they use no command.

use crate::domain::{
    Change, ConnectionId, Error, Event, Forbidden, PageUrl, Pending, PendingKind, RouteId, SessionId, SessionKey,
    Ticket, Time,
};

use crate::registry::limits::RegistryLimits;
use crate::registry::registration_tokens::RegistrationTokens;

/// The context of a decision: the time and the rules.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// Now.
    pub now: Time,
    /// The bounds.
    pub limits: &'a RegistryLimits,
    /// The registration tokens.
    pub grants: &'a RegistrationTokens,
    /// The addresses that are never connected to.
    pub forbidden: &'a Forbidden,
}

/// The result of a decision: a reply, changes and effects.
#[derive(Debug)]
pub struct Decided {
    /// The reply, sent once the changes are stored and published.
    pub reply: Reply,
    /// The changes, in this order.
    pub changes: Vec<Change>,
    /// The effects, after the changes are stored and published.
    pub effects: Vec<Effect>,
}

impl Decided {
    /// Returns a reply with its changes and no effects.
    pub fn new(reply: Reply, changes: Vec<Change>) -> Self {
        Self { reply, changes, effects: Vec::new() }
    }

    /// Adds an event of a session.
    #[must_use]
    pub fn telling(mut self, key: SessionKey, event: Event) -> Self {
        self.effects.push(Effect::Event(key, event));
        self
    }
}

/// A decision or a refusal. A refusal has no changes.
pub type Decision = Result<Decided, Error>;

/// An effect of a command beside its changes: a message for a connection, or an order for traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An event of a session, for its bound connection if it subscribed.
    Event(SessionKey, Event),
    /// The connection is to be closed: its session was shut down.
    Close(ConnectionId),
    /// The connection's session has another one now, or none.
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
    /// The instance registered anew, which replaced the session.
    Replaced,
}

impl Release {
    /// The same in words.
    pub fn words(self) -> &'static str {
        match self {
            Release::TakenOver => "another connection took the session over",
            Release::Replaced => "the instance registered anew, which replaced the session",
        }
    }
}

/// The shapes that answers to commands have; many commands share one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A session was opened.
    Registered(SessionId),
    /// A session was found and bound.
    Reconnected,
    /// There is no such session; register again.
    Gone,
    /// Done, with nothing to say.
    Done,
    /// A route was staged.
    RouteAdded(RouteId),
    /// Routes were staged, in the order given.
    RoutesAdded(Vec<RouteId>),
    /// A drain runs and completes then.
    DrainUntil(Time),
    /// A maintenance request was accepted; its outcome follows from [`crate::registry::Registry::verify`].
    Maintenance(Verification),
    /// The active configuration is that of this revision of the session.
    Applied(u64),
}

/// A maintenance request that was accepted: what is still to be seen before its outcome is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// The session.
    pub key: SessionKey,
    /// The request.
    pub ticket: Ticket,
    /// Its direction.
    pub kind: PendingKind,
    /// The page that must answer; to leave maintenance, it is the backends that must.
    pub page: Option<PageUrl>,
}

impl Verification {
    /// Returns the verification of a request that waits.
    pub(crate) fn of(key: SessionKey, pending: &Pending) -> Self {
        Self { key, ticket: pending.ticket, kind: pending.kind, page: pending.page.clone() }
    }
}
