//! Commands of operators for instances that they hold themselves: put a whole configuration, and remove.
//!
//! Such an instance is a session like any other, with the same checks and the same apply. It has no client.

use std::sync::Arc;

use crate::domain::{
    Catalog, Change, Edit, Error, Event, InstanceName, Kind, Owner, Sections, ServiceName, Session, SessionId,
    SessionRecord,
};
use crate::registry::audit::{AuditAction, AuditDetails};
use crate::registry::config_changes::ConfigChange;
use crate::registry::instance_config::{InstanceConfig, WantedInstance};
use crate::registry::instance_outcomes::InstancePut;
use crate::registry::limits::RegistryLimits;
use crate::registry::revisions::RevisionNote;

use super::apply::{applied, revision_of};
use super::conflicts::check;
use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::holder::check_holder;
use super::session_edit::refuse_while_waiting;

/// The state of an instance on which a command depends (RFC 9110 §13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Any state.
    #[default]
    None,
    /// The instance exists.
    Exists,
    /// The instance does not exist.
    Absent,
    /// The instance is at one of these revisions.
    Revision(Vec<u64>),
}

impl Precondition {
    fn check(&self, present: Option<&Arc<Session>>) -> Result<(), Error> {
        let stale = |message: String| Err(Error::new(Kind::Stale, message));
        match (self, present.map(|session| session.record.revision)) {
            (Precondition::None, _) | (Precondition::Exists, Some(_)) | (Precondition::Absent, None) => Ok(()),
            (Precondition::Revision(seen), Some(now)) if seen.contains(&now) => Ok(()),
            (Precondition::Absent, Some(now)) => stale(format!("the instance exists already, at revision {now}")),
            (Precondition::Exists | Precondition::Revision(_), None) => stale("the instance does not exist".to_owned()),
            (Precondition::Revision(_), Some(now)) => {
                stale(format!("the instance is at revision {now} by now; read it again, then change it"))
            }
        }
    }
}

/// Makes a whole configuration that of an instance of the operators, and creates the instance if it does not exist.
#[derive(Clone, Debug)]
pub struct PutInstance {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The configuration.
    pub config: Arc<InstanceConfig>,
    /// The state in which the put may happen.
    pub precondition: Precondition,
    /// True to learn the changes without making them.
    pub dry_run: bool,
}

impl PutInstance {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let present = present(catalog, &Owner::Operator, &self.service, &self.instance)?;
        self.precondition.check(present)?;
        let (mut decided, mut outcome) = match present {
            Some(session) => put(catalog, session, &self.config, context)?,
            None => create(catalog, &Owner::Operator, (&self.service, &self.instance), &self.config, context)?,
        };
        if self.dry_run {
            let revision = present.map_or(0, |session| session.record.revision);
            outcome = InstancePut { revision, dry_run: true, ..outcome };
            return Ok(Decided::new(Reply::Put(Box::new(outcome)), Vec::new()));
        }
        decided.reply = Reply::Put(Box::new(outcome));
        Ok(decided)
    }
}

/// Removes an instance of the operators.
#[derive(Clone, Debug)]
pub struct RemoveInstance {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The state in which the removal may happen.
    pub precondition: Precondition,
}

impl RemoveInstance {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let present = present(catalog, &Owner::Operator, &self.service, &self.instance)?;
        let session = present.ok_or_else(|| Error::no_instance(&self.service, &self.instance))?;
        self.precondition.check(present)?;
        Ok(remove(session))
    }
}

/// Returns the instance if `owner` holds it; `None` if nobody does.
pub(super) fn present<'a>(
    catalog: &'a Catalog,
    owner: &Owner,
    service: &ServiceName,
    instance: &InstanceName,
) -> Result<Option<&'a Arc<Session>>, Error> {
    let present = catalog.of_instance(service, instance);
    present.map_or(Ok(()), |session| check_holder(session, owner))?;
    Ok(present)
}

/// Ends an instance that operators or a file hold.
pub(super) fn remove(session: &Session) -> Decided {
    let details = AuditDetails::of_routes(session).held_by(&session.record.owner);
    Decided::new(Reply::Done, vec![Change::End(session.key)])
        .with_event(session.key, Event::InstanceEnded { reason: "removed" })
        .with_audit(session.key, AuditAction::Removed, details)
}

