//! Waits for the outcome of a maintenance request. The wait ends when the page or all backends have answered, when the
//! time is up, or when a newer request replaces this one.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::oneshot;

use crate::domain::{Error, Kind, Pending, RouteId, SessionKey, Span};

use crate::registry::audit::CallOrigin;
use crate::registry::calls::Command;
use crate::registry::commands::decision::{Reply, Verification};
use crate::registry::commands::maintenance::{CompleteMaintenance, timed_out};

use super::awaited::{Awaited, awaited};
use super::registry::Registry;

/// The longest time that a request waits.
const PATIENCE: Duration = Duration::from_mins(1);
/// The pause between two rounds of attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The time limit of one attempt.
const TRY: Span = Span::from_secs(5);
/// The number of pages that are tried at the same time.
const AT_ONCE_MAX: usize = 16;

impl Registry {
    /// Waits for the outcome of an accepted maintenance request, 60 s at most.
    ///
    /// # Errors
    /// `Unavailable` when a page does not answer in time, `Conflict` when a newer request cancels this one.
    pub async fn verify(&self, verification: &Verification) -> Result<(), Error> {
        run(self, verification).await
    }

    /// Returns a task for each maintenance request that waited when the server ended. Call this before the first
    /// command, and spawn each task.
    pub fn resume(&self) -> Vec<impl Future<Output = ()> + Send + use<>> {
        resume(self)
    }

    /// Executes a maintenance request, sends the decision to `accepted`, and waits for the outcome, which is sent as an
    /// event. Spawn this as a task of its own, because the request must get its outcome even if the caller disconnects.
    pub async fn maintain(self, origin: CallOrigin, command: Command, accepted: oneshot::Sender<Result<(), Error>>) {
        let decided = self.execute_one(origin, command).await;
        let (verification, answer) = match decided {
            Ok(Reply::Maintenance(verification)) => (Some(verification), Ok(())),
            Ok(_) => (None, Ok(())),
            Err(refused) => (None, Err(refused)),
        };
        // The caller may have stopped waiting.
        let _ = accepted.send(answer);
        if let Some(verification) = verification {
            tokio::select! {
                _ = self.verify(&verification) => {}
                () = self.until_stopping() => {}
            }
        }
    }
}

/// Returns a task for each maintenance request that waited when the server ended. Each waits as long as a new request
/// would. The outcome is sent only as an event, because the connections of the callers are closed.
fn resume(registry: &Registry) -> Vec<impl Future<Output = ()> + Send + use<>> {
    let catalog = registry.catalog();
    let waiting = catalog.sessions().flat_map(|session| session.pending.iter().map(|pending| (session.key, pending)));
    waiting.map(|(key, pending)| verify_until_stopping(registry.clone(), key, pending.clone())).collect()
}

async fn verify_until_stopping(registry: Registry, key: SessionKey, pending: Pending) {
    let verification = Verification::of(key, &pending);
    tokio::select! {
        _ = registry.verify(&verification) => {}
        () = registry.until_stopping() => {}
    }
}

async fn run(registry: &Registry, verification: &Verification) -> Result<(), Error> {
    let reached = tokio::time::timeout(PATIENCE, reach(registry, verification)).await;
    let reached = match reached {
        Ok(Err(cancelled)) => return Err(cancelled),
        Ok(Ok(())) => true,
        Err(_) => false,
    };
    let complete = CompleteMaintenance { key: verification.key, ticket: verification.ticket, reached };
    registry.execute_one(CallOrigin::SERVER, complete.into()).await?;
    if reached { Ok(()) } else { Err(Error::new(Kind::Unavailable, timed_out(verification.kind))) }
}

/// Tries all awaited pages until each has answered once, a bounded number at a time. Fails only when the request no
/// longer waits.
async fn reach(registry: &Registry, verification: &Verification) -> Result<(), Error> {
    let mut answered: HashSet<Awaited> = HashSet::new();
    loop {
        let (mut all_did, mut silent, mut after) = (true, false, Some(RouteId(0)));
        while let Some(from) = after {
            let (pages, more) = awaited(verification, &registry.catalog(), &registry.rules.load().defaults, from)?;
            let missing: Vec<Awaited> = pages.into_iter().filter(|awaited| !answered.contains(awaited)).collect();
            all_did &= missing.is_empty();
            let tries: Vec<_> = missing.into_iter().map(|page| probe_once(registry, verification.key, page)).collect();
            let tried: Vec<Option<Awaited>> = stream::iter(tries).buffer_unordered(AT_ONCE_MAX).collect().await;
            silent |= tried.contains(&None);
            answered.extend(tried.into_iter().flatten());
            after = more;
            tokio::task::yield_now().await;
        }
        if all_did {
            return Ok(());
        }
        if silent {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Tries one page. Without a permit for the probe there is no attempt, and the next round tries again.
async fn probe_once(registry: &Registry, session: SessionKey, awaited: Awaited) -> Option<Awaited> {
    let _permit = registry.probes.begin(session).ok()?;
    let fetched = registry.traffic.get(session, &awaited.page, TRY, awaited.trust).await.ok()?;
    awaited.accepts(fetched.status).then_some(awaited)
}
