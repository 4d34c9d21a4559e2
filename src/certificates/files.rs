//! Certificates and keys in PEM files, and what is wrong with them.

use std::path::{Path, PathBuf};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::authorities::ClientAuthorities;

/// The files of a certificate. Their keys are in a section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The section of the configuration.
    pub section: &'static str,
    /// Key `cert`: the certificate chain as PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// Key `key`: the private key of the first certificate, as PEM.
    pub key: PathBuf,
    /// Key `client_ca`: the authorities of client certificates. Without it clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// The reason why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{key}: {} {why}", .file.display())]
pub struct TlsFileError {
    section: &'static str,
    key: &'static str,
    file: PathBuf,
    why: String,
}

/// A fault of a chain or key, in words that follow the name of the file.
pub(super) enum PairFault {
    Chain(String),
    Key(String),
    Mismatch,
}

impl CertificateFiles {
    /// Reads the chain and its key, which must belong together.
    pub(super) fn pair(&self) -> Result<CertifiedKey, TlsFileError> {
        let chain = read(&self.cert).map_err(|why| self.cert_error(why))?;
        let key = read(&self.key).map_err(|why| self.file_error("key", &self.key, why))?;
        pair(&chain, &key).map_err(|fault| match fault {
            PairFault::Chain(why) => self.cert_error(why),
            PairFault::Key(why) => self.file_error("key", &self.key, why),
            PairFault::Mismatch => {
                let (section, cert) = (self.section, self.cert.display());
                let why = format!("is not the key of the certificate in {cert} ({section}.cert)");
                self.file_error("key", &self.key, why)
            }
        })
    }

    /// Reads the authorities of client certificates, if they are required.
    pub(super) fn authorities(&self) -> Result<Option<ClientAuthorities>, TlsFileError> {
        let Some(file) = &self.client_ca else { return Ok(None) };
        let authorities = read(file).and_then(|pem| certificates(&pem)).and_then(ClientAuthorities::new);
        authorities.map(Some).map_err(|why| self.file_error("client_ca", file, why))
    }

    /// Returns an error about the certificate file.
    pub(super) fn cert_error(&self, why: String) -> TlsFileError {
        self.file_error("cert", &self.cert, why)
    }

    fn file_error(&self, key: &'static str, file: &Path, why: String) -> TlsFileError {
        TlsFileError { section: self.section, key, file: file.to_owned(), why }
    }
}

/// Reads a chain and the key of its first certificate.
pub(super) fn pair(chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, PairFault> {
    let mut chain = certificates(chain_pem).map_err(PairFault::Chain)?;
    // Some tools write the first certificate twice; clients need it once.
    let own = chain.first().cloned();
    let mut at = 0;
    chain.retain(|certificate| {
        at += 1;
        at == 1 || Some(certificate) != own.as_ref()
    });
    let key = private_key(key_pem).map_err(PairFault::Key)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => PairFault::Mismatch,
        rustls::Error::InvalidCertificate(_) => PairFault::Chain(format!("cannot be used: {error}")),
        other => PairFault::Key(format!("cannot be used: {other}")),
    })
}

/// Reads certificates in PEM, at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("holds a certificate that is no PEM: {error}"))?;
    if found.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(found) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound if memchr::memmem::find(pem, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() => {
            "holds an encrypted private key; it must not be encrypted".to_owned()
        }
        pem::Error::NoItemsFound => "holds no private key".to_owned(),
        other => format!("holds no private key that can be read: {other}"),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))
}
