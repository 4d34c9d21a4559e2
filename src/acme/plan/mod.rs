//! The decisions about certificates: without input and output, clock or randomness.

mod challenge;
mod names;
mod persistent;
mod schedule;
mod wanted;

pub(super) use challenge::{ChallengeKind, choose};
pub(super) use names::{FailedAttempt, Job, NamePlan, NameRecord, Work};
pub use names::{NameStatus, NameStep};
pub(super) use persistent::PersistentFacts;
pub use persistent::PersistentRecord;
pub(super) use schedule::{RenewalWindow, Validity};
pub(super) use wanted::wanted;
