//! The settings, as the configuration gives them.

use std::path::PathBuf;

use crate::domain::Host;

/// The settings of the certificate authority and of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The URL of the directory (RFC 8555 §7.1.1), with `https`.
    pub directory: String,
    /// The contacts of the account, as URLs.
    pub contact: Vec<String>,
    /// The key identifier and key that bind the account to one outside of ACME (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The names that may get certificates. See `docs/acme.md`.
    pub domains: Vec<Host>,
    /// Certificates of authorities that the directory's own certificate may be of, beside those that this machine trusts, as PEM.
    pub ca: Option<Vec<u8>>,
    /// The program that sets TXT records, for DNS-01.
    pub dns_hook: Option<PathBuf>,
}

/// An account outside of ACME.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key identifier.
    pub kid: String,
    /// The key of the HMAC.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ExternalAccount {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ExternalAccount({})", self.kid)
    }
}
