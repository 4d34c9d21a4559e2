//! The TXT record that proves control of a name, told before any order.
//!
//! Not here: the look-up of the record. Invariant: nothing is changed, neither in the files nor at the authority.

use std::path::Path;
use std::sync::Arc;

use http::Request;
use instant_acme::{BodyWrapper, Error, HttpClient as _};
use serde_json::Value;

use super::account::AccountKeeper;
use super::directory::DirectoryClient;
use super::error::OrderError;
use super::folder::AcmeFolder;
use super::plan::{PersistentFacts, PersistentRecord, wanted};
use super::proofs::record_name;
use super::settings::AcmeSettings;
use crate::connect::{BackendTls, NameLookup};
use crate::domain::Host;

/// The most names of an authority (draft-ietf-acme-dns-persist-02 §3.1).
const ISSUERS_MAX: usize = 10;

/// The record that proves control of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsProof {
    /// The hook sets a record with this name anew for each order (dns-01).
    Hook(String),
    /// The record stays (dns-persist-01).
    Persistent(PersistentRecord),
}

/// The reason why no record can be told.
#[derive(Debug, thiserror::Error)]
pub enum DnsProofError {
    /// The name gets no certificate.
    #[error("acme.domains does not name {0}, so that it gets no certificate")]
    NotAllowed(Host),
    /// There is no account.
    #[error(
        "{0} holds no account at {1} that can be read; the server creates one when it first orders a certificate, and \
         only its own user can read it"
    )]
    NoAccount(String, String),
    /// The directory names no issuer.
    #[error("{0} names no issuer (issuerDomainNames, caaIdentities), so that it does not take records that stay")]
    NoIssuer(String),
    /// The authorities of the directory's certificate cannot be used.
    #[error("acme.ca: {0}")]
    Ca(String),
    /// The directory or the account cannot be used.
    #[error("{0}")]
    Directory(String),
}

/// Returns the record for a name, with the account in `folder`.
///
/// # Errors
/// If there is no account yet, or the directory does not say what is needed.
pub async fn dns_proof(settings: AcmeSettings, folder: &Path, name: &Host) -> Result<DnsProof, DnsProofError> {
    if wanted(std::iter::once(name.clone()), &settings.domains).is_empty() {
        return Err(DnsProofError::NotAllowed(name.clone()));
    }
    if settings.dns_hook.is_some() {
        return Ok(DnsProof::Hook(record_name(name)));
    }
    let tls = BackendTls::trusting_also(settings.ca.as_deref()).map_err(DnsProofError::Ca)?;
    let client = DirectoryClient::new(NameLookup::system(), tls);
    let folder = AcmeFolder::existing(folder);
    if folder.account(&settings.directory).is_none() {
        return Err(DnsProofError::NoAccount(folder.to_string(), settings.directory));
    }
    let told = |error: OrderError| DnsProofError::Directory(error.to_string());
    let meta = meta(&client, &settings.directory).await.map_err(|error| told(error.into()))?;
    let directory = settings.directory.clone();
    let account = AccountKeeper::new(Arc::new(settings), folder).open_kept(&client).await.map_err(told)?;
    let facts = PersistentFacts {
        issuers: issuers(&meta),
        hash_prefix: meta["accountHashPrefix"].as_str().map(str::to_owned),
        account: account.id().to_owned(),
        thumbprint: account.key_thumbprint().to_owned(),
    };
    PersistentRecord::new(name, &facts).map(DnsProof::Persistent).ok_or(DnsProofError::NoIssuer(directory))
}

/// Returns `meta` of the directory, of which the library keeps little.
async fn meta(client: &DirectoryClient, directory: &str) -> Result<Value, Error> {
    let request = Request::get(directory).body(BodyWrapper::default())?;
    let mut answer = client.request(request).await?;
    let body = answer.body.into_bytes().await.map_err(Error::Other)?;
    let directory: Value = serde_json::from_slice(&body)?;
    Ok(directory["meta"].clone())
}

/// Returns the names of the authority: those for this way, else those in CAA records, which are the same at authorities that
/// know only the first drafts.
fn issuers(meta: &Value) -> Vec<String> {
    let names = [&meta["issuerDomainNames"], &meta["caaIdentities"]].into_iter().find_map(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| Host::parse(name).is_ok()).take(ISSUERS_MAX).map(str::to_ascii_lowercase).collect()
}
