//! The command that puts instances of operators and files in sets, of which each is taken as a whole or not at all.
//!
//! Sets are tried together first, because an instance may take a name or a place that one of another set gives up; then
//! those that were refused are tried alone. Invariant: a refused set changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::{Catalog, Error, InstanceName, Kind, Owner, ServiceName, Session, SessionId};
use crate::registry::instance_config::InstanceConfig;
use crate::registry::instance_outcomes::{OwnedChange, OwnedChangeKind, RefusedInstance, SetOutcome};

use super::decision::{Decided, Decision, DecisionContext, Reply};
use super::services::{create, present, put, remove};

/// An instance with its configuration.
#[derive(Clone, Debug)]
pub struct ListedInstance {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The configuration.
    pub config: Arc<InstanceConfig>,
}

impl ListedInstance {
    fn name(&self) -> (&ServiceName, &InstanceName) {
        (&self.service, &self.instance)
    }

    fn refused(&self, error: Error) -> RefusedInstance {
        RefusedInstance { service: self.service.clone(), instance: self.instance.clone(), error }
    }
}

/// Instances of one owner that are put together or not at all.
#[derive(Clone, Debug)]
pub struct OwnedSet {
    /// The owner: the operators, or a file.
    pub owner: Owner,
    /// The instances.
    pub instances: Vec<ListedInstance>,
    /// True if the owner's other instances are removed.
    pub is_whole: bool,
}

/// Creates and changes the instances of sets.
#[derive(Clone, Debug)]
pub struct PutSets {
    /// The sets.
    pub sets: Vec<OwnedSet>,
    /// True to learn the outcome without changing anything.
    pub dry_run: bool,
}

/// The number of times that instances or sets are tried which wait for another one to give a place up.
const ROUNDS_MAX: usize = 16;

impl PutSets {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        if self.sets.iter().any(|set| set.owner == Owner::Session) {
            return Err(Error::new(Kind::Refused, "clients hold their instances themselves; nobody puts them in sets"));
        }
        let mut all = Puts { context, draft: catalog.clone(), decided: Decided::new(Reply::Done, Vec::new()) };
        let mut outcomes = self.repeated();
        let whole = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok());
        let mut open: Vec<usize> = whole.map(|(at, _)| at).collect();
        let mut alone = Vec::new();
        for round in 1.. {
            let refused = all.try_together(&self.sets, &open, &mut outcomes);
            if refused.is_empty() {
                break;
            }
            open.retain(|at| !refused.contains(at));
            alone.extend(refused);
            if round == ROUNDS_MAX {
                alone.append(&mut open);
            }
        }
        all.try_alone(&self.sets, alone, &mut outcomes);
        let reply = Reply::SetsPut(outcomes);
        Ok(if self.dry_run { Decided::new(reply, Vec::new()) } else { Decided { reply, ..all.decided } })
    }

    /// Returns the outcomes before anything is tried: refusals of the instances that an owner lists twice.
    fn repeated(&self) -> Vec<SetOutcome> {
        let mut seen = BTreeSet::new();
        let mut refusals = |set: &OwnedSet| -> SetOutcome {
            let again =
                |one: &&ListedInstance| !seen.insert((set.owner.stored(), one.name().0.clone(), one.name().1.clone()));
            let twice = |one: &ListedInstance| {
                one.refused(Error::new(Kind::Invalid, "is listed twice; give each instance once"))
            };
            let refused: Vec<_> = set.instances.iter().filter(again).map(twice).collect();
            if refused.is_empty() { Ok(Vec::new()) } else { Err(refused) }
        };
        self.sets.iter().map(&mut refusals).collect()
    }
}

/// Puts in the making. The draft has absorbed what is decided.
struct Puts<'a> {
    context: DecisionContext<'a>,
    draft: Catalog,
    decided: Decided,
}

impl Puts<'_> {
    /// Tries sets together. Returns those that were refused; then nothing of this try takes effect.
    fn try_together(&mut self, sets: &[OwnedSet], open: &[usize], outcomes: &mut [SetOutcome]) -> BTreeSet<usize> {
        let tried: Vec<(usize, &OwnedSet)> = open.iter().filter_map(|at| Some((*at, sets.get(*at)?))).collect();
        let attempt = Attempt::run(self.draft.clone(), self.context, &tried);
        for at in open {
            outcomes.get_mut(*at).into_iter().for_each(|outcome| *outcome = Ok(Vec::new()));
        }
        for (at, change) in attempt.told {
            if let Some(Ok(changes)) = outcomes.get_mut(at) {
                changes.push(change);
            }
        }
        let refused: BTreeSet<usize> = attempt.refused.iter().map(|(at, _)| *at).collect();
        for (at, refusal) in attempt.refused {
            match outcomes.get_mut(at) {
                Some(Err(refusals)) => refusals.push(refusal),
                Some(outcome) => *outcome = Err(vec![refusal]),
                None => {}
            }
        }
        if refused.is_empty() {
            self.draft = attempt.draft;
            self.decided.changes.extend(attempt.decided.changes);
            self.decided.effects.extend(attempt.decided.effects);
        }
        refused
    }

    /// Tries each set for itself, again as long as another one was taken since.
    fn try_alone(&mut self, sets: &[OwnedSet], mut alone: Vec<usize>, outcomes: &mut [SetOutcome]) {
        for _ in 0..ROUNDS_MAX {
            let before = alone.len();
            alone.retain(|at| !self.try_together(sets, &[*at], outcomes).is_empty());
            if alone.is_empty() || alone.len() == before {
                return;
            }
        }
    }
}

