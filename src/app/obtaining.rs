//! Certificates from an authority: its settings, as the configuration has them, and the folder for its files.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::acme::{Acme, AcmeParts, AcmeSettings, ExternalAccount, NameStatus};
use crate::certificates::{Certificates, HttpChallenges};
use crate::config::{AcmeConfig, Hidden};
use crate::domain::Time;
use crate::lifecycle::Lifecycle;
use crate::registry::CertificateView;
use crate::store;
use crate::traffic::RoutingTable;

use super::checked_config::CheckedConfig;

/// The parts that getting certificates shares with others.
#[derive(Debug, Default)]
pub(super) struct Obtaining {
    /// The certificates that are served.
    pub(super) certificates: Certificates,
    /// The tokens that the plain HTTP port answers.
    pub(super) tokens: HttpChallenges,
    /// Notified after each change of the routing table.
    pub(super) changed: Arc<Notify>,
}

impl Obtaining {
    /// Serves the certificates that were kept, and starts to get certificates for the domains of `table`.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub(super) fn start(
        self,
        config: &CheckedConfig,
        table: &Arc<ArcSwap<RoutingTable>>,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Acme> {
        let Self { certificates, tokens, changed } = self;
        let (folder, table) = (acme_folder(config), Arc::clone(table));
        let acme = Acme::new(AcmeParts { folder, table, changed, certificates, tokens });
        acme.configure(acme_settings(config)?)?;
        lifecycle.spawn("certificates from an authority", acme.clone().run(lifecycle.stopping().clone()));
        Ok(acme)
    }
}

/// Returns the settings of the certificate authority; `None` if no certificates are obtained.
pub(super) fn acme_settings(config: &CheckedConfig) -> anyhow::Result<Option<AcmeSettings>> {
    let Some(acme) = &config.plain.acme else { return Ok(None) };
    let AcmeConfig { directory, domains: _, contact, external_account, ca, dns_hook } = acme;
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("acme.ca: {} cannot be used", path.display()));
    let external =
        |(kid, key): &(String, Hidden<Vec<u8>>)| ExternalAccount { kid: kid.clone(), key: key.reveal().clone() };
    Ok(Some(AcmeSettings {
        directory: directory.clone(),
        contact: contact.clone(),
        external_account: external_account.as_ref().map(external),
        domains: config.acme_domains.clone(),
        ca: ca.as_ref().map(read).transpose()?,
        dns_hook: dns_hook.clone(),
    }))
}

/// Returns the folder for the files of the certificate authority, beside the store; `None` if the store is in memory.
pub(super) fn acme_folder(config: &CheckedConfig) -> Option<PathBuf> {
    let mut path = store::file_of(&config.plain.store_url)?.into_os_string();
    path.push("-acme");
    Some(path.into())
}

/// Returns the certificates that the authority issued or is to issue, as operators see them.
pub(super) fn acme_views(statuses: &[NameStatus], now: Time) -> Vec<CertificateView> {
    let view = |status: &NameStatus| CertificateView {
        names: vec![status.name.to_string()],
        port: "proxy",
        source: "acme",
        file: None,
        state: match status.expires {
            None => "pending",
            Some(expires) if expires < now => "expired",
            Some(_) => "valid",
        },
        not_before: None,
        not_after: status.expires,
        issuer: None,
        serial: None,
        last_error: status.last_error.clone(),
        next_attempt: status.next_attempt,
    };
    statuses.iter().map(view).collect()
}
