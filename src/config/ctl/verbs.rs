//! The verbs of `signalbox ctl` with their words.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::apply_verbs::{ApplyArgs, ConfirmationArgs};
use super::file_verbs::{BackupArgs, ExportArgs, ImportArgs, RestoreArgs};
use super::history_verbs::{HistoryArgs, RevertArgs};
use super::instance_arg::InstanceArg;
use super::offline_verbs::{CtlShell, TokenVerb};

/// The work that is asked for.
#[derive(Clone, Debug, Subcommand)]
pub enum CtlVerb {
    /// Show the totals of the server
    Status,
    /// List the services with their instances
    Services,
    /// List the instances, or show one
    Instances {
        /// The instance to show
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: Option<InstanceArg>,
    },
    /// List the active routes
    Routes {
        /// Only those of this instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: Option<InstanceArg>,
    },
    /// List the statistics of the active routes
    Stats {
        /// Only those of this instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: Option<InstanceArg>,
    },
    /// Explain to which backend a request would go
    Explain(ExplainArgs),
    /// Tell why a request failed; without an id, list the requests that failed lately
    Why(RequestArgs),
    /// Show requests as they end
    Tap(TapArgs),
    /// Show the changes that an apply of an instance would make
    Diff {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
    },
    /// Check that the staged configuration of an instance can be applied
    Validate {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
    },
    /// Print the whole configuration of an instance, in the form that `apply --file` takes
    Config {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
    },
    /// Make the staged changes of an instance active; with --file, put an instance that has no client
    Apply(ApplyArgs),
    /// Confirm an apply that waits for it; the apply then stays
    Confirm(ConfirmationArgs),
    /// Take an apply back that waits for its confirmation
    Cancel(ConfirmationArgs),
    /// List the revisions of an instance, or show one with its changes
    History(HistoryArgs),
    /// Restore a revision of an instance
    Revert(RevertArgs),
    /// Remove an instance that operators put
    Remove {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
        /// Remove it only at this revision; otherwise the exit status is 5
        #[arg(long, value_name = "REVISION")]
        expect_revision: Option<u64>,
    },
    /// Drop the staged changes of an instance
    Rollback {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
    },
    /// Drain an instance, or cancel its drain
    Drain(DrainArgs),
    /// Put routes of an instance into maintenance, or take them out
    #[command(subcommand)]
    Maintenance(MaintenanceVerb),
    /// End the session of an instance; its client may register again
    Evict {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
    },
    /// Show events as they happen
    Watch(WatchArgs),
    /// Show the busiest routes, again and again
    Top(TopArgs),
    /// List the certificates of the server
    Certs,
    /// Write a backup of the running server to a file
    Backup(BackupArgs),
    /// Put a backup in the place of a store, while no server runs; the same as `signalbox restore`
    Restore(RestoreArgs),
    /// Print all instances with their configurations as one JSON document
    Export(ExportArgs),
    /// Make instances that have no client of such a document
    Import(ImportArgs),
    /// List the changes of state, the latest first
    Audit(AuditArgs),
    /// Wait until something is so
    #[command(subcommand)]
    Wait(WaitVerb),
    /// Make the server read its configuration again
    Reload,
    /// Exit with 0 if the server is ready; for the health check of a container, without a token
    Health,
    /// Make a token
    #[command(subcommand)]
    Token(TokenVerb),
    /// Print the script that completes these words in a shell
    Completions {
        /// The shell
        shell: CtlShell,
    },
    /// Print the manual page of ctl
    Man {
        /// Write a page for each command into this folder instead
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

/// A request to explain.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The host, with or without a port
    pub host: String,
    /// The path; begins with /
    pub path: String,
    /// The method
    #[arg(long)]
    pub method: Option<String>,
    /// Explain as if this instance had applied what it has staged
    #[arg(long, value_name = "SERVICE/INSTANCE")]
    pub staged: Option<InstanceArg>,
}

/// The requests that are chosen.
#[derive(Clone, Debug, Args)]
pub struct FilterArgs {
    /// Only requests for a route of this service
    #[arg(long)]
    pub service: Option<String>,
    /// Only requests for a route of this instance
    #[arg(long, value_name = "SERVICE/INSTANCE")]
    pub instance: Option<InstanceArg>,
    /// Only requests for a route with this id
    #[arg(long, value_name = "ROUTE_ID")]
    pub route: Option<String>,
    /// Only requests for this host
    #[arg(long)]
    pub host: Option<String>,
    /// Only requests whose path begins with this
    #[arg(long)]
    pub path: Option<String>,
    /// Only requests with this status or a higher one
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u32).range(1..=599))]
    pub status_min: Option<u32>,
}

