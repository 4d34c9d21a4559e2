//! All certificates at one moment, and the choice among them. An immutable value.
//!
//! Invariants: an exact name comes before a wildcard; among several certificates for one name the one that expires last is
//! chosen, then the first one of the configuration; obtained certificates come after those of the configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::authorities::ClientAuthorities;
use super::groups::TlsGroup;
use super::served::ServedCertificate;
use crate::domain::Host;

/// All certificates at one moment.
#[derive(Clone, Debug, Default)]
pub struct CertificateSet {
    configured: Vec<Arc<ServedCertificate>>,
    obtained: BTreeMap<Host, Arc<ServedCertificate>>,
    challenges: HashMap<Arc<str>, Arc<CertifiedKey>>,
    // The name whose certificate is served to clients that ask for no name or an unknown one.
    default: Option<Arc<str>>,
    // The places in `entries` by name; wildcards by the name after `*.`.
    exact: HashMap<Arc<str>, usize>,
    wildcards: HashMap<Arc<str>, usize>,
    entries: Vec<SetEntry>,
}

/// A certificate and the TLS settings of its domains.
#[derive(Clone, Debug)]
pub(super) struct SetEntry {
    pub(super) certificate: Arc<ServedCertificate>,
    pub(super) group: Arc<TlsGroup>,
}

/// Creates the TLS settings of the domains with the same client authorities.
type MakeGroup<'a> = dyn Fn(Option<Arc<ClientAuthorities>>) -> Arc<TlsGroup> + 'a;

/// A part of the set that is replaced.
pub(super) enum SetChange {
    Configured(Vec<Arc<ServedCertificate>>, Option<Arc<str>>),
    Obtained(Vec<(Host, Arc<ServedCertificate>)>),
    NotObtained(Host),
    Challenge(Arc<str>, Arc<CertifiedKey>),
    NoChallenge(Arc<str>),
}

impl CertificateSet {
    /// Returns the certificates of the configuration's files, in their order.
    pub fn configured(&self) -> &[Arc<ServedCertificate>] {
        &self.configured
    }

    /// Returns the certificates that were obtained, with the name for which each was.
    pub fn obtained(&self) -> impl Iterator<Item = (&Host, &Arc<ServedCertificate>)> {
        self.obtained.iter()
    }

    /// Returns the certificate for a host name in lower case, without regard to the default.
    pub fn named(&self, host: &str) -> Option<&Arc<ServedCertificate>> {
        self.entry(host).map(|entry| &entry.certificate)
    }

    /// Returns the certificate for the name that a client asks for, or else the default.
    pub(super) fn choose(&self, name: Option<&str>) -> Option<&SetEntry> {
        name.and_then(|name| self.entry(name)).or_else(|| self.entry(self.default.as_ref()?))
    }

    /// Returns the challenge certificate of a name.
    pub(super) fn challenge(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.challenges.get(name)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&SetEntry> {
        let wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.entries.get(*self.exact.get(name).or_else(wildcard)?)
    }

    /// Returns the set after a change. `make` creates the TLS settings of a group that the set has not had yet.
    #[must_use]
    pub(super) fn after(&self, change: &SetChange, make: &MakeGroup<'_>) -> Self {
        let mut next = self.clone();
        match change {
            SetChange::Challenge(name, key) => {
                next.challenges.insert(Arc::clone(name), Arc::clone(key));
                return next;
            }
            SetChange::NoChallenge(name) => {
                next.challenges.remove(name);
                return next;
            }
            SetChange::Configured(certificates, default) => {
                (next.configured, next.default) = (certificates.clone(), default.clone());
            }
            SetChange::Obtained(certificates) => next.obtained.extend(certificates.iter().cloned()),
            SetChange::NotObtained(name) => {
                next.obtained.remove(name);
            }
        }
        next.index(make);
        next
    }

    fn index(&mut self, make: &MakeGroup<'_>) {
        let before = std::mem::take(&mut self.entries);
        self.exact.clear();
        self.wildcards.clear();
        for certificate in self.configured.iter().chain(self.obtained.values()) {
            let known = before.iter().chain(&self.entries).map(|entry| &entry.group);
            let authorities = certificate.authorities.as_ref();
            let group = known.into_iter().find(|group| group.is_of(authorities.map(|own| &**own))).cloned();
            let group = group.unwrap_or_else(|| make(authorities.cloned()));
            self.entries.push(SetEntry { certificate: Arc::clone(certificate), group });
        }
        for at in 0..self.entries.len() {
            self.index_names(at);
        }
    }

    fn index_names(&mut self, at: usize) {
        let Some(entry) = self.entries.get(at) else { return };
        for name in &entry.certificate.names {
            let (map, name) = match name {
                Host::Exact(name) => (&mut self.exact, name),
                Host::Below(base) => (&mut self.wildcards, base),
                Host::Any => continue,
            };
            let holder = map.get(name).and_then(|at| self.entries.get(*at));
            let expires = |entry: &SetEntry| entry.certificate.facts.not_after;
            if holder.is_none_or(|holder| expires(holder) < expires(entry)) {
                map.insert(Arc::clone(name), at);
            }
        }
    }
}
