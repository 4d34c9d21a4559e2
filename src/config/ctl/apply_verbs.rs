//! The words of the verbs of `signalbox ctl` about applies, and about those that wait for their confirmation.

use std::path::PathBuf;

use clap::Args;

use super::instance_arg::InstanceArg;

/// An apply.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The instance
    #[arg(value_name = "SERVICE/INSTANCE")]
    pub instance: InstanceArg,
    /// Only these sections: routes, headers, options, health, ratelimit, circuit
    #[arg(long, value_name = "SECTIONS", value_delimiter = ',')]
    pub sections: Vec<String>,
    /// Apply only at this revision of the instance; otherwise the exit status is 5
    #[arg(long, value_name = "REVISION")]
    pub expect_revision: Option<u64>,
    /// Put the whole configuration of this file, TOML or JSON: creates or changes an instance without a client
    #[arg(long, short, value_name = "FILE", conflicts_with = "sections")]
    pub file: Option<PathBuf>,
    /// Show the changes that the file would make, and make none
    #[arg(long, requires = "file")]
    pub dry_run: bool,
    /// Only create: the instance must not exist yet
    #[arg(long, requires = "file", conflicts_with = "expect_revision")]
    pub new: bool,
    /// Take the apply back after this time, 1s to 24h, unless it is confirmed
    #[arg(long, value_name = "DURATION", conflicts_with = "file")]
    pub confirm_within: Option<String>,
    /// Take the apply back at once when the share of 5xx on the changed routes rises by 5 points over 50 requests
    #[arg(long, requires = "confirm_within")]
    pub guard: bool,
    /// The reason, for the history and the audit
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub reason: Option<String>,
}

/// An apply that waits for its confirmation.
#[derive(Clone, Debug, Args)]
pub struct ConfirmationArgs {
    /// The id that the apply told
    pub id: String,
}
