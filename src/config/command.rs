//! The command line, and the environment variables that set flags.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::config_key::ConfigKey;
use super::file;
use super::file_sections::FileSections;
use super::parts::ServerConfig;
use super::sections::KEYS;
use super::source::Source;

/// The command line, with the environment variables that set flags. It can be loaded again and again: the file is read
/// anew each time.
#[derive(Debug, Parser)]
#[command(name = "signalbox", version, about = "A service registry and reverse proxy in one binary")]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server (the same as no command)
    Serve,
    /// Make the running server read its configuration again; the exit status is 1 if it is invalid
    Reload,
    /// Check the configuration without running the server; the exit status is 1 if it would not start
    Check {
        /// The file to check, in place of --config
        file: Option<PathBuf>,
    },
    /// Certificates from an authority
    Certs {
        #[command(subcommand)]
        verb: CertsVerb,
    },
    /// Put a backup in the place of the store, while no server runs; whatever fails changes nothing
    Restore {
        /// The backup, as `GET /v1/backup` gives it
        file: PathBuf,
        #[command(flatten)]
        options: RestoreOptions,
    },
    /// Show and steer a running server; see `signalbox ctl --help`
    Ctl {
        /// Words for ctl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _words: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
enum CertsVerb {
    /// Print the TXT record that proves control of a domain, and look it up; the exit status is 1 unless it is in place
    Dns {
        /// The domain, such as shop.example or '*.shop.example'
        name: String,
        /// The configuration file, in place of --config
        file: Option<PathBuf>,
        /// The name server that is asked, an address with or without a port [default: those of /etc/resolv.conf]
        #[arg(long = "dns-server", value_name = "ADDRESS", value_parser = name_server)]
        server: Option<SocketAddr>,
    },
}

/// The flags of `signalbox restore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct RestoreOptions {
    /// Put it in the place of another store, or of a damaged one; that one is kept beside it
    #[arg(long = "replace")]
    pub replace: bool,
    /// Check the backup, and restore nothing
    #[arg(long = "check")]
    pub check: bool,
}

/// The work that the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Runs the server.
    Serve,
    /// Checks the configuration.
    Check,
    /// Asks the running server to reload the configuration.
    Reload,
    /// Tells the TXT record that proves control of a domain, and looks it up at a name server if one is given.
    DnsProof(String, Option<SocketAddr>),
    /// Restores the store from a backup.
    Restore(PathBuf, RestoreOptions),
}

#[derive(Debug, Default, Args)]
struct Flags {
    /// Configuration file
    #[arg(long, env = "SIGNALBOX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    sections: FileSections,
    /// The flags that a variable set.
    #[arg(skip)]
    variables: Vec<&'static str>,
}

impl Cli {
    /// Parses `words`, of which the first is the program's name. Environment variables set the flags that are not
    /// given; an empty variable counts as not set.
    ///
    /// # Errors
    /// A wrong flag or variable, by its name; also the text for `--help`.
    pub fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        // Flags may stand before or after the command.
        let mut command = Self::with_defaults(Self::command()).mut_args(|flag| {
            let is_empty = variable(&flag).is_some_and(|(_, value)| value.is_empty());
            let flag = flag.global(true);
            if is_empty { flag.env(Resettable::Reset) } else { flag }
        });
        check_variables(&mut command)?;
        let mut matches = command.try_get_matches_from(words)?;
        let by_variable = |key: &&ConfigKey| matches.value_source(key.flag) == Some(ValueSource::EnvVariable);
        let variables = KEYS.iter().filter(by_variable).map(|key| key.flag).collect();
        let mut cli = Self::from_arg_matches_mut(&mut matches)?;
        cli.flags.variables = variables;
        if let Some(Verb::Ctl { .. }) = cli.verb {
            let message = "`ctl` is the first word: signalbox ctl …; the flags of the server have no meaning for it";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }

    /// Returns the command with the default of each flag in its help text.
    pub(super) fn with_defaults(command: Command) -> Command {
        command.mut_args(|flag| {
            let key = KEYS.iter().find(|key| flag.get_long() == Some(key.flag));
            let default = key.and_then(|key| key.default.or(key.default_in_words));
            match (default, flag.get_help().map(ToString::to_string)) {
                (Some(default), Some(help)) => flag.help(format!("{help} [default: {default}]")),
                _ => flag,
            }
        })
    }

    /// Returns the work that is asked for.
    pub fn task(&self) -> Task {
        match &self.verb {
            None | Some(Verb::Serve | Verb::Ctl { .. }) => Task::Serve,
            Some(Verb::Check { .. }) => Task::Check,
            Some(Verb::Reload) => Task::Reload,
            Some(Verb::Certs { verb: CertsVerb::Dns { name, server, .. } }) => Task::DnsProof(name.clone(), *server),
            Some(Verb::Restore { file, options }) => Task::Restore(file.clone(), *options),
        }
    }

    /// Returns the configuration file, if one is given.
    pub fn file(&self) -> Option<&Path> {
        match &self.verb {
            Some(Verb::Check { file: Some(file) } | Verb::Certs { verb: CertsVerb::Dns { file: Some(file), .. } }) => {
                Some(file)
            }
            _ => self.flags.config.as_deref(),
        }
    }

    /// Reads the file, if one is given, and overrides its values with flags and environment variables.
    ///
    /// # Errors
    /// If the file cannot be read or contains an error: the file, the line, and the correct form.
    pub fn load(&self) -> anyhow::Result<ServerConfig> {
        let (below, file) = match self.file() {
            Some(path) => {
                let (sections, text) = file::read(path)?;
                (sections, Some(Arc::new((path.to_owned(), text))))
            }
            None => (FileSections::default(), None),
        };
        let source = Source { file, variables: self.flags.variables.clone() };
        self.flags.sections.clone().over(below).complete(source)
    }
}

/// Returns the names of the sockets that the service manager passes on (`sd_listen_fds(3)`), separated by colons.
pub fn passed_socket_names() -> String {
    env::var("LISTEN_FDNAMES").unwrap_or_default()
}

/// Reads the address of a name server, which listens on port 53 unless another one is given.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    bare.or_else(|_| text.parse()).map_err(|_| "write an address such as 9.9.9.9, or 127.0.0.1:5353".to_owned())
}

/// Returns the environment variable of a flag, with its value if it is set.
fn variable(flag: &Arg) -> Option<(String, OsString)> {
    let name = flag.get_env()?.to_str()?.to_owned();
    let value = env::var_os(&name)?;
    Some((name, value))
}

/// Checks each variable alone, because the library names the flag when a variable is wrong.
fn check_variables(command: &mut Command) -> Result<(), clap::Error> {
    let set: Vec<_> =
        command.get_arguments().filter_map(|flag| Some((flag.get_long()?.to_owned(), variable(flag)?))).collect();
    for (flag, (name, value)) in set {
        let mut word = OsString::from(format!("--{flag}="));
        word.push(&value);
        let alone = Cli::command().mut_args(|flag| flag.env(Resettable::Reset));
        if let Err(error) = alone.try_get_matches_from([OsString::from("signalbox"), word]) {
            let why = error.source().map_or_else(|| "it is not UTF-8".to_owned(), ToString::to_string);
            return Err(command.error(ErrorKind::ValueValidation, format!("the variable {name}: {why}")));
        }
    }
    Ok(())
}
