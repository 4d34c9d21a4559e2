//! The counts of the writer's work, for metrics.
//!
//! Invariant: a reader holds up the writer for no longer than it takes to copy a few numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{Error, Kind};
use crate::duration_buckets::DurationBuckets;
use crate::registry::audit::CallOrigin;
use crate::registry::calls::Command;
use crate::registry::commands::decision::Reply;

/// The outcome of a command that succeeded.
pub(super) const OK: &str = "ok";
/// The bounds of the histogram of commits, in nanoseconds.
static COMMIT_BOUNDS: [u64; 11] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// A command that was decided, and is stored and published if it succeeded; or one that was refused before.
#[derive(Debug)]
pub struct EndedCommand<'a> {
    /// The name of the command.
    pub name: &'static str,
    /// The origin of the call.
    pub origin: &'a CallOrigin,
    /// `ok`, or the kind of the refusal.
    pub outcome: &'static str,
    /// The revision of the registry behind it.
    pub revision: u64,
    /// The beginning of the decision.
    pub began: Instant,
}

/// A function that is called with each command of a caller. It must be quick, because the writer waits, or the caller's interface.
pub type CommandObserver = Box<dyn Fn(&EndedCommand<'_>) + Send + Sync>;

/// The counts of the writer's work.
#[derive(Default)]
pub(super) struct WriterCounts {
    totals: Mutex<WriterTotals>,
    observer: OnceLock<CommandObserver>,
}

/// The work of the writer since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct WriterTotals {
    /// The number of commands by name and outcome.
    pub commands: BTreeMap<(&'static str, &'static str), u64>,
    /// The times of commits.
    pub commits: DurationBuckets<11>,
    /// The number of commits that failed.
    pub failed_commits: u64,
}

impl Default for WriterTotals {
    fn default() -> Self {
        Self { commands: BTreeMap::new(), commits: DurationBuckets::new(&COMMIT_BOUNDS), failed_commits: 0 }
    }
}

impl WriterCounts {
    /// Has a function called with each command from now on. Only the first call counts.
    pub(super) fn observe(&self, observer: CommandObserver) {
        let _ = self.observer.set(observer);
    }

    /// Counts the commands of a caller with their answers. Their decision began at `began`.
    pub(super) fn answered(
        &self,
        (origin, commands): (&CallOrigin, &[Command]),
        answers: &[Result<Reply, Error>],
        (began, revision): (Instant, u64),
    ) {
        // Its interface may have given up: the deadline of the call has passed.
        if !origin.mark.writer_counts() {
            return;
        }
        let outcome = |answer: &Result<Reply, Error>| answer.as_ref().map_or_else(|error| error.kind().word(), |_| OK);
        let mut totals = self.lock();
        for (command, answer) in commands.iter().zip(answers) {
            totals.count(command, outcome(answer));
        }
        drop(totals);
        let Some(observer) = self.observer.get() else { return };
        for (command, answer) in commands.iter().zip(answers) {
            let (name, outcome) = (command.name(), outcome(answer));
            observer(&EndedCommand { name, origin, outcome, revision, began });
        }
    }

    /// Tells the observer of a command that was refused before it was decided on.
    pub(super) fn tell(&self, command: &EndedCommand<'_>) {
        self.observer.get().into_iter().for_each(|observer| observer(command));
    }

    /// Counts commands of the server itself, which are refused only if they cannot be stored.
    pub(super) fn carried_out(&self, commands: &[Command], stored: bool) {
        let outcome = if stored { OK } else { Kind::Unavailable.word() };
        let mut totals = self.lock();
        commands.iter().for_each(|command| totals.count(command, outcome));
    }

    /// Counts a commit that took this time.
    pub(super) fn committed(&self, took: Duration, is_stored: bool) {
        let mut totals = self.lock();
        totals.commits.record(took);
        totals.failed_commits += u64::from(!is_stored);
    }

    /// Returns the counts of this moment.
    pub(super) fn totals(&self) -> WriterTotals {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, WriterTotals> {
        // Nothing panics while it holds the lock.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriterTotals {
    fn count(&mut self, command: &Command, outcome: &'static str) {
        *self.commands.entry((command.name(), outcome)).or_default() += 1;
    }
}
