//! What many commands need of a session: a changed head, and a route of it or the refusal.

use std::sync::Arc;

use crate::domain::{Change, Error, Head, Kind, Route, RouteId, Session};

/// A new head of a session.
pub(crate) fn with_head(session: &Session, change: impl FnOnce(&mut Head)) -> Change {
    let mut head = Head::clone(&session.head);
    change(&mut head);
    Change::Head(session.key, Arc::new(head))
}

pub(crate) fn active_route(session: &Session, id: RouteId) -> Result<&Arc<Route>, Error> {
    session.active.routes.get(&id).ok_or_else(|| match session.route(id) {
        Some(_) => Error::new(Kind::Refused, format!("route {id} is staged, not active yet; CONFIG_APPLY first")),
        None => no_route(id),
    })
}

/// A route that does not exist.
pub(crate) fn no_route(id: RouteId) -> Error {
    Error::new(Kind::NotFound, format!("no route {id} in this session"))
}
