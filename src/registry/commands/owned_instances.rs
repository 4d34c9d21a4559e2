//! The command that makes the instances of a configuration file those that the file lists, all or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::{Catalog, Error, InstanceName, Kind, Owner, ServiceName, SessionId};
use crate::registry::instance_config::InstanceConfig;
use crate::registry::instance_outcomes::{OwnedChange, OwnedChangeKind};

use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::services::{create, present, put, remove};

/// An instance that a configuration file lists.
#[derive(Clone, Debug)]
pub struct ListedInstance {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The configuration.
    pub config: Arc<InstanceConfig>,
}

/// Makes `instances` the instances of an owner: creates and changes them, and removes the owner's other ones.
///
/// A refusal changes nothing. It names the instance first: `shop/shop-1: routes[0].backend: …`.
#[derive(Clone, Debug)]
pub struct ReplaceOwned {
    /// The owner, usually a file.
    pub owner: Owner,
    /// All instances of the owner.
    pub instances: Vec<ListedInstance>,
}

/// The number of times that instances are tried which wait for another one to give a place up.
const ROUNDS_MAX: usize = 16;

/// A replacement in the making. The draft has absorbed what is decided.
struct Replacement<'a> {
    owner: &'a Owner,
    draft: Catalog,
    decided: Decided,
    told: Vec<OwnedChange>,
}

impl ReplaceOwned {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let listed = self.listed()?;
        let decided = Decided::new(Reply::Done, Vec::new());
        let mut all = Replacement { owner: &self.owner, draft: catalog.clone(), decided, told: Vec::new() };
        all.remove_unlisted(catalog, &listed.keys().copied().collect());
        let mut waiting: Vec<&ListedInstance> = listed.into_values().collect();
        // An instance may take a place that another one of the list gives up.
        for round in 1.. {
            let before = waiting.len();
            let Some(error) = all.put_each(&mut waiting, context) else { break };
            if waiting.len() == before || round == ROUNDS_MAX {
                return Err(error);
            }
        }
        all.decided.reply = Reply::OwnedReplaced(all.told);
        Ok(all.decided)
    }

    /// Returns the instances by name.
    fn listed(&self) -> Result<BTreeMap<(&ServiceName, &InstanceName), &ListedInstance>, Error> {
        let mut listed = BTreeMap::new();
        for one in &self.instances {
            if listed.insert((&one.service, &one.instance), one).is_some() {
                let message = format!("the instance {}/{} stands twice in {}", one.service, one.instance, self.owner);
                return Err(Error::new(Kind::Invalid, message));
            }
        }
        Ok(listed)
    }
}

impl Replacement<'_> {
    fn remove_unlisted(&mut self, catalog: &Catalog, listed: &BTreeSet<(&ServiceName, &InstanceName)>) {
        for session in catalog.sessions().filter(|session| session.record.owner == *self.owner) {
            let (service, instance) = (&session.record.service, &session.record.instance);
            if !listed.contains(&(service, instance)) {
                let told = (service.clone(), instance.clone(), OwnedChangeKind::Removed);
                self.take(remove(session), told);
            }
        }
    }

    /// Puts the instances that can be put now. Leaves the other ones in the list, and returns the first refusal.
    fn put_each(&mut self, waiting: &mut Vec<&ListedInstance>, context: DecisionContext<'_>) -> Option<Error> {
        let mut refused = None;
        waiting.retain(|listed| {
            let put = self.put(listed, context);
            let is_refused = put.is_err();
            let error = put.err().map(|error| error.within(&format!("{}/{}", listed.service, listed.instance)));
            refused = refused.take().or(error);
            is_refused
        });
        refused
    }

    fn put(&mut self, listed: &ListedInstance, context: DecisionContext<'_>) -> Result<(), Error> {
        let (service, instance) = (&listed.service, &listed.instance);
        let present = present(&self.draft, self.owner, service, instance)?.cloned();
        let (decided, kind) = if let Some(session) = present {
            let (decided, outcome) = put(&self.draft, &session, &listed.config, context)?;
            let (revision, total, changes) = (outcome.revision, outcome.changes_total, outcome.changes);
            (decided, OwnedChangeKind::Changed { revision, total, changes })
        } else {
            let named = (service, instance);
            (create(&self.draft, self.owner, named, &listed.config, context)?.0, OwnedChangeKind::Created)
        };
        if !decided.changes.is_empty() {
            self.take(decided, (service.clone(), instance.clone(), kind));
        }
        Ok(())
    }

    fn take(&mut self, decided: Decided, (service, instance, kind): (ServiceName, InstanceName, OwnedChangeKind)) {
        decided.changes.iter().for_each(|change| self.draft.absorb(change));
        self.decided.changes.extend(decided.changes);
        self.decided.effects.extend(decided.effects);
        self.told.push(OwnedChange { service, instance, kind });
    }
}
