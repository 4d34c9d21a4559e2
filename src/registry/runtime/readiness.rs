//! Tells whether the server can do its work: carry traffic, decide on commands, and store them.
//!
//! Invariant: the answer comes within little more than a second and describes the present state, not an earlier one.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::domain::{Span, Time};

use crate::registry::ports::Store;

use super::registry::{Registry, StoreQuestion};

/// The time that a part has to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The interval between two looks at a silent part.
const PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two attempts to write to the store, for any number of questions.
const TRY_EVERY: Span = Span::from_secs(1);
/// The number of questions that may wait; for further ones the writer counts as silent.
const ASKING_MAX: usize = 64;

pub(super) fn channel() -> (mpsc::Sender<StoreQuestion>, mpsc::Receiver<StoreQuestion>) {
    mpsc::channel(ASKING_MAX)
}

impl Registry {
    /// Checks the writer, the store, the workers of the proxy and the health checker.
    ///
    /// # Errors
    /// The parts that do not work, in words for the caller; the log has the reasons.
    pub async fn readiness(&self) -> Result<(), Vec<String>> {
        if self.is_draining() {
            return Err(vec!["the server is stopping".to_owned()]);
        }
        let (stored, silent) = tokio::join!(self.can_store(), self.silent_parts());
        let silent = silent.into_iter().map(|part| format!("{part} does not move"));
        let reasons: Vec<String> = stored.err().map(str::to_owned).into_iter().chain(silent).collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    async fn can_store(&self) -> Result<(), &'static str> {
        let (asked, answer) = oneshot::channel();
        if self.store_questions.try_send(asked).is_err() {
            return Err("the writer does not answer");
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("nothing can be stored now; the log says why"),
            Ok(Err(_)) | Err(_) => Err("the writer does not answer"),
        }
    }

    async fn silent_parts(&self) -> Vec<String> {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !self.traffic.silent_parts().is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        });
        if waited.await.is_ok() { Vec::new() } else { self.traffic.silent_parts() }
    }
}

/// The state of the store as the writer knows it.
#[derive(Debug, Default)]
pub(super) struct StoreHealth {
    tried: Option<Time>,
    fault: Option<String>,
}

impl StoreHealth {
    /// Tries to write to the store, unless the last attempt was a moment ago. Returns true if changes can be stored.
    pub(super) async fn find_out(&mut self, store: &mut impl Store) -> bool {
        let now = clock::now();
        if self.tried.is_none_or(|tried| now.since(tried) >= TRY_EVERY) {
            let found = store.probe().await;
            self.tried = Some(clock::now());
            self.note(found.err().map(|error| error.to_string()));
        }
        self.fault.is_none()
    }

    /// Checks without writing that the store is still there.
    pub(super) fn look(&mut self, store: &mut impl Store) {
        if let Err(error) = store.look() {
            self.note(Some(error.to_string()));
        }
    }

    /// Remembers the state of the store, and logs a change of it.
    fn note(&mut self, fault: Option<String>) {
        match (&self.fault, &fault) {
            (None, Some(error)) => {
                tracing::error!(%error, "nothing can be stored; commands are refused, traffic flows on");
            }
            (Some(_), None) => tracing::info!("changes can be stored again"),
            (Some(before), Some(error)) if before != error => tracing::error!(%error, "nothing can be stored"),
            _ => {}
        }
        self.fault = fault;
    }
}
