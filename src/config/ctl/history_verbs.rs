//! The words of the verbs of `signalbox ctl` about revisions.

use clap::Args;

use super::instance_arg::InstanceArg;

/// The revisions to show.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// The instance
    #[arg(value_name = "SERVICE/INSTANCE")]
    pub instance: InstanceArg,
    /// The number of a revision to show with its changes
    pub number: Option<u64>,
    /// Compare it with this revision, in place of the active configuration
    #[arg(long, value_name = "NUMBER", requires = "number")]
    pub against: Option<u64>,
}

/// A revision to restore.
#[derive(Clone, Debug, Args)]
pub struct RevertArgs {
    /// The instance
    #[arg(value_name = "SERVICE/INSTANCE")]
    pub instance: InstanceArg,
    /// The number of the revision; 0 is the empty configuration
    pub number: u64,
    /// Restore it only at this revision of the instance's session; otherwise the exit status is 5
    #[arg(long, value_name = "REVISION")]
    pub expect_revision: Option<u64>,
    /// The reason, for the history and the audit
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}
