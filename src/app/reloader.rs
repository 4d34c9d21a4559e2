//! The task that follows changed files: it renews certificates, and reloads the configuration.
//!
//! It also reloads on `SIGHUP` and when an operator asks. Invariants: an invalid configuration changes nothing; all files
//! are read before anything is changed; keys that need a restart keep their values until then.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checked_config::CheckedConfig;
use super::live_parts::LiveParts;
use super::obtaining::{acme_settings, acme_views};
use super::renewal::WatchedCertificate;
use super::request_logging::RequestLogging;
use super::settings::{backend_tls, wanted_certificates};
use super::signals::FileSignals;
use super::static_services::StaticServices;
use crate::acme::{Acme, AcmeSettings};
use crate::certificates::CertificateFiles;
use crate::clock;
use crate::config::{Cli, KeyChange, ServerConfig};
use crate::connect::BackendTls;
use crate::domain::{Host, Time};
use crate::file_watch::{FileVersions, FileWatch, Version};
use crate::lifecycle::{self, Lifecycle};
use crate::registry::commands::Announce;
use crate::registry::{CallOrigin, FileProblem, Registry, ReloadRequest, ReloadView};
use crate::request_log::AccessLog;
use crate::telemetry::Log;

/// The source of the configuration, and its value that is in force.
pub(super) struct ConfigSource {
    pub(super) cli: Cli,
    pub(super) log: Log,
    pub(super) config: CheckedConfig,
    /// The contents of the configuration's files.
    version: Version,
    /// The contents of the file of `backends.ca`.
    authorities: Version,
}

impl ConfigSource {
    /// Reads the configuration; `config` is what a first reading gave.
    ///
    /// # Errors
    /// If a file cannot be read or contains an error.
    pub(super) fn read(cli: Cli, log: Log, config: ServerConfig) -> anyhow::Result<Self> {
        // The versions before the values: what is written between the two is another version then.
        let (version, authorities) = (Version::read(files(&cli, &config)), Version::read(config.ca.as_deref()));
        let config = if is_fifo(&cli) { config } else { cli.load()? };
        Ok(Self { cli, log, config: CheckedConfig::new(config)?, version, authorities })
    }
}

/// The task that follows changed files.
pub(super) struct Reloader {
    cli: Cli,
    log: Log,
    registry: Registry,
    parts: LiveParts,
    acme: Acme,
    logging: RequestLogging,
    services: StaticServices,
    /// The names with an obtained certificate, and the expiry of each at the last look.
    obtained: BTreeMap<Host, Time>,
    /// The configuration that is in force.
    config: CheckedConfig,
    /// The contents of the configuration's files.
    versions: FileVersions,
    certificates: Vec<WatchedCertificate>,
    authorities: Version,
    watch: FileWatch,
}

/// A configuration whose files are read, ready to be put in force.
struct Prepared {
    /// The configuration as it is written.
    written: CheckedConfig,
    /// The same without the keys that need a restart.
    config: CheckedConfig,
    certificates: Vec<WatchedCertificate>,
    backend_tls: Option<BackendTls>,
    authorities: Version,
    acme: Option<AcmeSettings>,
    access_log: Option<Arc<AccessLog>>,
}

impl Reloader {
    /// Creates the task for a server that runs with these parts and `certificates`.
    pub(super) fn new(
        source: ConfigSource,
        registry: Registry,
        parts: LiveParts,
        acme: Acme,
        logging: RequestLogging,
        (certificates, services): (Vec<WatchedCertificate>, StaticServices),
    ) -> Self {
        let ConfigSource { cli, log, config, version, authorities } = source;
        let versions = FileVersions::using(version);
        let watch = FileWatch::new();
        let obtained = BTreeMap::new();
        Self {
            cli,
            log,
            registry,
            parts,
            acme,
            logging,
            services,
            obtained,
            config,
            versions,
            certificates,
            authorities,
            watch,
        }
    }

    /// Starts the task.
    ///
    /// # Errors
    /// If another task takes the requests already.
    pub(super) fn start(self, signals: FileSignals, tasks: &Lifecycle) -> anyhow::Result<()> {
        let requests = self.registry.take_reload_requests().context("the requests for a reload are taken")?;
        tasks.spawn("reload", self.run(signals, requests, tasks.stopping().clone()));
        Ok(())
    }

