//! A certificate with its key and the names for which it is served.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use super::authorities::ClientAuthorities;
use super::facts::{CertificateFacts, DateFault};
use super::files::{CertificateFiles, PairFault, TlsFileError, pair};
use super::groups::config;
use crate::domain::{Host, Time};

/// A certificate that is served.
#[derive(Clone, Debug)]
pub struct ServedCertificate {
    /// The names for which it is served. A name `*.shop.example` means names with one label before it, as in certificates
    /// (RFC 6125 §6.4.3), not those with more, as in routes.
    pub names: Vec<Host>,
    /// The chain and the private key.
    pub key: Arc<CertifiedKey>,
    /// The facts in the certificate.
    pub facts: CertificateFacts,
    /// The way it came here.
    pub source: CertificateSource,
    /// The authorities of the client certificates that its domains require; `None` if clients need no certificate.
    pub authorities: Option<Arc<ClientAuthorities>>,
}

/// The way a certificate came here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// From files that the configuration names.
    Files {
        /// The file of the chain.
        cert: PathBuf,
    },
    /// From an authority, by ACME.
    Obtained,
}

impl ServedCertificate {
    /// Loads a certificate for `domains`, or for its own names if there are none. A port that has only one certificate can do
    /// without names.
    ///
    /// # Errors
    /// If a file cannot be read or used; the error names its key.
    pub fn load(files: &CertificateFiles, domains: &[Host]) -> Result<Self, TlsFileError> {
        let key = files.pair()?;
        let authorities = files.authorities()?.map(Arc::new);
        let source = CertificateSource::Files { cert: files.cert.clone() };
        let loaded = Self::new(key, source).map_err(|why| files.cert_error(why))?;
        let names = if domains.is_empty() { loaded.names } else { domains.to_vec() };
        Ok(Self { names, authorities, ..loaded })
    }

    /// Loads a certificate that is chosen by its names.
    ///
    /// # Errors
    /// As [`Self::load`], and if neither `domains` nor the certificate has a name.
    pub fn load_named(files: &CertificateFiles, domains: &[Host]) -> Result<Self, TlsFileError> {
        let loaded = Self::load(files, domains)?;
        if loaded.names.is_empty() {
            return Err(files.cert_error("names no domain; add a line domains = [\"shop.example\"]".to_owned()));
        }
        Ok(loaded)
    }

    /// Reads an obtained certificate chain and its key, both as PEM.
    ///
    /// # Errors
    /// If one cannot be read or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, String> {
        let key = pair(chain, key).map_err(|fault| match fault {
            PairFault::Chain(why) => format!("the chain {why}"),
            PairFault::Key(why) => format!("the key {why}"),
            PairFault::Mismatch => "the key is not that of the certificate".to_owned(),
        })?;
        Self::new(key, CertificateSource::Obtained)
    }

    fn new(key: CertifiedKey, source: CertificateSource) -> Result<Self, String> {
        let facts = CertificateFacts::read(key.cert.first().map_or(&[][..], |own| own))?;
        Ok(Self { names: facts.names.clone(), key: Arc::new(key), facts, source, authorities: None })
    }

    /// Returns the settings of a port whose certificate is what `resolver` gives, with the client authorities of this one.
    pub fn port_config(&self, resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
        config(self.authorities.as_deref(), resolver)
    }

    /// Returns true if the certificate is served for `host`, a name in lower case.
    pub fn covers(&self, host: &str) -> bool {
        self.names.iter().any(|name| covers(name, host))
    }

    /// Returns a fault of its dates in words. It is served nevertheless, because some clients do not check.
    pub fn date_warning(&self, now: Time) -> Option<&'static str> {
        self.facts.date_fault(now).map(|fault| match fault {
            DateFault::Over => "the certificate has expired",
            DateFault::ToCome => "the certificate is not valid yet",
        })
    }

    /// Returns the names for which it is served although it does not hold them: clients refuse it there.
    pub fn foreign_names(&self) -> impl Iterator<Item = &Host> {
        self.names.iter().filter(|name| {
            let held = self.facts.names.iter().any(|own| match (own, *name) {
                (own, Host::Exact(name)) => covers(own, name),
                (own, other) => own == other,
            });
            !held
        })
    }
}

/// Returns true if `name` stands for `host` as in a certificate: a wildcard is one label.
pub fn covers(name: &Host, host: &str) -> bool {
    match name {
        Host::Exact(own) => **own == *host,
        Host::Below(base) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && *rest == **base),
        Host::Any => false,
    }
}
