//! The places where requests are told of: the access log and the collector of spans, as the configuration wants them.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::io::Errno;

use super::checked_config::CheckedConfig;
use super::collector::CollectedSignals;
use crate::config::{AccessFormat, AccessPlace};
use crate::lifecycle::{self, Lifecycle};
use crate::request_log::{AccessLog, AccessLogSettings, AccessSink, LogLine, QueryMask, RequestLog};
use crate::telemetry::Log;

/// The longest time for the last spans.
const LAST_SPANS_MAX: Duration = Duration::from_secs(3);

/// The access log and the collector of the running server.
pub(super) struct RequestLogging {
    pub(super) outlets: RequestOutlets,
    /// The number of the workers that write to it.
    workers: usize,
}

/// The places where the workers tell of requests.
#[derive(Clone)]
pub(super) struct RequestOutlets {
    pub(super) requests: RequestLog,
    pub(super) signals: CollectedSignals,
    /// The tasks that send the signals.
    pub(super) exports: Lifecycle,
}

impl RequestOutlets {
    /// Writes and sends what waits. Nobody may tell of requests any more.
    pub(super) async fn finish(&self) {
        if let Some(access_log) = self.requests.access_log() {
            lifecycle::run_blocking(|| access_log.finish());
        }
        self.exports.end(LAST_SPANS_MAX).await;
    }
}

impl RequestLogging {
    /// Starts the access log and the collector, where there is one, for this number of workers.
    pub(super) fn start(config: &CheckedConfig, log: &Log, workers: usize) -> anyhow::Result<Self> {
        let exports = Lifecycle::new();
        let signals = CollectedSignals::start(config, log, &exports);
        let own = Self { outlets: RequestOutlets { requests: RequestLog::default(), signals, exports }, workers };
        let opened = own.prepare(config)?;
        own.set(config, opened);
        Ok(own)
    }

    /// Opens the access log of a configuration, unless it is open.
    ///
    /// # Errors
    /// If its place cannot be opened. The error says what to change.
    pub(super) fn prepare(&self, config: &CheckedConfig) -> anyhow::Result<Option<Arc<AccessLog>>> {
        let Some(settings) = wanted(config) else { return Ok(None) };
        if let Some(open) = self.outlets.requests.access_log().filter(|open| *open.settings() == settings) {
            return Ok(Some(open));
        }
        let told = unopened(&settings.sink);
        let opened = self.outlets.requests.open_access_log(settings, self.workers).context(told)?;
        Ok(Some(Arc::new(opened)))
    }

    /// Puts what was prepared in force.
    pub(super) fn set(&self, config: &CheckedConfig, access: Option<Arc<AccessLog>>) {
        self.outlets.requests.set_mask(QueryMask::new(&config.plain.mask_query));
        self.outlets.requests.set_access_log(access);
    }

    /// Opens the file of the access log again.
    pub(super) fn reopen(&self) {
        if let Some(access) = self.outlets.requests.access_log() {
            access.reopen();
        }
    }
}

/// Checks, without making a file, that the access log of a configuration has a place.
///
/// # Errors
/// If its folder is missing, or a folder stands in its place.
pub(super) fn check(config: &CheckedConfig) -> anyhow::Result<()> {
    let Some(AccessLogSettings { sink: AccessSink::File(path), .. }) = wanted(config) else { return Ok(()) };
    // The folder of a bare name is the present one.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fault: Option<io::Error> = match folder.metadata() {
        Err(error) => Some(error),
        Ok(found) if !found.is_dir() => Some(Errno::NOTDIR.into()),
        Ok(_) => path.is_dir().then(|| Errno::ISDIR.into()),
    };
    fault.map_or(Ok(()), Err).context(unopened(&AccessSink::File(path)))
}

fn unopened(sink: &AccessSink) -> String {
    format!(
        "log.access.file: {sink:?} cannot be opened; its folder must exist, and the user of the server must be allowed to write there"
    )
}

fn wanted(config: &CheckedConfig) -> Option<AccessLogSettings> {
    let wanted = config.plain.access_log.as_ref()?;
    let line = match wanted.format {
        AccessFormat::Json => LogLine::Json,
        AccessFormat::Combined => LogLine::Combined,
    };
    let sink = match &wanted.place {
        AccessPlace::Stdout => AccessSink::Stdout,
        AccessPlace::Stderr => AccessSink::Stderr,
        AccessPlace::File(path) => AccessSink::File(path.clone()),
    };
    Some(AccessLogSettings { line, sink })
}
