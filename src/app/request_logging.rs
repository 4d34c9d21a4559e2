//! The access log as the configuration wants it.

use std::sync::Arc;

use anyhow::Context as _;

use super::checked_config::CheckedConfig;
use crate::config::{AccessFormat, AccessPlace};
use crate::request_log::{AccessLog, AccessLogSettings, AccessSink, LogLine, QueryMask, RequestLog};

/// The access log of the running server.
pub(super) struct RequestLogging {
    pub(super) requests: RequestLog,
    /// The number of the workers that write to it.
    workers: usize,
}

impl RequestLogging {
    /// Starts the access log, if there is one, for this number of workers.
    pub(super) fn start(config: &CheckedConfig, workers: usize) -> anyhow::Result<Self> {
        let own = Self { requests: RequestLog::default(), workers };
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
        if let Some(open) = self.requests.access_log().filter(|open| *open.settings() == settings) {
            return Ok(Some(open));
        }
        let place = format!("{:?}", settings.sink);
        let told = || {
            format!(
                "log.access.file: {place} cannot be opened; its folder must exist, and the user of the server must be allowed to write there"
            )
        };
        Ok(Some(Arc::new(AccessLog::start(settings, self.workers).with_context(told)?)))
    }

    /// Puts what was prepared in force.
    pub(super) fn set(&self, config: &CheckedConfig, access: Option<Arc<AccessLog>>) {
        self.requests.set_mask(QueryMask::new(&config.plain.mask_query));
        self.requests.set_access_log(access);
    }

    /// Opens the file of the access log again.
    pub(super) fn reopen(&self) {
        if let Some(access) = self.requests.access_log() {
            access.reopen();
        }
    }
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
