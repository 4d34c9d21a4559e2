//! The proofs of control: tokens, challenge certificates and TXT records, shown while the authority looks.
//!
//! Invariants: a token or challenge certificate is withdrawn once its [`ShownProof`] is dropped, also when the attempt is
//! given up; a TXT record is not withdrawn, and harms nobody; it is that of one proof at a time.

use std::path::Path;
use std::sync::Arc;

use instant_acme::{Challenge, ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use tokio::sync::OwnedMutexGuard;

use super::error::OrderError;
use super::hook;
use super::plan::ChallengeKind;
use super::record_turns::RecordTurns;
use crate::certificates::{Certificates, HttpChallenges};
use crate::domain::Host;

/// The places where proofs are shown.
#[derive(Clone, Debug)]
pub(super) struct ProofPlaces {
    pub(super) tokens: HttpChallenges,
    pub(super) certificates: Certificates,
    pub(super) records: RecordTurns,
}

/// A proof that is shown. Dropping it withdraws it.
#[derive(Debug)]
pub(super) struct ShownProof {
    pub(super) kind: ChallengeKind,
    /// The token, or the name of the challenge certificate.
    key: String,
    places: ProofPlaces,
    /// The turn at the TXT record.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl ProofPlaces {
    /// Shows the proof of a challenge for `name`.
    pub(super) async fn show(
        &self,
        kind: ChallengeKind,
        name: &Host,
        challenge: &Challenge,
        proof: &KeyAuthorization,
        dns_hook: Option<&Path>,
    ) -> Result<ShownProof, OrderError> {
        let own = base(name);
        let mut turn = None;
        let key = match kind {
            ChallengeKind::Http => {
                self.tokens.insert(&challenge.token, proof.as_str());
                challenge.token.clone()
            }
            ChallengeKind::TlsAlpn => {
                self.certificates.set_challenge(own, challenge_key(own, proof)?);
                own.to_owned()
            }
            ChallengeKind::Dns => {
                // Without a hook this way is not chosen.
                let hook = dns_hook.ok_or(OrderError::NoWay("it needs acme.dns_hook"))?;
                let record = record_name(name);
                turn = Some(self.records.take(&record).await);
                hook::run(hook, &record, &proof.dns_value()).await.map_err(OrderError::Hook)?;
                String::new()
            }
            ChallengeKind::DnsPersist => String::new(),
        };
        Ok(ShownProof { kind, key, places: self.clone(), _turn: turn })
    }
}

impl Drop for ShownProof {
    fn drop(&mut self) {
        match self.kind {
            ChallengeKind::Http => self.places.tokens.remove(&self.key),
            ChallengeKind::TlsAlpn => self.places.certificates.remove_challenge(&self.key),
            ChallengeKind::Dns | ChallengeKind::DnsPersist => {}
        }
    }
}

/// The challenge that the library does not know (draft-ietf-acme-dns-persist). It has no token.
const DNS_PERSIST: &str = "dns-persist-01";

/// Returns the kind as the library names it.
pub(super) fn challenge_type(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http => ChallengeType::Http01,
        ChallengeKind::TlsAlpn => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns => ChallengeType::Dns01,
        ChallengeKind::DnsPersist => ChallengeType::Unknown(DNS_PERSIST.to_owned()),
    }
}

/// Returns the kind of a challenge, if Signalbox can answer it.
pub(super) fn challenge_kind(challenge: &Challenge) -> Option<ChallengeKind> {
    match challenge.r#type {
        ChallengeType::Http01 => Some(ChallengeKind::Http),
        ChallengeType::TlsAlpn01 => Some(ChallengeKind::TlsAlpn),
        ChallengeType::Dns01 => Some(ChallengeKind::Dns),
        ChallengeType::Unknown(ref name) if name == DNS_PERSIST => Some(ChallengeKind::DnsPersist),
        _ => None,
    }
}

/// Returns the name of the TXT record that proves control of a name (RFC 8555 §8.4).
pub(super) fn record_name(name: &Host) -> String {
    format!("_acme-challenge.{}", base(name))
}

/// Returns the name itself, or that which a wildcard is below.
fn base(name: &Host) -> &str {
    match name {
        Host::Exact(name) | Host::Below(name) => name,
        // No certificate is ever wanted for it.
        Host::Any => "",
    }
}

/// Creates the certificate that proves control of a name (RFC 8737 §3).
fn challenge_key(name: &str, proof: &KeyAuthorization) -> Result<Arc<CertifiedKey>, OrderError> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(proof.digest().as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = default_provider().key_provider.load_private_key(key);
    let key = key.map_err(|error| OrderError::Certificate(error.to_string()))?;
    // `CertifiedKey::from_der` would refuse the critical extension, which only authorities know.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}