/// The requests that failed, to show.
#[derive(Clone, Debug, Args)]
pub struct RequestArgs {
    /// The id of a request, as the answer of the proxy shows it
    pub request_id: Option<String>,
    /// The maximum number of requests
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// The requests.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// The requests that end, to show.
#[derive(Clone, Debug, Args)]
pub struct TapArgs {
    /// The requests.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The share of these requests, in percent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub percent: u32,
    /// The maximum number of requests in a second
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub per_second: u32,
}

/// A drain.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// The instance
    #[arg(value_name = "SERVICE/INSTANCE")]
    pub instance: InstanceArg,
    /// The time in which the share of traffic falls to 0 %
    #[arg(long, default_value = "30s")]
    pub duration: String,
    /// Wait until the instance has no traffic and no open requests
    #[arg(long, conflicts_with = "cancel")]
    pub wait: bool,
    /// The longest time to wait
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub timeout: String,
    /// Cancel the drain instead
    #[arg(long)]
    pub cancel: bool,
}

/// Maintenance of an instance.
#[derive(Clone, Debug, Subcommand)]
pub enum MaintenanceVerb {
    /// Put routes into maintenance; clients see a page
    Enter {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
        /// The routes: ALL, route ids, paths or domains
        #[arg(value_name = "TARGET", default_value = "ALL")]
        targets: Vec<String>,
        /// The URL of the page to show
        #[arg(long, value_name = "URL")]
        page: Option<String>,
    },
    /// Take routes out of maintenance once their backends answer
    Exit {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
        /// The routes: ALL, route ids, paths or domains
        #[arg(value_name = "TARGET", default_value = "ALL")]
        targets: Vec<String>,
        /// Wait for the outcome
        #[arg(long)]
        wait: bool,
        /// The longest time to wait
        #[arg(long, value_name = "DURATION", default_value = "5m")]
        timeout: String,
    },
}

/// The events to show.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// Only events of this instance
    #[arg(value_name = "SERVICE/INSTANCE")]
    pub instance: Option<InstanceArg>,
    /// Begin with the events after this sequence
    #[arg(long, value_name = "SEQUENCE")]
    pub after: Option<u64>,
}

/// The live table.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// The time from one table to the next
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub interval: String,
    /// End after this many tables
    #[arg(long, value_name = "COUNT")]
    pub rounds: Option<u64>,
}

/// The changes of state to list.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Only changes of this instance
    #[arg(value_name = "SERVICE/INSTANCE")]
    pub instance: Option<InstanceArg>,
    /// Only changes of this service
    #[arg(long, conflicts_with = "instance")]
    pub service: Option<String>,
    /// Only this action, such as applied
    #[arg(long)]
    pub action: Option<String>,
    /// Only changes by session, operator or server, or by one of them, such as operator:ann
    #[arg(long)]
    pub actor: Option<String>,
    /// Only changes from this time on, such as 2026-11-30T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only changes up to this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The maximum number of records
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// A condition to wait for.
#[derive(Clone, Debug, Subcommand)]
pub enum WaitVerb {
    /// Wait until an instance has no traffic and no open requests, or is gone
    Drained {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
        /// The patience.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Wait until all routes of an instance take requests: healthy, breaker closed, not in maintenance
    Healthy {
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
        /// The patience.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Wait until an instance has this revision or a later one
    Revision {
        /// The revision
        revision: u64,
        /// The instance
        #[arg(value_name = "SERVICE/INSTANCE")]
        instance: InstanceArg,
        /// The patience.
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// The patience of a wait.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// The longest time to wait; then the exit status is 4
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub timeout: String,
}
