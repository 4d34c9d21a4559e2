//! The TLS settings of groups of domains. A group is the domains with the same client authorities.
//!
//! Invariants: no two groups share the keys of their session tickets, so that a session without a client certificate is
//! never resumed where one is required; a group lives on while certificates change, so that its tickets go on resuming.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};

use super::authorities::ClientAuthorities;

/// The protocol of ALPN that only asks for a challenge certificate (RFC 8737 §6.2).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The TLS settings of the domains with the same client authorities.
pub struct TlsGroup {
    authorities: Option<Arc<ClientAuthorities>>,
    /// For connections that speak only HTTP/1.1.
    pub http1: Arc<ServerConfig>,
    /// For connections that may speak HTTP/2.
    pub http2: Arc<ServerConfig>,
    /// For connections over QUIC, which speak HTTP/3. No data is taken before the end of the handshake (0-RTT).
    pub http3: Arc<ServerConfig>,
}

impl TlsGroup {
    /// Makes the settings for `authorities`, with certificates from `resolver`.
    pub(super) fn new(authorities: Option<Arc<ClientAuthorities>>, resolver: Arc<dyn ResolvesServerCert>) -> Self {
        let mut config = config(authorities.as_deref(), resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, b"h2".to_vec());
        let http2 = Arc::new(config.clone());
        config.alpn_protocols = vec![b"h3".to_vec()];
        Self { authorities, http1, http2, http3: Arc::new(config) }
    }

    /// Returns true if it is the group of `authorities`.
    pub(super) fn is_of(&self, authorities: Option<&ClientAuthorities>) -> bool {
        self.authorities.as_deref() == authorities
    }

    /// Returns true if both require the same client certificates.
    pub(super) fn has_authorities_of(&self, other: &TlsGroup) -> bool {
        self.is_of(other.authorities.as_deref())
    }

    /// Returns true if its clients have shown a certificate.
    pub fn requires_certificate(&self) -> bool {
        self.authorities.is_some()
    }
}

impl fmt::Debug for TlsGroup {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TlsGroup({:?})", self.authorities)
    }
}

/// Returns the settings of connections that only ask for a challenge certificate.
pub(super) fn challenge_config(resolver: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let mut config = builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Returns the settings for clients with certificates of `authorities`.
pub(super) fn config(authorities: Option<&ClientAuthorities>, resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
    let builder = match authorities {
        None => builder().with_no_client_auth(),
        Some(authorities) => builder().with_client_cert_verifier(authorities.verifier()),
    };
    let mut config = builder.with_cert_resolver(resolver);
    // Without random numbers there are no tickets, and sessions are resumed from memory.
    if let Ok(ticketer) = Ticketer::new() {
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    config
}

fn builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    // Fails only for a provider without cipher suites for TLS 1.2 and 1.3.
    builder.with_safe_default_protocol_versions().expect("ring speaks TLS")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::Certificates;

    #[test]
    fn no_data_is_taken_before_the_end_of_the_handshake_and_each_transport_has_its_protocols() {
        let group = TlsGroup::new(None, Certificates::new().resolver());
        for (config, protocols) in
            [(&group.http1, &["http/1.1"][..]), (&group.http2, &["h2", "http/1.1"]), (&group.http3, &["h3"])]
        {
            // What comes earlier can be sent again by anybody (RFC 8446 §8).
            assert_eq!(config.max_early_data_size, 0);
            assert!(config.alpn_protocols.iter().map(Vec::as_slice).eq(protocols.iter().map(|name| name.as_bytes())));
        }
    }
}
