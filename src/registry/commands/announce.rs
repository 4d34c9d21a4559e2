//! News of the server itself: its configuration changed, or a certificate was renewed.
//!
//! A changed configuration is one event for all sessions. A renewed certificate is an event for each session that has
//! an active route under one of its names.

use std::sync::Arc;

use crate::domain::{Catalog, Event, Host, Session, SessionId, Time};

use crate::registry::audit::{AuditAction, AuditDetails};

use super::decision::{Decided, Decision, DecisionContext, Reply};

/// News of the server itself.
#[derive(Clone, Debug)]
pub enum Announce {
    /// The configuration of the server changed.
    GlobalConfigChanged {
        /// The reason of the reload.
        reason: &'static str,
        /// The keys that changed.
        keys: String,
    },
    /// A backup of the store is handed out.
    BackupMade {
        /// The revision of the store in it.
        revision: u64,
        /// Its length in bytes.
        bytes: u64,
    },
    /// The server begins to serve.
    ServerStarted,
    /// The server ends in good order.
    ServerStopped {
        /// The reason.
        reason: &'static str,
    },
    /// A certificate was renewed.
    CertRenewed {
        /// The names of the certificate.
        names: Vec<Host>,
        /// The time at which the new certificate expires.
        expiry: Time,
    },
}

impl Announce {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let nothing = Decided::new(Reply::Done, Vec::new());
        Ok(match self {
            Announce::GlobalConfigChanged { reason, keys } => {
                let details = AuditDetails { keys: Some(keys.clone()), ..AuditDetails::of_reason(reason) };
                let event = Event::GlobalConfigChanged { reason: Arc::from(format!("{reason}: {keys}")) };
                nothing.with_server_event(event).with_server_audit(AuditAction::ConfigReloaded, details)
            }
            Announce::BackupMade { revision, bytes } => {
                let details = AuditDetails::of_reason(&format!("{bytes} bytes, of the store at revision {revision}"));
                nothing.with_server_audit(AuditAction::BackupMade, details)
            }
            Announce::ServerStarted => {
                let version = Some(env!("CARGO_PKG_VERSION").to_owned());
                let details = AuditDetails { version, ..AuditDetails::default() };
                nothing.with_server_audit(AuditAction::ServerStarted, details)
            }
            Announce::ServerStopped { reason } => {
                nothing.with_server_audit(AuditAction::ServerStopped, AuditDetails::of_reason(reason))
            }
            Announce::CertRenewed { names, expiry } => catalog.sessions().fold(nothing, |decided, session| {
                names.iter().filter(|name| concerns(name, session)).fold(decided, |decided, name| {
                    let event = Event::CertRenewed { domain: name.clone(), expiry: *expiry };
                    decided.with_event(session.key, event)
                })
            }),
        })
    }
}

/// Returns true if clients of an active route of the session can get a certificate with this name.
fn concerns(name: &Host, session: &Session) -> bool {
    session.active.routes.values().flat_map(|route| &route.domains).any(|domain| meet(name, domain))
}

/// Returns true if a name of a certificate and a domain of a route have a host in common. A wildcard of a certificate
/// stands for one label (RFC 6125 §6.4.3), one of a route for any number.
fn meet(name: &Host, domain: &Host) -> bool {
    match (name, domain) {
        (Host::Any, _) | (_, Host::Any) => true,
        (Host::Exact(name), domain) => domain.covers(name),
        (Host::Below(base), Host::Exact(host)) => host.split_once('.').is_some_and(|(_, rest)| *rest == **base),
        (Host::Below(base), domain @ Host::Below(own)) => base == own || domain.covers(base),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_concerns_the_domains_that_share_a_host_with_its_names() {
        for (name, domain, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "b.example", false),
            ("a.example", "*.example", true),
            ("a.example", "*.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "*.example", true),
            ("*.b.example", "*.example", true),
            ("*.example", "*.b.example", false),
            ("*.example", "*.other", false),
            ("a.example", "*", true),
        ] {
            let [first, second] = [name, domain].map(|text| Host::parse(text).unwrap());
            assert_eq!(meet(&first, &second), expected, "{name} {domain}");
        }
    }
}
