//! One attempt to get a certificate, from the order to the chain.
//!
//! Invariants: an order and its key are kept before the authority is asked to sign, so that an attempt after a crash
//! goes on with the same order; an order that cannot succeed any more is not kept, nor one that two attempts failed with;
//! each order has a key of its own.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, Error, Identifier, NewOrder, Order,
    OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{sleep, timeout};

use super::account::AccountKeeper;
use super::directory::DirectoryClient;
use super::error::{OrderError, is_rate_limited, is_refusal, problem_words, with_fresh_nonces};
use super::folder::{AcmeFolder, StoredOrder};
use super::plan::{ChallengeKind, FailedAttempt, RenewalWindow, choose};
use super::proofs::{ProofPlaces, ShownProof, challenge_kind, challenge_type};
use super::settings::AcmeSettings;
use crate::connect::{BackendTls, NameLookup};
use crate::domain::{Host, Span, Time};

/// The longest time of an attempt.
const ATTEMPT_TIME: Duration = Duration::from_mins(5);
/// The first and the longest time between two looks at an order.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// The longest time between two looks that the authority may ask for.
const TOLD_LOOK_MAX: Duration = Duration::from_secs(30);

/// A certificate authority, with all that attempts need. One for all attempts under the same settings.
#[derive(Debug)]
pub(super) struct Authority {
    pub(super) settings: Arc<AcmeSettings>,
    pub(super) folder: AcmeFolder,
    places: ProofPlaces,
    accounts: AccountKeeper,
    names: NameLookup,
    tls: BackendTls,
}

/// A certificate that was obtained.
#[derive(Debug)]
pub(super) struct Issued {
    /// The private key and the chain, as PEM.
    pub(super) pem: String,
    /// The way that proved control; `None` if the authority had a proof already.
    pub(super) worked: Option<ChallengeKind>,
}

impl Authority {
    pub(super) fn new(
        settings: Arc<AcmeSettings>,
        folder: AcmeFolder,
        places: ProofPlaces,
        names: NameLookup,
        tls: BackendTls,
    ) -> Self {
        let accounts = AccountKeeper::new(Arc::clone(&settings), folder.clone());
        Self { settings, folder, places, accounts, names, tls }
    }

    /// Gets a certificate for a name. `failures` is the number of failed attempts before, and `worked` the way that
    /// proved control last.
    pub(super) async fn obtain(
        &self,
        name: &Host,
        failures: u32,
        worked: Option<ChallengeKind>,
    ) -> Result<Issued, FailedAttempt> {
        let client = DirectoryClient::new(self.names.clone(), self.tls.clone());
        let is_second = self.folder.order(name, &self.settings.directory).is_some();
        let attempt = timeout(ATTEMPT_TIME, self.attempt(&client, name, failures, worked)).await;
        let error = match attempt.unwrap_or(Err(OrderError::TooSlow)) {
            Ok(issued) => return Ok(issued),
            Err(error) => error,
        };
        // The order may still succeed if only a request failed; one that is broken would fail for ever.
        if is_second || !matches!(&error, OrderError::Directory(error) if !is_refusal(error)) {
            self.folder.forget_order(name);
        }
        self.accounts.forget_if_unknown(&error).await;
        Err(FailedAttempt::new(&error, client.attempt_wait()))
    }

