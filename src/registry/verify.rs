//! Waits for the outcome of a maintenance request: until every page answers, or time is up, or a newer request
//! takes its place.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::oneshot;

use crate::domain::{Error, Kind, PageUrl, Span};

use super::operations::{SettleMaintenance, Verification, cancelled, timed_out};
use super::ports::Trust;
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

/// Tries until all pages have answered once. Fails only when the request no longer waits.
async fn reach(registry: &Registry, verification: &Verification) -> Result<(), Error> {
    let mut missing: Vec<&Awaited> = verification.pages.iter().collect();
    loop {
        still_pending(registry, verification)?;
        let tries: Vec<_> = missing.into_iter().map(|page| unless_it_answers(registry, page)).collect();
        let tried: Vec<Option<&Awaited>> = stream::iter(tries).buffer_unordered(AT_ONCE_MAX).collect().await;
        missing = tried.into_iter().flatten().collect();
        if missing.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A page, and whose certificate will do.
type Awaited = (PageUrl, Trust);

async fn unless_it_answers<'a>(registry: &'a Registry, awaited: &'a Awaited) -> Option<&'a Awaited> {
    let (page, trust) = awaited;
    let answered = registry.traffic.get(page, TRY, *trust).await.is_ok_and(|fetched| fetched.status < 500);
    (!answered).then_some(awaited)
}

fn still_pending(registry: &Registry, verification: &Verification) -> Result<(), Error> {
    let catalog = registry.catalog();
    let session = catalog.by_key(verification.key).ok_or(Error::invalid_session())?;
    let waits = session.pending.iter().any(|pending| pending.ticket == verification.ticket);
    if waits { Ok(()) } else { Err(cancelled()) }
}
