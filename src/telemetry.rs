//! The log: for eyes on a terminal, as JSON lines otherwise. Always on standard error; standard output is for the user.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts the log. Must be called once, before anything is logged.
pub fn start(filter: &str, format: Option<LogFormat>) {
    let by_destination = if std::io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json };
    // The filter was parsed when the configuration was read.
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    match format.unwrap_or(by_destination) {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}
