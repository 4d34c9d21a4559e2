//! Permits for probes: those of backend tests and of maintenance requests.
//!
//! Invariant: probes under way are bounded, in all and for each session. Any number of sessions with many probes leaves
//! room for sessions that come later ([`may_take_another`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Kind, SessionKey, may_take_another};

/// The number of probes that may be under way.
const PROBES_MAX: usize = 512;
/// The number of probes of one session that may be under way.
const PER_SESSION_MAX: usize = 32;

/// The probes under way. Cheap to clone; all clones share one state.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbePermits(Arc<Mutex<UnderWay>>);

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    of: HashMap<SessionKey, usize>,
}

/// A permit for one probe. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct ProbePermit {
    session: SessionKey,
    probes: ProbePermits,
}

impl ProbePermits {
    /// Takes a permit for a probe of a session.
    ///
    /// # Errors
    /// `Limited`, with the bound that was reached, when there is no permit now.
    pub(super) fn begin(&self, session: SessionKey) -> Result<ProbePermit, Error> {
        let mut under_way = self.lock();
        let own = under_way.of.get(&session).copied().unwrap_or(0);
        if own >= PER_SESSION_MAX {
            return Err(Error::new(
                Kind::Limited,
                format!(
                    "not tried: {own} probes of this session are under way (limit {PER_SESSION_MAX}); try again when some have ended"
                ),
            ));
        }
        let all = under_way.all;
        if !may_take_another(PROBES_MAX, all, own) {
            return Err(Error::new(
                Kind::Limited,
                format!(
                    "not tried: {all} probes are under way (limit {PROBES_MAX}), {own} of them this session's; try again in a moment"
                ),
            ));
        }
        under_way.all += 1;
        *under_way.of.entry(session).or_default() += 1;
        Ok(ProbePermit { session, probes: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ProbePermit {
    fn drop(&mut self) {
        let mut under_way = self.probes.lock();
        under_way.all = under_way.all.saturating_sub(1);
        if let Some(own) = under_way.of.get_mut(&self.session) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                under_way.of.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_many_as_may(probes: &ProbePermits, session: u64) -> Vec<ProbePermit> {
        std::iter::from_fn(|| probes.begin(SessionKey(session)).ok()).collect()
    }

    #[test]
    fn a_session_has_its_part_and_gets_it_back() {
        let probes = ProbePermits::default();
        let greedy = as_many_as_may(&probes, 1);
        assert_eq!(greedy.len(), PER_SESSION_MAX);
        let refused = probes.begin(SessionKey(1)).unwrap_err();
        assert!(refused.to_string().contains("32 probes of this session are under way (limit 32)"), "{refused}");
        assert!(probes.begin(SessionKey(2)).is_ok());
        drop(greedy);
        assert_eq!(as_many_as_may(&probes, 1).len(), PER_SESSION_MAX);
        assert!(probes.lock().of.is_empty());
    }

    #[test]
    fn sessions_that_probe_much_leave_room_for_who_comes_later_however_many_they_are() {
        for sessions in [16, 30, 40] {
            let probes = ProbePermits::default();
            let greedy: Vec<_> = (1..=sessions).map(|session| as_many_as_may(&probes, session)).collect();
            let taken = greedy.iter().map(Vec::len).sum::<usize>();
            assert!(taken < PROBES_MAX, "{sessions} sessions took all");
            assert!(greedy.iter().all(|own| !own.is_empty()), "each of {sessions} had some");
            let refused = probes.begin(SessionKey(1)).unwrap_err();
            assert!(refused.to_string().contains("32 probes of this session are under way (limit 32)"), "{refused}");
            let refused = probes.begin(SessionKey(sessions)).unwrap_err();
            let told = format!("{taken} probes are under way (limit 512), {} of them", greedy.last().unwrap().len());
            assert!(refused.to_string().contains(&told), "{refused}");
            assert!(probes.begin(SessionKey(1_000)).is_ok(), "beside {sessions} sessions");
        }
    }
}