/// Creates an instance of `owner` with its configuration.
pub(super) fn create(
    catalog: &Catalog,
    owner: &Owner,
    (service, instance): (&ServiceName, &InstanceName),
    config: &InstanceConfig,
    context: DecisionContext<'_>,
) -> Result<(Decided, InstancePut), Error> {
    let most = context.limits.sessions_max;
    if catalog.sessions_len() >= most {
        return Err(Error::new(Kind::Limited, format!("too many sessions (limit {most}); try again later")));
    }
    let key = catalog.next_key();
    let record = SessionRecord::owned(owner.clone(), service.clone(), instance.clone(), key, context.now);
    let record = Arc::new(record);
    let mut opened = Decided::new(Reply::Done, vec![Change::Record(key, Arc::clone(&record))])
        .with_event(key, Event::InstanceRegistered)
        .with_audit(key, AuditAction::Registered, AuditDetails::default().held_by(owner));
    let (put, outcome) = put(catalog, &Session::new(key, record), config, context)?;
    opened.changes.extend(put.changes);
    opened.effects.extend(put.effects);
    Ok((opened, InstancePut { created: true, ..outcome }))
}

/// Makes `config` the configuration of a session, in one apply. Nothing happens if it is that already.
pub(super) fn put(
    catalog: &Catalog,
    session: &Session,
    config: &InstanceConfig,
    context: DecisionContext<'_>,
) -> Result<(Decided, InstancePut), Error> {
    let wanted = config.resolve(&session.active, session.record.next_route)?;
    check_bounds(&wanted, context.limits)?;
    check_backends(session, &wanted, config, context)?;
    let difference = session.active.difference(&wanted.config);
    let edits: Vec<Edit> = difference.edits().cloned().collect();
    check(catalog, session, &edits)?;
    let mut changes = changes_of_record(&session.record, &wanted);
    let changes_total = edits.len() + changes.len();
    changes.extend(ConfigChange::all(&session.active, &difference));
    let outcome = |revision| InstancePut { revision, created: false, dry_run: false, changes_total, changes };
    if changes_total == 0 {
        return Ok((Decided::new(Reply::Done, Vec::new()), outcome(session.record.revision)));
    }
    refuse_while_waiting(session)?;
    let WantedInstance { next_route, maintenance_port, metadata, .. } = wanted;
    let record = applied(session, &edits, None, context);
    // Numbers go on when an instance is removed and made anew, so that no revision that somebody has read comes again.
    let revision = record.revision.max(catalog.next_history(&session.record).last);
    let record = SessionRecord { maintenance_port, metadata, next_route, revision, ..record };
    let edits: Arc<[Edit]> = edits.into();
    let draft = revision_of(catalog, session, &edits, revision, RevisionNote::applied(None));
    let number = Some(draft.mark.last);
    let details = AuditDetails { number, ..AuditDetails::of_apply(session, &edits) }.held_by(&record.owner);
    let apply = Change::Apply { key: session.key, sections: Sections::ALL, edits };
    let decided = Decided::new(Reply::Done, vec![apply, Change::Record(session.key, Arc::new(record))])
        .with_event(session.key, Event::ConfigApplied { revision })
        .with_revision(draft)
        .with_audit(session.key, AuditAction::Applied, details);
    Ok((decided, outcome(revision)))
}

/// Returns the changes of the values of the instance itself.
fn changes_of_record(record: &SessionRecord, wanted: &WantedInstance) -> Vec<ConfigChange> {
    let ports = [record.maintenance_port, wanted.maintenance_port];
    let metadata = [&record.metadata, &wanted.metadata].map(|metadata| metadata.as_str().to_owned());
    let values = [("maintenance_port", ports.map(|port| port.to_string())), ("metadata", metadata)];
    let changed = values.into_iter().filter(|(_, [before, after])| before != after);
    changed.map(|(name, [before, after])| ConfigChange::of_instance(name, before, after)).collect()
}

fn check_bounds(wanted: &WantedInstance, limits: &RegistryLimits) -> Result<(), Error> {
    let (routes, settings) = (limits.routes_per_session_max, limits.settings_per_session_max);
    if wanted.config.routes.len() > routes {
        return Err(Error::new(Kind::Limited, format!("too many routes in this session (limit {routes})")));
    }
    if wanted.config.settings_len() > settings {
        return Err(Error::new(Kind::Limited, format!("too many settings in this session (limit {settings})")));
    }
    Ok(())
}

/// Refuses new backends that the server never connects to.
fn check_backends(
    session: &Session,
    wanted: &WantedInstance,
    config: &InstanceConfig,
    context: DecisionContext<'_>,
) -> Result<(), Error> {
    for (at, id) in wanted.ids.iter().enumerate() {
        let Some(route) = wanted.config.routes.get(id) else { continue };
        if session.active.routes.get(id).is_some_and(|present| present.backend == route.backend) {
            continue;
        }
        let checked = context.forbidden.check_url("backend", &route.backend);
        checked.map_err(|error| match &config.routes {
            Some(_) => error.inside(&format!("routes[{at}]")),
            None => error,
        })?;
    }
    Ok(())
}
