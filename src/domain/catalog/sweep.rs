//! Compares the indexes and counts of a catalog with its sessions.
//!
//! The registry runs it after batches in debug and test builds. It reads every session and active route.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use crate::domain::{Claim, RouteId, SessionKey};

use super::Catalog;

impl Catalog {
    /// Returns the first difference between an index or count and the sessions.
    pub fn disagreement(&self) -> Option<String> {
        self.session_index_fault()
            .or_else(|| self.claim_fault())
            .or_else(|| self.count_fault())
            .or_else(|| self.histories.disagreement(|instance| self.has_session(instance)))
            .or_else(|| self.confirmations.disagreement(self.sessions.values()))
    }

    /// Checks the indexes that lead to sessions: each session is in them, and they have no other entries.
    fn session_index_fault(&self) -> Option<String> {
        let (mut instances, mut connections) = (0, 0);
        for (key, session) in &self.sessions {
            let record = &session.record;
            let instance = (record.service.clone(), record.instance.clone());
            let index = if record.replaced.is_some() { &self.replaced } else { &self.instances };
            instances += 1;
            connections += usize::from(session.bound.is_some());
            let is_bound = session.bound.is_none_or(|connection| self.bound.get(&connection) == Some(key));
            let agrees = session.key == *key
                && *key <= SessionKey(self.last_key)
                && self.ids.get(&record.id) == Some(key)
                && index.get(&instance) == Some(key)
                && is_bound
                && session.pending.iter().all(|pending| pending.ticket.0 <= self.last_ticket);
            if !agrees {
                return Some(format!("an index does not lead to session {key:?}"));
            }
        }
        let indexed = [self.ids.len(), self.instances.len() + self.replaced.len(), self.bound.len()];
        let expected = [instances, instances, connections];
        (indexed != expected).then(|| format!("the indexes have {indexed:?} entries, the sessions {expected:?}"))
    }

    /// Checks the claims: they are those of the active routes, each under the service of its session.
    fn claim_fault(&self) -> Option<String> {
        let mut held: HashMap<Claim, HashSet<(SessionKey, RouteId)>> = HashMap::new();
        for (key, session) in &self.sessions {
            for route in session.active.routes.values() {
                for claim in route.claims() {
                    let service = self.claims.get(&claim).map(|claimants| &claimants.service);
                    if service != Some(&session.record.service) {
                        return Some(format!("the claim {claim:?} of session {key:?} is under {service:?}"));
                    }
                    held.entry(claim).or_default().insert((*key, route.id));
                }
            }
        }
        let indexed = self.claims.iter().map(|(claim, found)| (claim.clone(), found.routes.iter().copied().collect()));
        difference("claims", &indexed.collect(), &held)
    }

    /// Checks the numbers of active routes, of sessions per origin and of sessions per registration token.
    fn count_fault(&self) -> Option<String> {
        let routes: usize = self.sessions.values().map(|session| session.active.routes.len()).sum();
        if routes != self.routes_active {
            return Some(format!("{} active routes are counted, the sessions have {routes}", self.routes_active));
        }
        let (mut origins, mut tokens) = (HashMap::new(), HashMap::new());
        for session in self.sessions.values() {
            if let Some(origin) = session.record.origin {
                *origins.entry(origin).or_default() += 1;
            }
            if let Some(token) = session.record.token.as_ref().filter(|_| session.record.replaced.is_none()) {
                *tokens.entry(token.clone()).or_default() += 1;
            }
        }
        let counted = self.origins.iter().map(|(origin, count)| (*origin, *count)).collect();
        difference("sessions per origin", &counted, &origins).or_else(|| {
            let counted = self.tokens.iter().map(|(token, count)| (token.clone(), *count)).collect();
            difference("sessions per token", &counted, &tokens)
        })
    }
}

fn difference<K: Eq + Hash + Debug, V: PartialEq + Debug>(
    what: &str,
    indexed: &HashMap<K, V>,
    expected: &HashMap<K, V>,
) -> Option<String> {
    let missing = expected.iter().find(|(key, value)| indexed.get(key) != Some(value));
    let surplus = indexed.keys().find(|key| !expected.contains_key(key));
    let missing = missing.map(|(key, value)| format!("{what}: {key:?} is {:?} instead of {value:?}", indexed.get(key)));
    missing.or_else(|| surplus.map(|key| format!("{what}: no session has {key:?}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{
        Change, ConnectionId, Edit, Host, InstanceName, PathPrefix, Route, Sections, ServiceName, SessionRecord, Time,
        TokenName,
    };

    fn catalog() -> Catalog {
        let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
        let token = Some(TokenName::parse("team-a").unwrap());
        let record = SessionRecord { token, ..SessionRecord::opened(service, instance, 1, Time(1)) };
        let route = Route {
            id: RouteId(1),
            name: None,
            domains: Host::parse_list("a.example").unwrap(),
            path: PathPrefix::parse("/").unwrap(),
            backend: crate::domain::BackendUrl::parse("http://127.0.0.1:80").unwrap(),
            priority: 0,
        };
        let edits = [Edit::Route(route.id, Some(Arc::new(route)))].into();
        let mut catalog = Catalog::default();
        catalog.absorb(&Change::Record(SessionKey(1), Arc::new(record)));
        catalog.absorb(&Change::Bind(SessionKey(1), ConnectionId(7)));
        catalog.absorb(&Change::Apply { key: SessionKey(1), sections: Sections::ALL, edits });
        catalog
    }

    #[test]
    fn a_catalog_that_absorbed_changes_agrees_with_its_sessions() {
        assert_eq!(catalog().disagreement(), None);
    }

    #[test]
    fn each_broken_index_and_count_is_found() {
        let breaks: [fn(&mut Catalog); 9] = [
            |broken| broken.ids.clear(),
            |broken| broken.instances.clear(),
            |broken| broken.bound.clear(),
            |broken| _ = broken.bound.insert(ConnectionId(8), SessionKey(1)),
            |broken| broken.claims.clear(),
            |broken| broken.tokens.clear(),
            |broken| broken.routes_active += 1,
            |broken| broken.last_key = 0,
            |broken| broken.sessions.clear(),
        ];
        for (at, break_it) in breaks.iter().enumerate() {
            let mut broken = catalog();
            break_it(&mut broken);
            assert!(broken.disagreement().is_some(), "fault {at}");
        }
    }
}
