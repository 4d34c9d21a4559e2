//! Certificates from an authority: its settings, as the configuration has them, and the folder for its files.

use std::path::PathBuf;

use anyhow::Context;

use crate::acme::{AcmeSettings, ExternalAccount};
use crate::config::{AcmeConfig, ServerConfig};
use crate::store;

/// Returns the settings of the certificate authority; `None` if no certificates are obtained.
pub(super) fn acme_settings(config: &ServerConfig) -> anyhow::Result<Option<AcmeSettings>> {
    let Some(acme) = &config.acme else { return Ok(None) };
    let AcmeConfig { directory, domains, contact, external_account, ca, dns_hook } = acme;
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("acme.ca: {} cannot be used", path.display()));
    let external = |(kid, key): &(String, Vec<u8>)| ExternalAccount { kid: kid.clone(), key: key.clone() };
    Ok(Some(AcmeSettings {
        directory: directory.clone(),
        contact: contact.clone(),
        external_account: external_account.as_ref().map(external),
        domains: domains.clone(),
        ca: ca.as_ref().map(read).transpose()?,
        dns_hook: dns_hook.clone(),
    }))
}

/// Returns the folder for the files of the certificate authority, beside the store; `None` if the store is in memory.
pub(super) fn acme_folder(config: &ServerConfig) -> Option<PathBuf> {
    let mut path = store::file_of(&config.store_url)?.into_os_string();
    path.push("-acme");
    Some(path.into())
}
