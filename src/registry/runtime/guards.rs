//! Applies with a guard: the counts that an apply begins with, and the task that looks at them.
//!
//! Invariants: the task looks once in a second, and only while an apply with a guard waits; `commands/guard` decides.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{Catalog, Confirmation, Error, Failures, Guard, RouteId, Session, SessionKey};

use crate::registry::audit::CallOrigin;
use crate::registry::commands::apply::ConfigApply;
use crate::registry::commands::confirm::GuardTripped;
use crate::registry::commands::decision::AppliedView;
use crate::registry::commands::guard::{touched, verdict};
use crate::registry::ports::Traffic;

use super::registry::Registry;

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Registry {
    /// Executes an apply, as [`Registry::execute`] does. One with a guard begins with the counts of this moment.
    ///
    /// # Errors
    /// The refusal.
    pub async fn apply(&self, origin: CallOrigin, mut apply: ConfigApply) -> Result<AppliedView, Error> {
        let mut has_guard = false;
        if let Some(seen) = apply.confirm.as_mut().and_then(|confirm| confirm.guard.as_mut()) {
            let catalog = self.catalog();
            *seen = self
                .run_long_read(|| counts(serving(&catalog, catalog.subject(&apply.subject)?), &*self.traffic))
                .await?;
            has_guard = true;
        }
        let applied = self.call(origin, apply).await;
        if has_guard {
            self.guards.notify_one();
        }
        applied
    }

    /// Watches the applies with a guard until `stop` is cancelled.
    pub async fn watch_guards(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.look_at_guards()).await;
    }

    async fn look_at_guards(&self) {
        loop {
            if self.catalog().guarded().next().is_none() {
                self.guards.notified().await;
                continue;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            for tripped in self.tripped() {
                // An error means that the server is stopping or cannot store; the next look tries again.
                let _ = self.execute_one(CallOrigin::SERVER, tripped.into()).await;
            }
        }
    }

    /// Returns the applies to take back.
    fn tripped(&self) -> Vec<GuardTripped> {
        let catalog = self.catalog();
        let look = |session: &Session| {
            let waits = session.confirmation.as_deref()?;
            let guard = waits.guard.as_ref()?;
            let reason = verdict(guard.before, since(session, waits, guard, &*self.traffic))?;
            Some(GuardTripped { key: session.key, id: waits.id.clone(), reason })
        };
        catalog.guarded().filter_map(|session| look(session)).collect()
    }
}

/// Returns the session whose routes serve: this one, or the one that it replaced, until the first apply.
fn serving<'a>(catalog: &'a Catalog, session: &'a Session) -> &'a Session {
    catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key)).map_or(session, |replaced| &**replaced)
}

/// Returns the counts of all active routes of a session.
fn counts(session: &Session, traffic: &dyn Traffic) -> Result<BTreeMap<RouteId, Failures>, Error> {
    Ok(session.active.routes.keys().map(|id| (*id, count(session.key, *id, traffic))).collect())
}

fn count(session: SessionKey, route: RouteId, traffic: &dyn Traffic) -> Failures {
    let numbers = traffic.numbers(session, route);
    let failed = numbers.status_codes.range(500..=599).map(|(_, count)| *count).sum();
    Failures { requests: numbers.requests, failed }
}

/// Returns the counts since an apply, of all routes that it touched. After a restart all counts begin anew.
fn since(session: &Session, waits: &Confirmation, guard: &Guard, traffic: &dyn Traffic) -> Failures {
    let of = |(id, start): (RouteId, Failures)| count(session.key, id, traffic).since(start);
    if guard.routes.is_empty() {
        let touched = touched(&session.active, waits.before.difference(&session.active).edits());
        return touched.into_iter().map(|id| of((id, Failures::default()))).fold(Failures::default(), Failures::plus);
    }
    guard.routes.iter().map(|counted| of(*counted)).fold(Failures::default(), Failures::plus)
}