/// A try of some sets on a draft of its own.
struct Attempt<'a> {
    context: DecisionContext<'a>,
    draft: Catalog,
    decided: Decided,
    /// The changes, each with the number of its set.
    told: Vec<(usize, OwnedChange)>,
    /// The refusals, each with the number of its set.
    refused: Vec<(usize, RefusedInstance)>,
    /// The instances that are made anew, because they exchange places with others.
    remade: BTreeSet<(ServiceName, InstanceName)>,
}

/// An instance that is not put yet, with its set.
type WaitingPut<'s> = (usize, &'s OwnedSet, &'s ListedInstance);

impl<'a> Attempt<'a> {
    fn run(draft: Catalog, context: DecisionContext<'a>, sets: &[(usize, &OwnedSet)]) -> Self {
        let decided = Decided::new(Reply::Done, Vec::new());
        let (told, refused, remade) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut attempt = Self { context, draft, decided, told, refused, remade };
        attempt.remove_unlisted(sets);
        let listed = sets.iter().flat_map(|(at, set)| set.instances.iter().map(|one| (*at, *set, one)));
        let mut waiting: Vec<WaitingPut<'_>> = listed.collect();
        attempt.put_all(&mut waiting);
        if !attempt.refused.is_empty() && attempt.release(&waiting) {
            attempt.put_all(&mut waiting);
        }
        attempt
    }

    fn remove_unlisted(&mut self, sets: &[(usize, &OwnedSet)]) {
        for (at, set) in sets.iter().filter(|(_, set)| set.is_whole) {
            let listed: BTreeSet<_> = set.instances.iter().map(ListedInstance::name).collect();
            let is_unlisted = |session: &&Arc<Session>| {
                let record = &session.record;
                record.owner == set.owner && !listed.contains(&(&record.service, &record.instance))
            };
            let unlisted: Vec<Arc<Session>> = self.draft.sessions().filter(is_unlisted).cloned().collect();
            for session in unlisted {
                let (service, instance) = (session.record.service.clone(), session.record.instance.clone());
                self.take(remove(&session));
                self.told.push((*at, OwnedChange { service, instance, kind: OwnedChangeKind::Removed }));
            }
        }
    }

    /// Puts all that can be put. An instance may take a place that another one gives up.
    fn put_all(&mut self, waiting: &mut Vec<WaitingPut<'_>>) {
        for _ in 0..ROUNDS_MAX {
            let before = waiting.len();
            self.refused.clear();
            waiting.retain(|(at, set, one)| match self.put(*at, set, one) {
                Ok(()) => false,
                Err(error) => {
                    self.refused.push((*at, one.refused(error)));
                    true
                }
            });
            if waiting.is_empty() || waiting.len() == before {
                return;
            }
        }
    }

    fn put(&mut self, at: usize, set: &OwnedSet, one: &ListedInstance) -> Result<(), Error> {
        let (service, instance) = one.name();
        let present = present(&self.draft, &set.owner, service, instance)?.cloned();
        let (decided, outcome) = match &present {
            Some(session) => put(&self.draft, session, &one.config, self.context)?,
            None => create(&self.draft, &set.owner, one.name(), &one.config, self.context)?,
        };
        if decided.changes.is_empty() {
            return Ok(());
        }
        self.take(decided);
        let (revision, total, changes) = (outcome.revision, outcome.changes_total, outcome.changes);
        let is_new = present.is_none() && !self.remade.contains(&(service.clone(), instance.clone()));
        let kind = if is_new {
            OwnedChangeKind::Created { total }
        } else {
            OwnedChangeKind::Changed { revision, total, changes }
        };
        self.told.push((at, OwnedChange { service: service.clone(), instance: instance.clone(), kind }));
        Ok(())
    }

    /// Takes the present instances away that wait for each other's places, so that they are made anew. Returns false if
    /// there are none.
    fn release(&mut self, waiting: &[WaitingPut<'_>]) -> bool {
        let conflicts = self.refused.iter().map(|(_, refused)| refused.error.kind() == Kind::Conflict);
        let conflicts: Vec<bool> = conflicts.collect();
        for ((_, set, one), _) in waiting.iter().zip(conflicts).filter(|(_, conflicts)| *conflicts) {
            let (service, instance) = one.name();
            if let Ok(Some(session)) =
                present(&self.draft, &set.owner, service, instance).map(Option::<&Arc<_>>::cloned)
            {
                self.take(remove(&session));
                self.remade.insert((service.clone(), instance.clone()));
            }
        }
        !self.remade.is_empty()
    }

    fn take(&mut self, decided: Decided) {
        decided.changes.iter().for_each(|change| self.draft.absorb(change));
        self.decided.changes.extend(decided.changes);
        self.decided.effects.extend(decided.effects);
    }
}
