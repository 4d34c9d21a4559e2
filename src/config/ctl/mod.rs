//! The command line of `signalbox ctl`: its verbs, and the settings that flags, variables and the file of the user give.
//!
//! It shares nothing with the configuration of the server, so that a client needs none. Invariants: a token that others
//! can read on the disk is refused, and the token of the file goes only to the server of the file.

mod apply_verbs;
mod file_verbs;
mod history_verbs;
mod instance_arg;
mod instance_file;
mod offline_verbs;
mod shell;
mod user_file;
mod verbs;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};

use super::values::Hidden;
pub use apply_verbs::{ApplyArgs, ConfirmationArgs};
pub use file_verbs::{BackupArgs, ExportArgs, ImportArgs, RestoreArgs};
pub use history_verbs::{HistoryArgs, RevertArgs};
pub use instance_arg::InstanceArg;
pub use instance_file::{BreakerFile, CheckFile, InstanceFile, LimitFile, RouteFile};
pub use offline_verbs::{CtlShell, TokenArgs, TokenKind, TokenVerb};
pub use shell::{completions, man, man_pages};
use user_file::UserFile;
pub use verbs::{
    AuditArgs, CtlVerb, DrainArgs, ExplainArgs, FilterArgs, MaintenanceVerb, RequestArgs, TapArgs, TopArgs, WaitArgs,
    WaitVerb, WatchArgs,
};

/// The API of a server with the default configuration on this machine.
const API_DEFAULT: &str = "http://127.0.0.1:8182";

/// The command line of `signalbox ctl`.
#[derive(Debug, Parser)]
#[command(
    name = "signalbox ctl",
    bin_name = "signalbox ctl",
    version,
    about = "Show and steer a running server, over its gRPC API",
    after_help = "Exit status: 0 done, 1 refused, 2 wrong usage, 3 the server cannot be reached, 4 timed out, 5 conflict.",
    max_term_width = 100
)]
pub struct CtlCli {
    /// The work that is asked for.
    #[command(subcommand)]
    pub verb: CtlVerb,
    #[command(flatten)]
    flags: CtlFlags,
}

#[derive(Debug, Args)]
struct CtlFlags {
    /// The API port of the server [default: <http://127.0.0.1:8182>]
    #[arg(long, global = true, env = "SIGNALBOX_CTL_API", value_name = "URL")]
    api: Option<String>,
    /// The operator token
    #[arg(long, global = true, env = "SIGNALBOX_CTL_TOKEN", hide_env_values = true, value_name = "TOKEN", value_parser = hidden)]
    token: Option<Hidden<String>>,
    /// The certificates of the authorities that may sign the server's certificate, as PEM, in place of those of the machine
    #[arg(long, global = true, env = "SIGNALBOX_CTL_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The longest time for a connection, and for an answer
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s")]
    answer_timeout: String,
    /// Print JSON: one document, or one line for each entry of a stream
    #[arg(long, global = true)]
    json: bool,
}

fn hidden(text: &str) -> Result<Hidden<String>, String> {
    Ok(Hidden::new(text.to_owned()))
}

/// The settings of a client.
#[derive(Debug)]
pub struct CtlSettings {
    /// The URL of the API.
    pub api: String,
    /// The operator token.
    pub token: Option<Hidden<String>>,
    /// The file with the certificates of trusted authorities.
    pub ca: Option<PathBuf>,
    /// The longest time for a connection, and for an answer.
    pub answer_timeout: String,
    /// True if JSON is asked for.
    pub json: bool,
    /// True if the user wants no colours (`NO_COLOR`, or a terminal without them).
    pub no_color: bool,
}

impl CtlCli {
    /// Parses the words behind `signalbox ctl`. Variables set the flags that are not given; an empty one counts as not
    /// set.
    ///
    /// # Errors
    /// A wrong word; also the text for `--help`.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let command = Self::command().mut_args(|flag| {
            let is_empty = flag.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
            if is_empty { flag.env(Resettable::Reset) } else { flag }
        });
        let words = [OsString::from("signalbox ctl")].into_iter().chain(words);
        Self::from_arg_matches_mut(&mut command.try_get_matches_from(words)?)
    }

    /// Returns true if JSON is asked for.
    pub fn json(&self) -> bool {
        self.flags.json
    }

    /// Returns the settings: flags and variables before the file of the user.
    ///
    /// # Errors
    /// If the file cannot be read or is wrong: the file, the line, and the correct form.
    pub fn settings(&self) -> anyhow::Result<CtlSettings> {
        let file = UserFile::read()?;
        let of_file = file.api.unwrap_or_else(|| API_DEFAULT.to_owned());
        let api = self.flags.api.clone().unwrap_or_else(|| of_file.clone());
        let of_file = file.token.filter(|_| api == of_file);
        Ok(CtlSettings {
            api,
            token: self.flags.token.clone().or(of_file.map(Hidden::new)),
            ca: self.flags.ca.clone().or(file.ca),
            answer_timeout: self.flags.answer_timeout.clone(),
            json: self.flags.json,
            no_color: env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                || env::var_os("TERM").is_some_and(|name| name == "dumb"),
        })
    }
}
