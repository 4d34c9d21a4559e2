//! What a command is decided with, and what it comes to: a reply, changes, and whom to tell.
//!
//! Every command uses these; they use no command.

use crate::domain::{
    Change, ConnectionId, Error, Event, Forbidden, PageUrl, Pending, PendingKind, RouteId, SessionId, SessionKey,
    Ticket, Time,
};

use crate::registry::limits::RegistryLimits;
use crate::registry::registration_tokens::RegistrationTokens;

/// What a command is decided with beside the catalog: the time, and the bounds in force.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// Now.
    pub now: Time,
    /// The bounds.
    pub limits: &'a RegistryLimits,
    /// What registration tokens allow.
    pub grants: &'a RegistrationTokens,
    /// What is never connected to.
    pub forbidden: &'a Forbidden,
}

/// What a command comes to: an answer, the changes it takes, and whom to tell.
#[derive(Debug)]
pub struct Decided {
    /// The answer, given once the changes are stored and published.
    pub reply: Reply,
    /// What changes, in this order.
    pub changes: Vec<Change>,
    /// Who is told, after the answer is true.
    pub effects: Vec<Effect>,
}

impl Decided {
    /// An answer and the changes it takes, with nobody to tell.
    pub fn new(reply: Reply, changes: Vec<Change>) -> Self {
        Self { reply, changes, effects: Vec::new() }
    }

    /// The same, and `event` told to the session.
    #[must_use]
    pub fn telling(mut self, key: SessionKey, event: Event) -> Self {
        self.effects.push(Effect::Event(key, event));
        self
    }
}

/// A refusal changes nothing, by construction.
pub type Decision = Result<Decided, Error>;

/// Something to tell a connection that did not ask.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An event of a session, for its bound connection if it subscribed.
    Event(SessionKey, Event),
    /// The connection is to be closed: its session was shut down.
    Close(ConnectionId),
    /// The connection's session has another one now, or none.
    Released(ConnectionId, Release),
    /// For traffic: the route's breaker is to be closed.
    ResetBreaker(SessionKey, RouteId),
    /// For traffic: the backends of these routes have just answered.
    Vouch(SessionKey, Vec<RouteId>),
}

/// Why a connection has its session no more.
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
    /// What is to be seen of a request that waits.
    pub(crate) fn of(key: SessionKey, pending: &Pending) -> Self {
        Self { key, ticket: pending.ticket, kind: pending.kind, page: pending.page.clone() }
    }
}