    /// Runs until `stop`.
    async fn run(
        mut self,
        mut signals: FileSignals,
        mut requests: mpsc::Receiver<ReloadRequest>,
        stop: CancellationToken,
    ) {
        loop {
            self.watch_files();
            Box::pin(self.look()).await;
            tokio::select! {
                () = self.watch.changed() => {}
                () = self.acme.changed() => {}
                Some(()) = signals.hangup.recv() => {
                    let _ = Box::pin(self.reload(CallOrigin::SERVER, "SIGHUP")).await;
                    self.logging.reopen();
                }
                Some(()) = signals.user1.recv() => self.logging.reopen(),
                Some(ReloadRequest { origin, answer }) = requests.recv() => {
                    // The caller may have stopped waiting.
                    let _ = answer.send(Box::pin(self.reload(origin, "an operator asked")).await);
                }
                () = stop.cancelled() => return,
            }
        }
    }

    fn watch_files(&mut self) {
        let certificates = self.certificates.iter().flat_map(WatchedCertificate::paths);
        let folder = self.config.plain.services_folder.as_ref().map(|folder| folder.path.as_path());
        self.watch.set(files(&self.cli, &self.config.plain).chain(certificates), folder);
    }

    /// Looks at all files, and takes over those that changed.
    async fn look(&mut self) {
        let seen = Version::read(files(&self.cli, &self.config.plain));
        if self.versions.is_news(&seen) {
            let _ = Box::pin(self.reload(CallOrigin::SERVER, "the file changed")).await;
        } else {
            self.services.look(&self.config.plain, &CallOrigin::SERVER).await;
        }
        let now = clock::wall_time(clock::now());
        let mut renewed = Vec::new();
        for certificate in &mut self.certificates {
            if certificate.look() {
                renewed.push(certificate.current.clone());
            }
            certificate.warn(now);
        }
        if !renewed.is_empty() {
            self.parts.serve(&self.certificates, &self.config);
        }
        self.show_certificates();
        let mut news: Vec<_> = renewed.into_iter().map(|new| (new.names, new.facts.not_after)).collect();
        news.extend(self.newly_obtained());
        for (names, expiry) in news {
            self.announce(CallOrigin::SERVER, Announce::CertRenewed { names, expiry }).await;
        }
    }

    /// Returns the names for which the authority has renewed a certificate since the last look, with the new expiry.
    fn newly_obtained(&mut self) -> Vec<(Vec<Host>, Time)> {
        let expiries = self.acme.statuses().into_iter().filter_map(|status| Some((status.name, status.expires?)));
        let before = std::mem::replace(&mut self.obtained, expiries.collect());
        let renewed = self.obtained.iter().filter(|(name, expiry)| before.get(*name).is_some_and(|old| old != *expiry));
        renewed.map(|(name, expiry)| (vec![name.clone()], *expiry)).collect()
    }

    fn show_certificates(&self) {
        let now = clock::wall_time(clock::now());
        let views: Vec<_> = self.certificates.iter().map(|certificate| certificate.view(now)).collect();
        self.registry.set_certificates("files", &views);
        self.registry.set_certificates("acme", &acme_views(&self.acme.statuses(), now));
    }

    async fn announce(&self, origin: CallOrigin, news: Announce) {
        if let Err(error) = self.registry.execute_one(origin, news.into()).await {
            tracing::warn!(%error, "sessions could not be told of a change of the server");
        }
    }

    /// Reloads the configuration.
    async fn reload(&mut self, origin: CallOrigin, reason: &'static str) -> Result<ReloadView, String> {
        let reloaded = Box::pin(self.try_to_reload(origin.clone(), reason)).await;
        self.parts.count_reload(reloaded.is_ok());
        let file = self.cli.file().map(|file| file.display().to_string()).unwrap_or_default();
        let problem = reloaded.as_ref().err().map(|words| FileProblem { file, line: None, message: words.clone() });
        self.registry.set_config_problems("file", problem.as_slice());
        self.services.look(&self.config.plain, &origin).await;
        reloaded.map(|view| ReloadView { problems: self.services.problems().to_vec(), ..view })
    }

    async fn try_to_reload(&mut self, origin: CallOrigin, reason: &'static str) -> Result<ReloadView, String> {
        let (version, prepared) = lifecycle::run_blocking(|| self.read());
        let prepared = prepared.and_then(|prepared| {
            // It checks what it is given, and changes nothing if that is wrong.
            self.acme.configure(prepared.acme.clone())?;
            Ok(prepared)
        });
        self.versions.tried(version, prepared.is_ok());
        let prepared = prepared.map_err(|error| {
            let words = format!("{error:#}");
            tracing::error!(reason, error = words, "the configuration is invalid; nothing was changed");
            words
        })?;
        let changes = self.config.plain.changes_to(&prepared.config.plain);
        let waiting: Vec<KeyChange> = prepared.config.plain.changes_to(&prepared.written.plain);
        let new_authorities = prepared.backend_tls.is_some();
        Box::pin(self.apply(prepared)).await;
        let mut changed: Vec<String> = changes.iter().map(|change| change.key.to_owned()).collect();
        if new_authorities && !changed.iter().any(|key| key == "backends.ca") {
            changed.push("backends.ca".to_owned());
        }
        let needs_restart: Vec<String> = waiting.iter().map(|change| change.key.to_owned()).collect();
        self.tell(origin, reason, &changed, &needs_restart).await;
        Ok(ReloadView { changed, needs_restart, ..ReloadView::default() })
    }

