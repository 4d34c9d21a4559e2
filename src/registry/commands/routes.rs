//! Commands that add, change and remove staged routes.

use std::sync::Arc;

use crate::domain::{
    BackendUrl, Catalog, Change, Edit, Error, Host, Kind, PathPrefix, RegistrationToken, Route, RouteId, Session,
    SessionId,
};

use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::session_edit::{no_route, with_head};

/// A new route as a client describes it, without the id, which the server gives.
#[derive(Clone, Debug)]
pub struct NewRoute {
    /// The domains, at least one.
    pub domains: Vec<Host>,
    /// The prefix of paths.
    pub path: PathPrefix,
    /// The backend.
    pub backend: BackendUrl,
    /// The priority. The highest matching route wins.
    pub priority: i32,
}

impl NewRoute {
    fn with_id(&self, id: RouteId) -> Route {
        Route {
            id,
            name: None,
            domains: self.domains.clone(),
            path: self.path.clone(),
            backend: self.backend.clone(),
            priority: self.priority,
        }
    }
}

/// Stages a new route.
#[derive(Clone, Debug)]
pub struct RouteAdd {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub route: NewRoute,
}

impl RouteAdd {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        let id = room_for(session, 1, context)?;
        allowed(session, &self.route, context)?;
        let change = stage_route(session, self.route.with_id(id), context);
        Ok(Decided::new(Reply::RouteAdded(id), vec![change]))
    }
}

/// Stages several new routes, all or none.
#[derive(Clone, Debug)]
pub struct RouteAddBulk {
    /// The session.
    pub session: SessionId,
    /// The routes, at least one.
    pub routes: Vec<NewRoute>,
}

impl RouteAddBulk {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        let first = room_for(session, self.routes.len(), context)?;
        for (at, route) in self.routes.iter().enumerate() {
            allowed(session, route, context).map_err(|error| error.within(&format!("route {}", at + 1)))?;
        }
        let ids: Vec<RouteId> = (first.0..).map(RouteId).take(self.routes.len()).collect();
        let numbered = self.routes.iter().zip(&ids);
        let changes = numbered.map(|(route, id)| stage_route(session, route.with_id(*id), context)).collect();
        Ok(Decided::new(Reply::RoutesAdded(ids), changes))
    }
}

/// Returns the id of the first of `count` new routes, if the session has room for them.
fn room_for(session: &Session, count: usize, context: DecisionContext<'_>) -> Result<RouteId, Error> {
    let most = context.limits.routes_per_session_max;
    if session.edited().routes.len() + count > most {
        return Err(Error::new(Kind::Limited, format!("too many routes in this session (limit {most})")));
    }
    if let Some(token) = context.tokens.of(&session.record)? {
        token.check_route_room(session, count)?;
    }
    let used_up = || Error::new(Kind::Limited, "this session has used up its route ids; register anew");
    let count = u32::try_from(count).map_err(|_| used_up())?;
    session.record.next_route.checked_add(count).ok_or_else(used_up)?;
    Ok(RouteId(session.record.next_route))
}

/// Refuses a route that the session's token does not allow, or whose backend the server never connects to.
fn allowed(session: &Session, route: &NewRoute, context: DecisionContext<'_>) -> Result<(), Error> {
    context.forbidden.check_url("backend_url", &route.backend)?;
    let Some(token) = context.tokens.of(&session.record)? else { return Ok(()) };
    token
        .check_hosts(&route.domains)
        .and_then(|()| token.check_path(&route.path))
        .and_then(|()| token.check_backend(&route.backend))
}

fn stage_route(session: &Session, route: Route, context: DecisionContext<'_>) -> Change {
    Change::Stage { key: session.key, edit: Edit::Route(route.id, Some(Arc::new(route))), at: context.now }
}

/// The new value of one field of a route, or of several fields.
#[derive(Clone, Debug)]
pub enum RouteField {
    /// The backend.
    Backend(BackendUrl),
    /// Its priority.
    Priority(i32),
    /// Its domains.
    Domains(Vec<Host>),
    /// Its prefix of paths.
    Path(PathPrefix),
    /// Several fields, all or none.
    Several(Vec<RouteField>),
}

impl RouteField {
    fn allowed(&self, token: &RegistrationToken) -> Result<(), Error> {
        match self {
            RouteField::Several(fields) => fields.iter().try_for_each(|field| field.allowed(token)),
            RouteField::Backend(backend) => token.check_backend(backend),
            RouteField::Priority(_) => Ok(()),
            RouteField::Domains(domains) => token.check_hosts(domains),
            RouteField::Path(path) => token.check_path(path),
        }
    }

    fn set(&self, route: &mut Route) {
        match self {
            RouteField::Backend(backend) => route.backend = backend.clone(),
            RouteField::Priority(priority) => route.priority = *priority,
            RouteField::Domains(domains) => route.domains.clone_from(domains),
            RouteField::Path(path) => route.path = path.clone(),
            RouteField::Several(fields) => fields.iter().for_each(|field| field.set(route)),
        }
    }
}

/// Stages a change of one field or several fields of a route.
#[derive(Clone, Debug)]
pub struct RouteUpdate {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub id: RouteId,
    /// The fields and their new values.
    pub field: RouteField,
}

impl RouteUpdate {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        let mut route = Route::clone(editable(session, self.id)?);
        if let Some(token) = context.tokens.of(&session.record)? {
            self.field.allowed(token)?;
        }
        self.field.set(&mut route);
        context.forbidden.check_url("backend_url", &route.backend)?;
        Ok(Decided::new(Reply::Done, vec![stage_route(session, route, context)]))
    }
}

/// Returns a route that will exist after the next apply.
fn editable(session: &Session, id: RouteId) -> Result<&Arc<Route>, Error> {
    session.edited().routes.get(&id).ok_or_else(|| {
        if session.active.routes.contains_key(&id) {
            return Error::new(
                Kind::Refused,
                format!("route {id} is staged for removal; CONFIG_ROLLBACK brings it back"),
            );
        }
        no_route(id)
    })
}

/// Stages the removal of a route and of all its settings.
#[derive(Clone, Debug)]
pub struct RouteRemove {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub id: RouteId,
}

impl RouteRemove {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        editable(session, self.id)?;
        let settings = session.edited().settings_of(self.id);
        let edits = settings.into_iter().chain([Edit::Route(self.id, None)]);
        let mut changes: Vec<Change> =
            edits.map(|edit| Change::Stage { key: session.key, edit, at: context.now }).collect();
        // A route that was only staged is gone, so that its maintenance ends too.
        if !session.active.routes.contains_key(&self.id) && session.record.maintenance.routes.contains_key(&self.id) {
            changes.push(with_head(session, |record| record.maintenance.forget(self.id)));
        }
        Ok(Decided::new(Reply::Done, changes))
    }
}
