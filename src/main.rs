//! The `signalbox` program: reads the configuration, starts the log, runs the server.

use std::process::ExitCode;

use clap::Parser;
use signalbox::{app, config, telemetry};

fn main() -> ExitCode {
    let config = match config::Cli::parse().load() {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    telemetry::start(&config.log_filter, config.log_format);
    match app::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("signalbox: {error:#}");
    ExitCode::FAILURE
}
