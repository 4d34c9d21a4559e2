//! Waits for the outcome of a maintenance request: until its page or every backend answers, or time is up, or a newer request
//! takes its place.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::oneshot;

use crate::domain::{Error, Kind, Span};

use super::operations::{Awaited, SettleMaintenance, Verification, timed_out};
use super::{Command, Registry, Reply};

/// How long a request waits.
const PATIENCE: Duration = Duration::from_mins(1);
/// From one try to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one try takes at most.
const TRY: Span = Span::from_secs(5);
/// How many pages are tried at once.
const AT_ONCE_MAX: usize = 16;

impl Registry {
    /// Has a maintenance request decided, tells `accepted` what came of that, and waits for the outcome, which is told as an
    /// event. To be run as a task of its own: a caller that goes meanwhile must not leave a request that nobody settles.
    pub async fn maintain(self, command: Command, accepted: oneshot::Sender<Result<(), Error>>) {
        let decided = self.execute_one(command).await;
        let (verification, answer) = match decided {
            Ok(Reply::Maintenance(verification)) => (Some(verification), Ok(())),
            Ok(_) => (None, Ok(())),
            Err(refused) => (None, Err(refused)),
        };
        // Whoever asked may have gone.
        let _ = accepted.send(answer);
        if let Some(verification) = verification {
            tokio::select! {
                _ = self.verify(&verification) => {}
                () = self.until_stopping() => {}
            }
        }
    }
}

pub(super) async fn run(registry: &Registry, verification: &Verification) -> Result<(), Error> {
    let reached = tokio::time::timeout(PATIENCE, reach(registry, verification)).await;
    let reached = match reached {
        Ok(Err(cancelled)) => return Err(cancelled),
        Ok(Ok(())) => true,
        Err(_) => false,
    };
    let settle = SettleMaintenance { key: verification.key, ticket: verification.ticket, reached };
    registry.execute_one(settle.into()).await?;
    if reached { Ok(()) } else { Err(Error::new(Kind::Unavailable, timed_out(verification.kind))) }
}

/// Tries until all that is awaited has answered once. Fails only when the request no longer waits.
async fn reach(registry: &Registry, verification: &Verification) -> Result<(), Error> {
    let mut answered: HashSet<Awaited> = HashSet::new();
    loop {
        let awaited = verification.awaited(&registry.catalog())?;
        let missing: Vec<Awaited> = awaited.into_iter().filter(|awaited| !answered.contains(awaited)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let tries: Vec<_> = missing.into_iter().map(|page| if_it_answers(registry, page)).collect();
        let tried: Vec<Option<Awaited>> = stream::iter(tries).buffer_unordered(AT_ONCE_MAX).collect().await;
        let silent = tried.contains(&None);
        answered.extend(tried.into_iter().flatten());
        if silent {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn if_it_answers(registry: &Registry, awaited: Awaited) -> Option<Awaited> {
    let (page, trust) = &awaited;
    let answered = registry.traffic.get(page, TRY, *trust).await.is_ok_and(|fetched| fetched.status < 500);
    answered.then_some(awaited)
}
