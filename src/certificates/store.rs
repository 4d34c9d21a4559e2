//! The certificates as the running server shares them: replaced as a whole set, read by every handshake.

use std::fmt;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::groups::{ACME_TLS, TlsGroup, challenge_config};
use super::selection::{Selection, TlsIdentity};
use super::served::ServedCertificate;
use super::set::{CertificateSet, SetChange};
use crate::domain::Host;

/// The certificates that are served. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Certificates {
    set: Arc<ArcSwap<CertificateSet>>,
    challenge: Arc<ServerConfig>,
}

impl Certificates {
    /// Creates a store without certificates.
    pub fn new() -> Self {
        let set = Arc::new(ArcSwap::from_pointee(CertificateSet::default()));
        let challenge = challenge_config(Arc::new(Resolver(Arc::downgrade(&set))));
        Self { set, challenge }
    }

    /// Returns all certificates at this moment.
    pub fn current(&self) -> Arc<CertificateSet> {
        self.set.load_full()
    }

    /// Replaces all certificates that come from files; obtained ones stay. A client that asks for no name, or an unknown one, gets
    /// the certificate of the name `default`.
    pub fn set_configured(&self, certificates: Vec<ServedCertificate>, default: Option<&Host>) {
        let certificates = certificates.into_iter().map(Arc::new).collect();
        let default = match default {
            Some(Host::Exact(name)) => Some(Arc::clone(name)),
            // Any one label stands for all names below.
            Some(Host::Below(base)) => Some(format!("*.{base}").into()),
            Some(Host::Any) | None => None,
        };
        self.change(&SetChange::Configured(certificates, default));
    }

    /// Adds or replaces certificates, each with the name for which it was obtained.
    pub fn set_obtained(&self, certificates: impl IntoIterator<Item = (Host, ServedCertificate)>) {
        let shared = certificates.into_iter().map(|(name, certificate)| (name, Arc::new(certificate)));
        self.change(&SetChange::Obtained(shared.collect()));
    }

    /// Removes the certificate that was obtained for `name`.
    pub fn remove_obtained(&self, name: &Host) {
        self.change(&SetChange::NotObtained(name.clone()));
    }

    /// Serves `key` to clients that ask for a challenge certificate of `name` (TLS-ALPN-01, RFC 8737).
    pub fn set_challenge(&self, name: &str, key: Arc<CertifiedKey>) {
        self.change(&SetChange::Challenge(name.into(), key));
    }

    /// Ends the challenge of `name`.
    pub fn remove_challenge(&self, name: &str) {
        self.change(&SetChange::NoChallenge(name.into()));
    }

    /// Returns the settings for a connection that begins with `hello`.
    pub fn select(&self, hello: &ClientHello<'_>) -> Selection {
        if asks_for_challenge(hello) {
            return Selection::Challenge(Arc::clone(&self.challenge));
        }
        TlsIdentity::new(&self.set.load(), hello.server_name()).map_or(Selection::Unknown, Selection::Serve)
    }

    /// Returns settings for a connection before its `ClientHello` has come. No handshake is done with them.
    pub fn before_choice(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.challenge)
    }

    /// Returns a resolver of these certificates, also of those that will replace them.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Resolver(Arc::downgrade(&self.set)))
    }

    fn change(&self, change: &SetChange) {
        let make = |authorities| Arc::new(TlsGroup::new(authorities, self.resolver()));
        self.set.rcu(|set| set.after(change, &make));
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.set.load().fmt(out)
    }
}

/// Looks a certificate up at each handshake. It does not keep the set, which holds settings that hold resolvers.
struct Resolver(Weak<ArcSwap<CertificateSet>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.0.upgrade()?;
        let set = set.load();
        if asks_for_challenge(&hello) {
            return set.challenge(hello.server_name()?).cloned();
        }
        set.choose(hello.server_name()).map(|entry| Arc::clone(&entry.certificate.key))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Resolver")
    }
}

/// Returns true if `acme-tls/1` is the only protocol that the client offers.
fn asks_for_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
}

#[cfg(test)]
mod tests;
