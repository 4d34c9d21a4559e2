//! A pool: the endpoints that share the requests for one host, path and priority.
//!
//! What must hold: its members are of one service (the catalog admits no others), oldest session first, none twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::domain::{RouteId, SessionKey};

use super::{Endpoint, Worker};

/// At least one endpoint.
#[derive(Debug)]
pub struct Pool {
    members: Box<[Arc<Endpoint>]>,
    // Only where there is something to take turns between.
    turns: Option<Arc<Turns>>,
}

/// Whose turn it is, for each worker by itself: workers do not write to each other's memory.
#[derive(Debug, Default)]
struct Turns(OnceLock<Box<[Turn]>>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Turn(AtomicUsize);

impl Pool {
    /// Its members, oldest session first.
    pub fn members(&self) -> &[Arc<Endpoint>] {
        &self.members
    }

    /// The worker's next turn: 0, 1, 2, …
    pub fn turn(&self, worker: Worker) -> usize {
        let Some(turns) = &self.turns else { return 0 };
        let turns = turns.0.get_or_init(|| worker.each());
        worker.own(turns).map_or(0, |turn| turn.0.fetch_add(1, Ordering::Relaxed))
    }

    /// A pool with `endpoint` in it, in place of the same route's old one.
    pub(super) fn with(old: Option<&Pool>, endpoint: &Arc<Endpoint>) -> Self {
        let key = (endpoint.session, endpoint.id());
        let mut members: Vec<_> = Self::others(old, key).cloned().collect();
        let at = members.partition_point(|member| (member.session, member.id()) < key);
        members.insert(at, Arc::clone(endpoint));
        Self::of(old, members)
    }

    /// The pool without a route; `None` if nothing is left.
    pub(super) fn without(&self, session: SessionKey, id: RouteId) -> Option<Self> {
        let members: Vec<_> = Self::others(Some(self), (session, id)).cloned().collect();
        (!members.is_empty()).then(|| Self::of(Some(self), members))
    }

    fn others(old: Option<&Pool>, key: (SessionKey, RouteId)) -> impl Iterator<Item = &Arc<Endpoint>> {
        let members = old.map_or(&[][..], |pool| &pool.members);
        members.iter().filter(move |member| (member.session, member.id()) != key)
    }

    fn of(old: Option<&Pool>, members: Vec<Arc<Endpoint>>) -> Self {
        let kept = old.and_then(|pool| pool.turns.clone());
        let turns = (members.len() > 1).then(|| kept.unwrap_or_default());
        Self { members: members.into(), turns }
    }
}