    /// Asks for the renewal window of a name's certificate, and the time until the next question. `None` if the
    /// directory has no windows.
    pub(super) async fn ask_window(&self, name: &Host) -> Result<Option<(RenewalWindow, Span)>, FailedAttempt> {
        let client = DirectoryClient::new(self.names.clone(), self.tls.clone());
        let asked = async {
            let Some(certificate) = self.identifier(name) else { return Ok(None) };
            let account = self.accounts.open(&client).await?;
            match account.renewal_info(&certificate).await {
                Ok((info, again)) => {
                    let (start, end) = (info.suggested_window.start, info.suggested_window.end);
                    let time = |seconds: i64| Time(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
                    let window = RenewalWindow { start: time(start.unix_timestamp()), end: time(end.unix_timestamp()) };
                    Ok(Some((window, Span::from_secs(again.as_secs()))))
                }
                Err(Error::Unsupported(_)) => Ok(None),
                Err(error) => Err(OrderError::from(error)),
            }
        };
        asked.await.map_err(|error| FailedAttempt::new(&error, None))
    }

    async fn attempt(
        &self,
        client: &DirectoryClient,
        name: &Host,
        failures: u32,
        worked: Option<ChallengeKind>,
    ) -> Result<Issued, OrderError> {
        let account = self.accounts.open(client).await?;
        let (mut order, key) = match self.resume(&account, name).await? {
            Some(begun) => begun,
            None => self.begin(&account, name).await?,
        };
        let proof = self.prove(client, &mut order, name, failures, worked).await?;
        if order.state().status == OrderStatus::Ready {
            let csr = signing_request(name, &key)?;
            with_fresh_nonces!(order.finalize_csr(&csr))?;
        }
        decided(client, &mut order, OrderStatus::Processing).await?;
        let chain = with_fresh_nonces!(order.certificate())?.ok_or(OrderError::Ended)?;
        Ok(Issued { pem: key.serialize_pem() + &chain, worked: proof.map(|proof| proof.kind) })
    }

    /// Takes up the order that a former attempt has begun, unless it has ended.
    async fn resume(&self, account: &Account, name: &Host) -> Result<Option<(Order, KeyPair)>, OrderError> {
        let Some(kept) = self.folder.order(name, &self.settings.directory) else { return Ok(None) };
        let served = self.folder.certificate(name).unwrap_or_default();
        let is_done = memchr::memmem::find(&served, kept.key.as_bytes()).is_some();
        if !is_done && let Ok(key) = KeyPair::from_pem(&kept.key) {
            match with_fresh_nonces!(account.order(kept.url.clone())) {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok(Some((order, key)));
                    }
                }
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.folder.forget_order(name);
        Ok(None)
    }

    async fn begin(&self, account: &Account, name: &Host) -> Result<(Order, KeyPair), OrderError> {
        let identifiers = [Identifier::Dns(name.to_string())];
        let replacing = self.identifier(name).map(|old| NewOrder::new(&identifiers).replaces(old));
        let replaced = match &replacing {
            Some(new) => Some(with_fresh_nonces!(account.new_order(new))),
            None => None,
        };
        let order = match replaced {
            Some(Ok(order)) => order,
            Some(Err(error)) if is_rate_limited(&error) => return Err(error.into()),
            // The directory has no windows, or cannot replace this certificate.
            Some(Err(_)) | None => with_fresh_nonces!(account.new_order(&NewOrder::new(&identifiers)))?,
        };
        let key = KeyPair::generate()?;
        let directory = self.settings.directory.clone();
        let kept = StoredOrder { directory, url: order.url().to_owned(), key: key.serialize_pem() };
        self.folder.keep_order(name, &kept)?;
        Ok((order, key))
    }

    /// Returns the identifier of a name's certificate, by which a directory knows it (RFC 9773 §4.1).
    fn identifier(&self, name: &Host) -> Option<CertificateIdentifier<'static>> {
        let own = CertificateDer::from_pem_slice(&self.folder.certificate(name)?).ok()?;
        CertificateIdentifier::try_from(&own).ok().map(CertificateIdentifier::into_owned)
    }

