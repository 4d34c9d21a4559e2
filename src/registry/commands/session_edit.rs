//! Helpers of commands: changes to a session's record, and the lookup of its routes.

use std::sync::Arc;

use crate::domain::{Change, Confirmation, Error, Kind, Route, RouteId, Session, SessionRecord};

/// Returns the change that gives a session a changed record.
pub(crate) fn with_head(session: &Session, change: impl FnOnce(&mut SessionRecord)) -> Change {
    let mut record = SessionRecord::clone(&session.record);
    change(&mut record);
    Change::Record(session.key, Arc::new(record))
}

pub(crate) fn active_route(session: &Session, id: RouteId) -> Result<&Arc<Route>, Error> {
    session.active.routes.get(&id).ok_or_else(|| match session.route(id) {
        Some(_) => Error::new(Kind::Refused, format!("route {id} is staged, not active yet; CONFIG_APPLY first")),
        None => no_route(id),
    })
}

/// Returns the refusal for a route that does not exist.
pub(crate) fn no_route(id: RouteId) -> Error {
    Error::new(Kind::NotFound, format!("no route {id} in this session"))
}

/// Refuses a change of the configuration while an apply waits for its confirmation.
pub(crate) fn refuse_while_waiting(session: &Session) -> Result<(), Error> {
    let Some(Confirmation { id, number, .. }) = session.confirmation.as_deref() else { return Ok(()) };
    let message =
        format!("revision {number} waits for its confirmation {id}; CONFIG_CONFIRM or CONFIG_CANCEL it first");
    Err(Error::new(Kind::Refused, message))
}