    /// Reads the configuration and all its files, with the version that they had before: what is written meanwhile is
    /// another version then.
    fn read(&self) -> (Version, anyhow::Result<Prepared>) {
        let version_of = |config: &CheckedConfig| Version::read(files(&self.cli, &config.plain));
        let (version, prepared) = (version_of(&self.config), self.prepare());
        match &prepared {
            // Other files belong to it now. They are read again, after their version.
            Ok(new) if !files(&self.cli, &new.config.plain).eq(files(&self.cli, &self.config.plain)) => {
                (version_of(&new.config), self.prepare())
            }
            _ => (version, prepared),
        }
    }

    /// Reads the configuration and all its files.
    fn prepare(&self) -> anyhow::Result<Prepared> {
        if is_fifo(&self.cli) {
            anyhow::bail!("the configuration was read from a FIFO, which cannot be read again; start the server again");
        }
        let written = self.cli.load()?;
        let config = CheckedConfig::new(written.on(&self.config.plain)?)?;
        let written = CheckedConfig::new(written)?;
        let mut certificates = Vec::new();
        for (files, domains) in wanted_certificates(&config) {
            certificates.push(self.known_or_loaded(files, domains)?);
        }
        for (files, domains) in wanted_certificates(&written) {
            // Those that wait for a restart must not stop it.
            if !certificates.iter().any(|certificate| certificate.is_of(&files, &domains)) {
                WatchedCertificate::load(files, domains)?;
            }
        }
        let authorities = Version::read(config.plain.ca.as_deref());
        let is_same = authorities == self.authorities;
        let backend_tls = if is_same { None } else { Some(backend_tls(config.plain.ca.as_deref())?) };
        let acme = acme_settings(&config)?;
        let access_log = self.logging.prepare(&config)?;
        Ok(Prepared { written, config, certificates, backend_tls, authorities, acme, access_log })
    }

    /// Returns a certificate that is watched already, or loads it.
    fn known_or_loaded(&self, files: CertificateFiles, domains: Vec<Host>) -> anyhow::Result<WatchedCertificate> {
        let known = self.certificates.iter().find(|known| known.is_of(&files, &domains));
        match known {
            Some(known) => Ok(known.clone()),
            None => Ok(WatchedCertificate::load(files, domains)?),
        }
    }

    async fn apply(&mut self, prepared: Prepared) {
        let Prepared { config, certificates, backend_tls, authorities, access_log, .. } = prepared;
        self.logging.set(&config, access_log);
        if config.plain.log_filter != self.config.plain.log_filter {
            self.log.set_filter(&config.plain.log_filter);
        }
        if let Some(new) = backend_tls {
            self.parts.trust(new);
        }
        (self.authorities, self.certificates) = (authorities, certificates);
        self.parts.serve(&self.certificates, &config);
        self.parts.set(&config, &self.registry).await;
        self.config = config;
        self.show_certificates();
    }

    async fn tell(&self, origin: CallOrigin, reason: &'static str, changed: &[String], needs_restart: &[String]) {
        let (keys, waiting) = (changed.join(", "), needs_restart.join(", "));
        if !waiting.is_empty() {
            tracing::warn!(reason, keys = waiting, "changed keys that need a restart");
        }
        if keys.is_empty() {
            tracing::info!(reason, "the configuration was read again; no value changed");
            return;
        }
        self.announce(origin, Announce::GlobalConfigChanged { reason, keys }).await;
    }
}

/// Returns the files of the configuration that can change.
fn files<'a>(cli: &'a Cli, config: &'a ServerConfig) -> impl Iterator<Item = &'a Path> {
    cli.file().filter(|_| !is_fifo(cli)).into_iter().chain(config.files())
}

/// Returns true if the configuration is read from a FIFO, such as one that a shell opens for `--config <(command)`. It can be
/// read only once, and nothing tells of a change.
fn is_fifo(cli: &Cli) -> bool {
    cli.file().and_then(|file| file.metadata().ok()).is_some_and(|found| found.file_type().is_fifo())
}
