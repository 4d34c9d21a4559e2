//! The `signalbox` program: reads the configuration, starts the log, runs the server.

use std::process::ExitCode;

use signalbox::{app, config, telemetry};

/// The system's allocator keeps the memory of a flood of connections forever; this one returns it within seconds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Without a log the failure cannot be reported.
    let Ok(log) = telemetry::Log::open() else { return ExitCode::FAILURE };
    let cli = config::Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let ended = cli.load().and_then(|config| {
        log.start(&config.log_filter, config.log_format);
        app::run(config)
    });
    if let Err(error) = &ended {
        log.say(&format!("signalbox: {error:#}"));
    }
    log.finish();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
