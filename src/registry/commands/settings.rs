//! Commands that stage the settings of routes: headers, options, health checks, rate limits and breakers.

use std::sync::Arc;

use crate::domain::{
    Breaker, Catalog, Change, Edit, Error, HeaderKey, HealthCheck, Kind, OptionKey, Options, RateLimit, RouteId,
    Session, SessionId, Target,
};

use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::session_edit::no_route;

/// Stages one edit of a setting, if its route exists and the session has room for it.
fn stage(catalog: &Catalog, context: DecisionContext<'_>, id: &SessionId, edit: Edit) -> Decision {
    let session = catalog.session(id.reveal())?;
    if !edit.removes() {
        exists(session, edit.target())?;
        room(session, context)?;
    }
    let change = Change::Stage { key: session.key, edit, at: context.now };
    Ok(Decided::new(Reply::Done, vec![change]))
}

fn exists(session: &Session, target: Target) -> Result<(), Error> {
    match target.route() {
        Some(id) if session.route(id).is_none() => Err(no_route(id)),
        _ => Ok(()),
    }
}

fn room(session: &Session, context: DecisionContext<'_>) -> Result<(), Error> {
    let most = context.limits.settings_per_session_max;
    if session.edited().settings_len() < most {
        return Ok(());
    }
    Err(Error::new(Kind::Limited, format!("too many settings in this session (limit {most})")))
}

macro_rules! setting_commands {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),+ } => |$command:ident| $edit:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// The session.
            pub session: SessionId,
            $($(#[$field_doc])* pub $field: $kind),+
        }

        impl $name {
            pub(crate) fn session(&self) -> Option<&SessionId> {
                Some(&self.session)
            }

            pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
                let $command = self;
                stage(catalog, context, &self.session, $edit)
            }
        }
    )+ };
}

setting_commands! {
    /// Stages a response header.
    HeadersSet {
        /// The routes.
        target: Target,
        /// The header.
        name: HeaderKey,
        /// Its value.
        value: Arc<str>
    } => |set| Edit::Header(set.target, set.name.clone(), Some(Arc::clone(&set.value)));

    /// Stages the removal of a response header. A header that is not set stays so.
    HeadersRemove {
        /// The routes.
        target: Target,
        /// The header.
        name: HeaderKey
    } => |gone| Edit::Header(gone.target, gone.name.clone(), None);

    /// Stages the removal of an option, which then has its default again.
    OptionsRemove {
        /// The routes.
        target: Target,
        /// The option.
        key: OptionKey
    } => |gone| Edit::Option(gone.target, gone.key.clone(), None);

    /// Stages a rate limit.
    RatelimitSet {
        /// The routes.
        target: Target,
        /// The limit.
        limit: RateLimit
    } => |set| Edit::RateLimit(set.target, Some(set.limit));

    /// Stages the removal of a route's health check, which is then the default one again.
    HealthRemove {
        /// The route.
        id: RouteId
    } => |gone| Edit::Health(gone.id, None);

    /// Stages the removal of a rate limit.
    RatelimitRemove {
        /// The routes.
        target: Target
    } => |gone| Edit::RateLimit(gone.target, None);

    /// Stages the removal of a circuit breaker.
    CircuitBreakerRemove {
        /// The routes.
        target: Target
    } => |gone| Edit::Breaker(gone.target, None);

    /// Stages a circuit breaker.
    CircuitBreakerSet {
        /// The routes.
        target: Target,
        /// The breaker.
        breaker: Breaker
    } => |set| Edit::Breaker(set.target, Some(set.breaker));
}

/// Stages a route's health check.
#[derive(Clone, Debug)]
pub struct HealthSet {
    /// The session.
    pub session: SessionId,
    /// The route.
    pub id: RouteId,
    /// The check.
    pub check: HealthCheck,
}

impl HealthSet {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        self.check.bounded()?;
        stage(catalog, context, &self.session, Edit::Health(self.id, Some(self.check.clone())))
    }
}

/// Stages an option.
#[derive(Clone, Debug)]
pub struct OptionsSet {
    /// The session.
    pub session: SessionId,
    /// The routes.
    pub target: Target,
    /// The option; an unknown one is stored and has no effect.
    pub key: OptionKey,
    /// Its value, which is checked if the option is known.
    pub value: Arc<str>,
}

impl OptionsSet {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        Options::default().set(self.key.as_str(), &self.value).map_err(|error| error.of(self.key.as_str()))?;
        let edit = Edit::Option(self.target, self.key.clone(), Some(Arc::clone(&self.value)));
        stage(catalog, context, &self.session, edit)
    }
}