    /// Proves control of the name and waits until the authority has decided. `None` if it had a proof already.
    async fn prove(
        &self,
        client: &DirectoryClient,
        order: &mut Order,
        name: &Host,
        failures: u32,
        worked: Option<ChallengeKind>,
    ) -> Result<Option<ShownProof>, OrderError> {
        if order.state().status != OrderStatus::Pending {
            return Ok(None);
        }
        let shown = self.show_proof(order, name, failures, worked).await?;
        let is_persistent = shown.as_ref().is_some_and(|shown| shown.kind == ChallengeKind::DnsPersist);
        decided(client, order, OrderStatus::Pending).await.map_err(|error| match error {
            OrderError::Refused(words) if is_persistent => {
                OrderError::Refused(format!("{words}; `signalbox certs dns '{name}'` tells the record that is needed"))
            }
            other => other,
        })?;
        Ok(shown)
    }

    async fn show_proof(
        &self,
        order: &mut Order,
        name: &Host,
        failures: u32,
        worked: Option<ChallengeKind>,
    ) -> Result<Option<ShownProof>, OrderError> {
        with_fresh_nonces!(fetch_authorization(order))?;
        let mut all = order.authorizations();
        let mut authorization = all.next().await.ok_or(OrderError::Ended)??;
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(None),
            AuthorizationStatus::Pending => {}
            _ => return Err(OrderError::Ended),
        }
        let begun = authorization.challenges.iter().find(|own| own.status == ChallengeStatus::Processing);
        let begun = begun.and_then(challenge_kind);
        let offered: Vec<ChallengeKind> = authorization.challenges.iter().filter_map(challenge_kind).collect();
        let hook = self.settings.dns_hook.as_deref();
        let chosen = begun.or_else(|| choose(&offered, hook.is_some(), worked, failures));
        let kind = chosen.ok_or(OrderError::NoWay(match name {
            Host::Below(_) => "a wildcard needs dns-01, for which acme.dns_hook is to be set, or dns-persist-01",
            _ => "it offers none of http-01, tls-alpn-01, dns-persist-01 and, with acme.dns_hook, dns-01",
        }))?;
        let mut challenge = authorization.challenge(challenge_type(kind)).ok_or(OrderError::Ended)?;
        let shown = self.places.show(kind, name, &challenge, &challenge.key_authorization(), hook).await?;
        if begun.is_none() {
            with_fresh_nonces!(challenge.set_ready())?;
        }
        Ok(Some(shown))
    }
}

/// Fetches the only authorization of an order.
async fn fetch_authorization(order: &mut Order) -> Result<(), Error> {
    order.authorizations().next().await.transpose().map(drop)
}

/// Looks at the order until its status is no longer `status`.
async fn decided(client: &DirectoryClient, order: &mut Order, status: OrderStatus) -> Result<(), OrderError> {
    let mut pause = LOOKS.0;
    while order.state().status == status {
        let told = client.look_wait().unwrap_or_default().std().min(TOLD_LOOK_MAX);
        sleep(pause.max(told)).await;
        pause = (pause * 3 / 2).min(LOOKS.1);
        with_fresh_nonces!(look_at(order))?;
    }
    if order.state().status == OrderStatus::Invalid { Err(refused(order).await) } else { Ok(()) }
}

async fn look_at(order: &mut Order) -> Result<(), Error> {
    order.refresh().await.map(drop)
}

/// Returns the reason why an order is invalid: that of the challenge, which is more precise, or of the order.
async fn refused(order: &mut Order) -> OrderError {
    let of_order = order.state().error.as_ref().map(problem_words);
    let of_challenge = with_fresh_nonces!(challenge_error(order)).ok().flatten();
    of_challenge.or(of_order).map_or(OrderError::Ended, OrderError::Refused)
}

async fn challenge_error(order: &mut Order) -> Result<Option<String>, Error> {
    let mut all = order.authorizations();
    let Some(authorization) = all.next().await else { return Ok(None) };
    let mut authorization = authorization?;
    let state = authorization.refresh().await?;
    Ok(state.challenges.iter().find_map(|challenge| challenge.error.as_ref()).map(problem_words))
}

/// Returns the signing request of a name, in DER.
fn signing_request(name: &Host, key: &KeyPair) -> Result<Vec<u8>, OrderError> {
    let mut params = CertificateParams::new([name.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}
