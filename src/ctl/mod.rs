//! `signalbox ctl`: shows and steers a running server over its gRPC API, as operators do.
//!
//! A client: it uses the messages and the client that are generated from `proto/`, and no part of the server. The way
//! of a command: `config` reads its words → `verbs` makes the calls with `api` → tables, lines or JSON go to `screen`, or
//! one line of a failure goes to standard error. Invariants: one thread, which starts no part of the server; every wait
//! has a limit, except the streams that a user reads; text of a server reaches a terminal only escaped.

mod api;
mod failure;
mod instance_file;
mod progress;
mod screen;
mod shapes;
mod table;
mod text;
mod transport;
mod verbs;
mod words;

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::{CtlCli, CtlVerb};

use api::Api;
use failure::{CtlExit, CtlFailure};
use screen::Screen;
use verbs::{
    audit, backup, config, confirmations, events, history, lists, offline, orders, overview, requests, services, top,
    wait,
};
use words::span;

/// Runs a command, and returns the exit status.
pub fn run(cli: &CtlCli) -> ExitCode {
    let Err(failure) = command(cli) else { return ExitCode::SUCCESS };
    if failure.exit != CtlExit::Closed {
        // Nobody may read it.
        let _ = writeln!(std::io::stderr(), "signalbox ctl: {}", text::plain(&failure.words));
    }
    ExitCode::from(failure.exit as u8)
}

fn command(cli: &CtlCli) -> Result<(), CtlFailure> {
    if let Some(done) = offline::run(&cli.verb, Screen::new(cli.json(), true)) {
        return done;
    }
    let settings = cli.settings().map_err(|error| CtlFailure::usage(format!("{error:#}")))?;
    let screen = Screen::new(settings.json, settings.no_color);
    let patience = span("--answer-timeout", &settings.answer_timeout)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CtlFailure::refused(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let api = Api::connect(&settings, patience).await?;
        execute(&api, screen, &cli.verb).await
    })
}

async fn execute(api: &Api, screen: Screen, verb: &CtlVerb) -> Result<(), CtlFailure> {
    match verb {
        CtlVerb::Status => overview::status(api, screen).await,
        CtlVerb::Services => services::list(api, screen).await,
        CtlVerb::Instances { instance: None } => lists::instances(api, screen).await,
        CtlVerb::Instances { instance: Some(instance) } => lists::instance(api, screen, instance).await,
        CtlVerb::Routes { instance } => lists::routes(api, screen, instance.as_ref()).await,
        CtlVerb::Stats { instance } => lists::stats(api, screen, instance.as_ref()).await,
        CtlVerb::Explain(args) => requests::explain(api, screen, args).await,
        CtlVerb::Why(args) => requests::why(api, screen, args).await,
        CtlVerb::Tap(args) => requests::tap(api, screen, args).await,
        CtlVerb::Diff { instance } => config::diff(api, screen, instance).await,
        CtlVerb::Validate { instance } => config::validate(api, screen, instance).await,
        CtlVerb::Config { instance } => services::config(api, screen, instance).await,
        CtlVerb::Apply(args) => match &args.file {
            Some(file) => services::put(api, screen, args, file).await,
            None => config::apply(api, screen, args).await,
        },
        CtlVerb::Confirm(args) => confirmations::confirm(api, screen, args).await,
        CtlVerb::Cancel(args) => confirmations::cancel(api, screen, args).await,
        CtlVerb::History(args) => history::run(api, screen, args).await,
        CtlVerb::Revert(args) => history::revert(api, screen, args).await,
        CtlVerb::Remove { instance, expect_revision } => {
            services::remove(api, screen, instance, *expect_revision).await
        }
        CtlVerb::Rollback { instance } => config::rollback(api, screen, instance).await,
        CtlVerb::Drain(args) => orders::drain(api, screen, args).await,
        CtlVerb::Maintenance(verb) => orders::maintenance(api, screen, verb).await,
        CtlVerb::Evict { instance } => orders::evict(api, screen, instance).await,
        CtlVerb::Watch(args) => events::watch(api, screen, args).await,
        CtlVerb::Top(args) => top::run(api, screen, args).await,
        CtlVerb::Certs => overview::certificates(api, screen).await,
        CtlVerb::Backup(args) => backup::backup(api, screen, args).await,
        CtlVerb::Export(args) => backup::export(api, screen, args).await,
        CtlVerb::Import(args) => backup::import(api, screen, args).await,
        CtlVerb::Audit(args) => audit::list(api, screen, args).await,
        CtlVerb::Wait(verb) => wait::run(api, screen, verb).await,
        CtlVerb::Reload => overview::reload(api, screen).await,
        CtlVerb::Health => overview::health(api, screen).await,
        // `offline` has done these.
        CtlVerb::Restore(_) | CtlVerb::Token(_) | CtlVerb::Completions { .. } | CtlVerb::Man { .. } => Ok(()),
    }
}
