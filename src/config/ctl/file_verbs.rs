//! The words of the verbs of ctl that write or read files: backups and exports.

use std::path::PathBuf;

use clap::Args;

use crate::config::RestoreOptions;

/// A backup.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The file to write; only its owner can read it
    pub file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// A restore.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
    /// The store of the server, which must not run
    #[arg(long, value_name = "URL", env = "SIGNALBOX_STORE_URL", default_value = "sqlite://signalbox.db")]
    pub store_url: String,
    /// The permissions.
    #[command(flatten)]
    pub options: RestoreOptions,
}

/// An export.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// The file to write; standard output if left out
    pub file: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// An import.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The export
    pub file: PathBuf,
    /// Show the outcome for each instance, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Import the instances that are not refused; otherwise one refusal leaves everything as it was
    #[arg(long)]
    pub partial: bool,
}
