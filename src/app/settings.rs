//! Turns the configuration into the settings of each part.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::certificates::{CertificateFiles, Certificates, ServedCertificate};
use crate::config::{ConnectionsConfig, TlsFiles, Unmatched};
use crate::connect::BackendTls;
use crate::connection_limits::{ConnectionLimits, PortConnections};
use crate::domain::Host;
use crate::memory_budget::MemoryBudget;
use crate::registry::RegistryLimits;
use crate::{pipe, proxy, tls};

use super::checked_config::CheckedConfig;
use super::renewal::WatchedCertificate;

/// Returns the bounds of the registry.
pub(super) fn registry_limits(config: &CheckedConfig) -> RegistryLimits {
    RegistryLimits {
        grace: config.grace,
        lease_max: config.lease_max,
        staged_ttl: config.staged_ttl,
        sessions_max: config.plain.sessions.sessions_max,
        sessions_per_origin_max: config.plain.sessions.sessions_per_address_max,
        routes_per_session_max: config.plain.sessions.routes_max,
        streams_max: config.plain.api.streams_max,
        audit_keep: config.audit_keep,
        audit_records_max: config.plain.audit.records_max,
        ..RegistryLimits::default()
    }
}

pub(super) fn proxy_settings(config: &CheckedConfig, memory: &MemoryBudget) -> anyhow::Result<proxy::ProxySettings> {
    Ok(proxy::ProxySettings {
        https_port: config.plain.proxy.https_port,
        workers: config.plain.proxy.workers,
        trusted_proxies: config.plain.proxy.trusted_proxies.clone(),
        proxy_protocol: config.plain.proxy.proxy_protocol.clone(),
        unmatched: unmatched(config.plain.proxy.unmatched),
        error_details: config.plain.proxy.error_details,
        deny: config.plain.deny.clone(),
        tls: backend_tls(config.plain.ca.as_deref())?,
        connections_max: config.plain.proxy.connections.all,
        address_connections_max: config.plain.proxy.connections.of_address,
        drain: config.drain.std(),
        memory: memory.clone(),
        ..proxy::ProxySettings::new(config.plain.proxy.http)
    })
}

pub(super) fn backend_tls(ca: Option<&Path>) -> anyhow::Result<BackendTls> {
    let Some(path) = ca else { return Ok(BackendTls::new()) };
    let told = || format!("backends.ca: {} cannot be used", path.display());
    let pem = std::fs::read(path).with_context(told)?;
    BackendTls::trusting(&pem).map_err(|why| anyhow!(why)).with_context(told)
}

/// Returns the part of the proxy's settings that a reload replaces.
pub(super) fn reloadable_settings(config: &CheckedConfig) -> proxy::ReloadableSettings {
    proxy::ReloadableSettings {
        trusted_proxies: config.plain.proxy.trusted_proxies.clone(),
        proxy_protocol: config.plain.proxy.proxy_protocol.clone(),
        unmatched: unmatched(config.plain.proxy.unmatched),
        error_details: config.plain.proxy.error_details,
        connections_max: config.plain.proxy.connections.all,
        address_connections_max: config.plain.proxy.connections.of_address,
        drain: config.drain.std(),
    }
}

fn unmatched(configured: Unmatched) -> proxy::UnmatchedPolicy {
    match configured {
        Unmatched::NotFound => proxy::UnmatchedPolicy::NotFound,
        Unmatched::Close => proxy::UnmatchedPolicy::Close,
    }
}

/// Returns the files of all certificates, with the domains for which each is served.
pub(super) fn wanted_certificates(config: &CheckedConfig) -> Vec<(CertificateFiles, Vec<Host>)> {
    let ports = [&config.plain.pipe.tls, &config.plain.api.tls].into_iter().flatten();
    let ports = ports.map(|files| (certificate_files(files.clone()), Vec::new()));
    let own = config.plain.certificates.iter().zip(&config.certificate_domains);
    let proxy = own.map(|(own, domains)| (certificate_files(own.files.clone()), domains.clone()));
    ports.chain(proxy).collect()
}

fn certificate_files(files: TlsFiles) -> CertificateFiles {
    let TlsFiles { section, cert, key, client_ca } = files;
    CertificateFiles { section, cert, key, client_ca }
}

/// Loads all certificates.
pub(super) fn load_certificates(config: &CheckedConfig) -> anyhow::Result<Vec<WatchedCertificate>> {
    let wanted = wanted_certificates(config).into_iter();
    wanted.map(|(files, domains)| Ok(WatchedCertificate::load(files, domains)?)).collect()
}

/// Returns the TLS of a port; `None` if it has no certificate.
pub(super) fn acceptor(loaded: &[WatchedCertificate], section: &str, protocols: &[&str]) -> Option<tls::Acceptor> {
    let own = loaded.iter().find(|certificate| certificate.files.section == section)?;
    Some(tls::Acceptor::new(&own.current, protocols))
}

/// Serves the proxy's certificates of these from the next handshake on.
pub(super) fn serve_proxy(certificates: &Certificates, loaded: &[WatchedCertificate], config: &CheckedConfig) {
    let own = loaded.iter().filter(|certificate| certificate.files.section == "tls");
    let served: Vec<_> = own.map(|certificate| certificate.current.clone()).collect();
    let default = config.tls_default.as_ref();
    let is_served = |name: &Host| {
        let is_covered = |own: &ServedCertificate| matches!(name, Host::Exact(name) if own.covers(name));
        served.iter().any(|own| own.names.contains(name) || is_covered(own))
    };
    // A certificate that is not here may be obtained.
    if let Some(name) = default.filter(|name| config.plain.acme.is_none() && !is_served(name)) {
        tracing::warn!(%name, "proxy.tls_default: no certificate in [[tls]] has this name; handshakes without a known name are refused");
    }
    certificates.set_configured(served, default);
}

pub(super) fn pipe_settings(config: &CheckedConfig, api: SocketAddr, memory: MemoryBudget) -> pipe::PipeSettings {
    pipe::PipeSettings {
        max_line: config.plain.pipe.max_line,
        max_reply: config.plain.pipe.max_reply,
        line_timeout: config.line_timeout.std(),
        idle_timeout: config.idle_timeout.std(),
        connections: connections_of(config, config.plain.pipe.connections),
        api: Some(api),
        memory,
    }
}

/// The places of a port's connections.
pub(super) fn connections_of(config: &CheckedConfig, counts: ConnectionsConfig) -> PortConnections {
    let limits = ConnectionLimits { all: counts.all, of_origin: counts.of_address };
    PortConnections::new(limits, config.plain.proxy.trusted_proxies.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cli;

    #[test]
    fn the_registry_has_the_bounds_that_the_configuration_has_by_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cli = Cli::read(["signalbox", "--config", file.path().to_str().unwrap()]).unwrap();
        assert_eq!(registry_limits(&CheckedConfig::new(cli.load().unwrap()).unwrap()), RegistryLimits::default());
    }
}
