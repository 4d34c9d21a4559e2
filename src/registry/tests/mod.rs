//! Tests of decisions, without a store, a clock or a socket.

mod applying;
mod audit;
mod confirm;
mod history;
mod leases;
mod operating;
mod payloads;
mod readiness;
mod services;
mod serving;
mod staging;
mod streams;

use std::sync::Arc;

use crate::domain::{
    Catalog, Change, ConnectionId, Error, Event, EventKind, Forbidden, InstanceName, Metadata, Options, PageUrl,
    RouteId, Sections, ServiceName, Session, SessionId, Span, Time,
};

use super::audit::AuditDraft;
use super::commands::{
    ConfigApply, ConfigRollback, Expire, NewRoute, Register, RouteAdd, RouteField, RouteRemove, RouteUpdate,
};
use super::commands::{DecisionContext, Effect};
use super::ports::Traffic;
use super::revisions::RevisionDraft;
use super::{Answer, Command, Query, RegistrationTokens, RegistryLimits, RegistryRules, Reply};

/// Traffic that sees no requests.
pub(super) struct Quiet;

impl Traffic for Quiet {}

/// The input of a decision: a catalog, a time and the bounds.
struct World {
    catalog: Catalog,
    now: Time,
    limits: RegistryLimits,
    tokens: RegistrationTokens,
    forbidden: Forbidden,
    events: Vec<Event>,
    audit: Vec<AuditDraft>,
    revisions: Vec<RevisionDraft>,
    /// The number of warnings that a session is about to expire.
    warnings: usize,
    nonce: u128,
}

impl World {
    fn new() -> Self {
        Self {
            catalog: Catalog::default(),
            now: Time(1_795_323_231_906),
            limits: RegistryLimits::default(),
            tokens: RegistrationTokens::default(),
            forbidden: Forbidden::default(),
            events: Vec::new(),
            audit: Vec::new(),
            revisions: Vec::new(),
            warnings: 0,
            nonce: 0,
        }
    }

    fn context(&self) -> DecisionContext<'_> {
        DecisionContext { now: self.now, limits: &self.limits, tokens: &self.tokens, forbidden: &self.forbidden }
    }

    /// Decides on a command and absorbs its changes.
    fn run(&mut self, command: impl Into<Command>) -> Result<Reply, Error> {
        let command = command.into();
        let decided = command.decide(&self.catalog, self.context())?;
        decided.changes.iter().for_each(|change: &Change| self.catalog.absorb(change));
        self.events.extend(decided.effects.into_iter().filter_map(|effect| match effect {
            Effect::Event(_, event) | Effect::ServerEvent(event) => {
                EventKind::TOPICS.contains(&event.kind()).then_some(event)
            }
            Effect::Audit(draft) => {
                self.audit.push(*draft);
                None
            }
            Effect::Revision(draft) => {
                self.revisions.push(*draft);
                None
            }
            Effect::ExpiresSoon(..) => {
                self.warnings += 1;
                None
            }
            Effect::Close(_) | Effect::Released(..) | Effect::ResetBreaker(..) | Effect::Vouch(..) => None,
        }));
        assert_eq!(self.catalog.disagreement(), None);
        Ok(decided.reply)
    }

    fn register(&mut self, service: &str, instance: &str, connection: u64) -> SessionId {
        self.nonce += 1;
        let reply = self.run(Register {
            service: ServiceName::parse(service).unwrap(),
            instance: InstanceName::parse(instance).unwrap(),
            maintenance_port: 9001,
            metadata: Metadata::default(),
            nonce: self.nonce,
            connection: Some(ConnectionId(connection)),
            token: None,
            origin: None,
            lease: None,
        });
        let Ok(Reply::Registered(id)) = reply else { panic!("{reply:?}") };
        id
    }

    fn add(&mut self, session: &SessionId, domain: &str, path: &str) -> RouteId {
        let reply = self.run(RouteAdd { session: session.clone(), route: route(domain, path) });
        let Ok(Reply::RouteAdded(id)) = reply else { panic!("{reply:?}") };
        id
    }

    fn update(&mut self, session: &SessionId, id: RouteId, field: RouteField) -> Result<Reply, Error> {
        self.run(RouteUpdate { session: session.clone(), id, field })
    }

    fn remove(&mut self, session: &SessionId, id: RouteId) -> Result<Reply, Error> {
        self.run(RouteRemove { session: session.clone(), id })
    }

    fn apply(&mut self, session: &SessionId) -> Result<Reply, Error> {
        self.run(ConfigApply {
            subject: session.clone().into(),
            sections: Sections::ALL,
            expected: None,
            reason: None,
            confirm: None,
        })
    }

    fn apply_only(&mut self, session: &SessionId, sections: &str) -> Result<Reply, Error> {
        self.run(ConfigApply {
            subject: session.clone().into(),
            sections: Sections::parse(sections).unwrap(),
            expected: None,
            reason: None,
            confirm: None,
        })
    }

    fn rollback(&mut self, session: &SessionId) -> Result<Reply, Error> {
        self.run(ConfigRollback { subject: session.clone().into() })
    }

    fn expire(&mut self, session: &SessionId, since: Time) {
        let key = self.session(session).key;
        self.run(Expire { key, since }).unwrap();
    }

    fn pass(&mut self, span: Span) {
        self.now = self.now.after(span);
    }

    fn session(&self, id: &SessionId) -> &Arc<Session> {
        self.catalog.session(id.reveal()).expect("a session")
    }

    fn ask(&self, query: &Query) -> Result<Answer, Error> {
        let (limits, tokens, forbidden) = (self.limits, self.tokens.clone(), self.forbidden.clone());
        let rules = RegistryRules { limits, tokens, forbidden, defaults: Options::default() };
        query.answer(&self.catalog, self.now, &rules, &Quiet)
    }
}

fn route(domain: &str, path: &str) -> NewRoute {
    NewRoute {
        domains: crate::domain::Host::parse_list(domain).unwrap(),
        path: path.parse_path(),
        backend: crate::domain::BackendUrl::parse("http://127.0.0.1:3000").unwrap(),
        priority: 0,
    }
}

trait ParsePath {
    fn parse_path(&self) -> crate::domain::PathPrefix;
}

impl ParsePath for str {
    fn parse_path(&self) -> crate::domain::PathPrefix {
        crate::domain::PathPrefix::parse(self).unwrap()
    }
}

fn said(result: Result<Reply, Error>) -> String {
    result.expect_err("a refusal").to_string()
}
