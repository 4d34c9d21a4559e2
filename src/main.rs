//! The `signalbox` program: reads the configuration, starts the log, runs the server or another command.

use std::process::ExitCode;

use signalbox::{app, config, ctl, telemetry};

/// The system's allocator keeps the memory of a flood of connections forever; this one returns it within seconds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // A client of its own: it starts no log and reads no configuration of the server.
    if words.next().is_some_and(|first| first == "ctl") {
        return ctl::run(&config::CtlCli::read(words).unwrap_or_else(|error| error.exit()));
    }
    // Without a log the failure cannot be reported.
    let Ok(log) = telemetry::Log::open() else { return ExitCode::FAILURE };
    let cli = config::Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let file = cli.file().map_or("the configuration".to_owned(), |file| file.display().to_string());
    let ended = cli.load().and_then(|config| match cli.task() {
        config::Task::Serve => {
            log.start(&config.log_filter, config.log_format);
            app::run(cli, config, log.clone())
        }
        config::Task::Check => app::check(config).map(|()| println!("{file} is valid")),
        config::Task::DnsProof(name, server) => app::report_dns_proof(config, &name, server).and_then(|report| {
            println!("{}", report.record);
            report.verdict.map(|words| println!("{words}"))
        }),
        config::Task::Reload => app::reload(config).map(|outcome| println!("{outcome}")),
        config::Task::Restore(backup, options) => {
            app::restore(&config, &backup, options).map(|outcome| println!("{outcome}"))
        }
    });
    if let Err(error) = &ended {
        log.say(&format!("signalbox: {error:#}"));
    }
    log.finish();
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
