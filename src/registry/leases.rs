//! The leases of sessions: the ones that a registration may ask for, and the times at which sessions end.
//!
//! Signs of life are an open connection or stream of events, and each call that names the session. They are recorded
//! elsewhere. Invariant: a session with a connection or a permanent lease has no end.

use crate::domain::{Error, Lease, RegistrationToken, Session, Span, Time};

use super::limits::RegistryLimits;

/// Refuses a lease that the token or the server does not allow.
pub(crate) fn check_lease(
    lease: Option<Lease>,
    token: Option<&RegistrationToken>,
    limits: &RegistryLimits,
) -> Result<(), Error> {
    let Some(lease) = lease else { return Ok(()) };
    if let Some(token) = token {
        token.lease_max.check(lease, &format!("token {}", token.name))?;
    }
    limits.lease_max.check(lease, "session.lease_max")
}

/// Returns the lease of a session.
pub(crate) fn lease_of(session: &Session, limits: &RegistryLimits) -> Lease {
    in_force(session.record.lease, limits)
}

/// Returns the lease of a session that asked for `asked`.
pub(crate) fn in_force(asked: Option<Lease>, limits: &RegistryLimits) -> Lease {
    asked.unwrap_or(Lease::For(limits.grace))
}

/// Returns the time at which a session ends if nothing happens; `None` while a connection is bound to it, and if its
/// lease is permanent.
pub(crate) fn ends_at(session: &Session, limits: &RegistryLimits) -> Option<Time> {
    match (session.record.replaced, session.bound) {
        (Some(until), _) => Some(until),
        (None, Some(_)) => None,
        (None, None) => {
            let last = session.unbound_at.max(session.last_activity.last());
            lease_of(session, limits).span().map(|span| last.after(span))
        }
    }
}

/// The time before the end of a session at which the log and an event warn.
const WARNING: Span = Span::from_secs(60);

/// Returns the time of the warning that a session ends: a minute before, or half of a short lease before. `None` if it
/// does not end by itself, or was replaced.
pub(crate) fn warns_at(session: &Session, limits: &RegistryLimits) -> Option<Time> {
    let ends = ends_at(session, limits).filter(|_| session.record.replaced.is_none())?;
    let lease = lease_of(session, limits).span()?;
    let ahead = WARNING.millis().min(lease.millis() / 2);
    Some(Time(ends.0.saturating_sub(ahead)))
}
