//! The choice for a connection: the certificate and settings that its `ClientHello` gets, and the hosts that it may then ask for.

use std::sync::Arc;

use rustls::ServerConfig;

use super::groups::TlsGroup;
use super::served::ServedCertificate;
use super::set::{CertificateSet, SetEntry};

/// The settings that a `ClientHello` gets.
#[derive(Debug)]
pub enum Selection {
    /// A certificate is served.
    Serve(TlsIdentity),
    /// The client only asks for a challenge certificate. The connection ends after the handshake.
    Challenge(Arc<ServerConfig>),
    /// There is no certificate for the name.
    Unknown,
}

/// The identity that a connection has shown its client.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    certificate: Arc<ServedCertificate>,
    group: Arc<TlsGroup>,
    // The name that the client asked for.
    name: Option<Box<str>>,
    // True if the certificate is the default one, not the one of the name.
    is_default: bool,
}

impl TlsIdentity {
    pub(super) fn new(set: &CertificateSet, name: Option<&str>) -> Option<Self> {
        let SetEntry { certificate, group } = set.choose(name)?;
        let (certificate, group) = (Arc::clone(certificate), Arc::clone(group));
        let is_default = name.is_none_or(|name| set.named(name).is_none());
        Some(Self { certificate, group, name: name.map(Box::from), is_default })
    }

    /// Returns the certificate that was shown.
    pub fn certificate(&self) -> &Arc<ServedCertificate> {
        &self.certificate
    }

    /// Returns the TLS settings of the connection.
    pub fn group(&self) -> &TlsGroup {
        &self.group
    }

    /// Returns the name that the client asked for, in lower case.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns true if requests for `host`, a name in lower case, may be answered on this connection: the certificate covers it
    /// and the host does not require another client certificate. If not, the answer is 421 (RFC 9110 §15.5.20). `current`
    /// returns the certificates of now.
    pub fn may_ask_for(&self, host: &str, current: impl FnOnce() -> Arc<CertificateSet>) -> bool {
        if self.name() == Some(host) {
            return true;
        }
        let current = current();
        let own = current.choose(Some(host));
        let covered = self.certificate.covers(host) || (self.is_default && current.named(host).is_none());
        covered && own.is_none_or(|own| own.group.has_authorities_of(&self.group))
    }
}
