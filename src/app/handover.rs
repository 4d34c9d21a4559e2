//! The hand-over between two servers on one database: the next one waits until the old one has let the database go, and
//! the old one keeps the proxy's ports until the next one serves.

use std::time::Duration;

use anyhow::Context;

use crate::clock;
use crate::store::{self, OpenError, Sqlite, SuccessorClaim};

/// The pause before another attempt to open the database.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// The maximum time that a stopping server keeps its ports for the next one.
const KEEP_MAX: Duration = Duration::from_secs(10);

/// Waits for the database at `url`, for at most `wait`, and opens it. Returns it with the claim that shows the old server
/// that this one starts; neither if there is nothing to wait for.
pub(super) async fn await_store(
    url: &str,
    wait: Option<Duration>,
) -> anyhow::Result<(Option<Sqlite>, Option<SuccessorClaim>)> {
    let Some(wait) = wait else { return Ok((None, None)) };
    let Some(claim) = SuccessorClaim::take(url)? else { return Ok((None, None)) };
    let began = clock::instant();
    let mut is_told = false;
    loop {
        match Sqlite::open(url).await {
            Ok(store) => return Ok((Some(store), Some(claim))),
            Err(OpenError::InUse(_)) if clock::instant().saturating_duration_since(began) < wait => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!(
                        seconds = wait.as_secs(),
                        "another server has the database {url}; waiting until it stops"
                    );
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error).with_context(|| format!("waited {} s", wait.as_secs())),
        }
    }
}

/// Returns the database that was waited for, or opens the one at `url`.
pub(super) async fn open_store(awaited: Option<Sqlite>, url: &str) -> Result<Sqlite, OpenError> {
    match awaited {
        Some(store) => Ok(store),
        None => Sqlite::open(url).await,
    }
}

/// Waits until the next server on the database at `url` serves, if there is one.
pub(super) async fn await_successor(url: &str) {
    let serves = async {
        while store::has_successor(url) {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    if tokio::time::timeout(KEEP_MAX, serves).await.is_err() {
        tracing::warn!("the next server has the database and does not serve yet; the ports close all the same");
    }
}
