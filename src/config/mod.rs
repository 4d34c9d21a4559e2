//! The configuration. Flags override environment variables, these override the file, and the file overrides the
//! defaults.
//!
//! Each key is defined once, in `sections`: its type, flag, variable and default. A value has the same parser wherever
//! it comes from. Only this module reads the environment. It uses no other part of the server: a value whose form
//! another part knows stays a text with its place ([`Written`]). `app` reads these, and converts the result into the
//! settings of the parts.

mod changes;
mod choices;
mod command;
mod config_key;
mod conflicts;
mod ctl;
mod file;
mod file_sections;
mod key_change;
mod otel;
mod parts;
mod percent;
mod sections;
mod source;
mod telemetry;
mod telemetry_values;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use ipnet::IpNet;

pub use choices::{AccessFormat, AccessPlace, CollectorSpeaks, LogFormat, Unmatched};
pub use command::{Cli, RestoreOptions, Task, passed_socket_names};
pub use ctl::{
    ApplyArgs, AuditArgs, BreakerFile, CheckFile, CtlCli, CtlSettings, CtlShell, CtlVerb, DrainArgs, ExplainArgs,
    FilterArgs, HistoryArgs, InstanceArg, InstanceFile, LimitFile, MaintenanceVerb, RequestArgs, RevertArgs, RouteFile,
    TapArgs, TokenArgs, TokenKind, TokenVerb, TopArgs, WaitArgs, WaitVerb, WatchArgs, completions, man, man_pages,
};
pub use ctl::{BackupArgs, ConfirmationArgs, ExportArgs, ImportArgs, RestoreArgs};
pub use file::{FileFault, place, utf8};
pub use key_change::KeyChange;
pub use parts::{
    AccessLogConfig, AcmeConfig, ApiConfig, AuditConfig, CertificateConfig, CollectorConfig, ConnectionsConfig,
    OperatorConfig, PipeConfig, ProxyConfig, SamplingConfig, ServerConfig, ServicesFolder, SessionBounds,
    TelemetryConfig, TlsFiles, TokenConfig,
};
pub use values::{Hidden, Scalar};
pub use written::Written;

use file_sections::{FileSections, OperatorSection, TlsSection, TokenSection};
use otel::OtelVariables;
use sections::{AccessSection, AcmeSection, ApiSection, KEYS, PipeSection, ProxySection};
use source::Source;
use values::{Count, Network};

impl FileSections {
    fn over(self, below: Self) -> Self {
        Self {
            pipe: self.pipe.over(below.pipe),
            api: self.api.over(below.api),
            proxy: self.proxy.over(below.proxy),
            store: self.store.over(below.store),
            session: self.session.over(below.session),
            limits: self.limits.over(below.limits),
            backends: self.backends.over(below.backends),
            acme: self.acme.over(below.acme),
            log: self.log.over(below.log),
            telemetry: self.telemetry.over(below.telemetry),
            audit: self.audit.over(below.audit),
            // These keys exist only in the file.
            defaults: below.defaults,
            tokens: below.tokens,
            operators: below.operators,
            tls: below.tls,
            services: below.services,
        }
    }

    fn complete(mut self, source: Source) -> anyhow::Result<ServerConfig> {
        let written = self.clone();
        let sessions_max = or_default(self.session.sessions_max, "sessions-max")?.0;
        let sessions_per_address_max = match self.limits.sessions_per_address {
            Some(most) => Some(most.0).filter(|most| *most > 0),
            // Behind a proxy, all clients share the address of the proxy.
            None if self.proxy.trusted_proxies.as_ref().is_some_and(|proxies| !proxies.is_empty()) => None,
            None => Some(sessions_max.div_ceil(4)),
        };
        let sessions = SessionBounds {
            grace: or_default(self.session.grace, "session-grace")?,
            lease_max: or_default(self.session.lease_max, "session-lease-max")?,
            staged_ttl: or_default(self.session.staged_ttl, "session-staged-ttl")?,
            sessions_max,
            sessions_per_address_max,
            routes_max: or_default(self.session.routes_max, "session-routes-max")?.0,
        };
        let tokens: Vec<_> = self.tokens.into_iter().map(TokenSection::complete).collect();
        let named = |operator: OperatorSection| OperatorConfig { name: operator.name, token: operator.token.0 };
        let operators: Vec<_> = self.operators.into_iter().map(named).collect();
        let has_https = self.proxy.https.is_some();
        let certificates = certificates(self.tls, has_https)?;
        let services_folder = services_folder(self.session.services_dir.take(), &source);
        let config = ServerConfig {
            services_folder,
            pipe: self.pipe.complete(!tokens.is_empty())?,
            api: self.api.complete(!operators.is_empty())?,
            proxy: self.proxy.complete()?,
            certificates,
            tokens,
            operators,
            audit: AuditConfig {
                keep: or_default(self.audit.keep, "audit-keep")?,
                records_max: or_default(self.audit.records_max, "audit-records-max")?.0,
            },
            store_url: or_default(self.store.url, "store-url")?,
            store_wait: self.store.wait,
            sessions,
            memory: self.limits.memory.map(|size| size.0),
            deny: match self.backends.deny {
                Some(deny) => networks(deny),
                None => default_of("backends-deny")?
                    .split(',')
                    .map(parsed::<Network>)
                    .map(network)
                    .collect::<Result<_, _>>()?,
            },
            ca: self.backends.ca,
            acme: self.acme.complete(has_https)?,
            default_headers: self.defaults.headers,
            default_options: self.defaults.options,
            log_filter: or_default(self.log.level, "log-level")?.0,
            log_format: self.log.format.map(|format| format.0),
            mask_query: or_default_list(self.log.mask_query, "log-mask-query")?,
            telemetry: self.telemetry.complete(OtelVariables::read())?,
            access_log: self.log.access.map(AccessSection::complete).transpose()?,
            written,
            source,
        };
        config.check_conflicts()?;
        Ok(config)
    }
}

/// Returns the default of a flag, as it is written in the file.
fn default_of(flag: &str) -> anyhow::Result<&'static str> {
    let key = KEYS.iter().find(|key| key.flag == flag);
    key.and_then(|key| key.default).with_context(|| format!("--{flag} has no default"))
}

/// Returns the given value, or else the default of the flag.
fn or_default<T: FromStr<Err: Display>>(given: Option<T>, flag: &str) -> anyhow::Result<T> {
    given.map_or_else(|| parsed(default_of(flag)?), Ok)
}

/// Returns the given texts, or else those of the default of the flag.
fn or_default_list(given: Option<Vec<Written>>, flag: &str) -> anyhow::Result<Vec<String>> {
    match given {
        Some(texts) => Ok(texts.iter().map(|text| text.text().to_owned()).collect()),
        None => Ok(default_of(flag)?.split(',').map(str::to_owned).collect()),
    }
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> anyhow::Result<T> {
    text.parse().map_err(|why| anyhow!("{why}"))
}

fn network(read: anyhow::Result<Network>) -> anyhow::Result<IpNet> {
    read.map(|network| network.0)
}

impl ServerConfig {
    /// Reads the text of `key` as the value that `parse` returns.
    ///
    /// # Errors
    /// The error of `parse`, with the place of the text: the file and line, the flag or the variable.
    pub fn value<T, E: Display>(
        &self,
        key: &str,
        written: &Written,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        parse(written.text()).map_err(|why| anyhow!("{}: {why}", self.source.place(key, written)))
    }

    /// Returns the path and the text of the configuration file, if there is one.
    pub fn file(&self) -> Option<(&Path, &str)> {
        self.source.file.as_ref().map(|file| (file.0.as_path(), file.1.as_str()))
    }

    /// Reads each text of the list of `key` as [`ServerConfig::value`] does.
    ///
    /// # Errors
    /// That of the first text that `parse` refuses.
    pub fn values<T, E: Display>(
        &self,
        key: &str,
        written: &[Written],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<Vec<T>> {
        written.iter().map(|text| self.value(key, text, &parse)).collect()
    }
}

/// Returns the folder of services: the given one, or the one beside the file.
fn services_folder(given: Option<PathBuf>, source: &Source) -> Option<ServicesFolder> {
    let beside =
        |file: &Arc<(PathBuf, String)>| ServicesFolder { path: file.0.with_file_name("conf.d"), is_given: false };
    given.map(|path| ServicesFolder { path, is_given: true }).or_else(|| source.file.as_ref().map(beside))
}

fn certificates(sections: Vec<TlsSection>, is_used: bool) -> anyhow::Result<Vec<CertificateConfig>> {
    if !sections.is_empty() && !is_used {
        bail!("[[tls]] is for proxy.https, which is not set; add https = \"0.0.0.0:443\" to [proxy]");
    }
    let complete = |section: TlsSection| {
        let TlsSection { cert, key, domains, client_ca } = section;
        let files = TlsFiles { section: "tls", cert, key, client_ca };
        CertificateConfig { files, domains }
    };
    Ok(sections.into_iter().map(complete).collect())
}

impl TokenSection {
    fn complete(self) -> TokenConfig {
        let Self { name, sha256, services, domains, path_prefixes, backends, max_routes, max_sessions, lease_max } =
            self;
        let (max_routes, max_sessions) = (max_routes.map(|count| count.0), max_sessions.map(|count| count.0));
        let backends = networks(backends);
        TokenConfig { name, sha256, services, domains, path_prefixes, backends, max_routes, max_sessions, lease_max }
    }
}

impl ApiSection {
    fn complete(self, has_operators: bool) -> anyhow::Result<ApiConfig> {
        let mut operator_tokens: Vec<Hidden<String>> =
            self.operator_tokens.unwrap_or_default().into_iter().map(|token| token.0).collect();
        if let Some(path) = &self.operator_tokens_file {
            operator_tokens.extend(tokens_in(path)?);
        }
        let listen = or_default(self.listen, "api-listen")?.0;
        let has_tokens = has_operators || !operator_tokens.is_empty();
        if !is_local(listen) && !has_tokens && !or_default(self.insecure, "api-insecure")?.0 {
            bail!(
                "api.listen: other machines reach {listen}, and there is no operator token; set [[operators]], \
                 api.operator_tokens or api.operator_tokens_file, or else api.insecure = true"
            );
        }
        let all = or_default(self.connections_max, "api-connections-max")?;
        Ok(ApiConfig {
            listen,
            operator_tokens,
            hosts: self.hosts.unwrap_or_default(),
            publish: self.publish,
            max_body: or_default(self.max_body, "api-max-body")?.0,
            connections: connections(all, self.address_connections_max),
            streams_max: or_default(self.streams_max, "api-streams-max")?.0,
            tls: tls("api", self.cert, self.key, self.client_ca)?,
            cors: self.cors.unwrap_or_default().into_iter().map(|origin| origin.0).collect(),
        })
    }
}

/// Reads the operator tokens in a file, one per line. Empty lines and lines that begin with `#` are skipped.
fn tokens_in(path: &Path) -> anyhow::Result<Vec<Hidden<String>>> {
    let told = || format!("api.operator_tokens_file: cannot use {}", path.display());
    let text = std::fs::read_to_string(path).with_context(told)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let token =
        |(at, line)| values::operator_token(line).map_err(|why| anyhow!("line {}: {why}", at + 1)).with_context(told);
    let tokens: Vec<_> = lines.map(token).collect::<Result<_, _>>()?;
    if tokens.is_empty() {
        return Err(anyhow!("it holds no token")).with_context(told);
    }
    Ok(tokens)
}

fn networks(list: Vec<Network>) -> Vec<IpNet> {
    list.into_iter().map(|network| network.0).collect()
}

/// Returns true if only this machine reaches an address.
fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Returns the bounds of a port's connections. One client address gets three quarters of all unless another number is
/// given.
fn connections(all: Count, of_address: Option<Count>) -> ConnectionsConfig {
    let all = all.0;
    ConnectionsConfig { all, of_address: of_address.map_or((all - all / 4).max(1), |count| count.0) }
}

/// Returns the TLS files of an interface: none, or at least certificate and key.
fn tls(
    section: &'static str,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> anyhow::Result<Option<TlsFiles>> {
    match (cert, key, client_ca) {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles { section, cert, key, client_ca })),
        (Some(_), None, _) => bail!("{section}.cert is set and {section}.key is not; TLS needs both"),
        (None, Some(_), _) => bail!("{section}.key is set and {section}.cert is not; TLS needs both"),
        (None, None, Some(_)) => bail!("{section}.client_ca needs {section}.cert and {section}.key"),
    }
}

impl PipeSection {
    fn complete(self, has_tokens: bool) -> anyhow::Result<PipeConfig> {
        let listen = or_default(self.listen, "pipe-listen")?.0;
        let is_guarded = has_tokens || self.client_ca.is_some() || or_default(self.insecure, "pipe-insecure")?.0;
        if !is_local(listen) && !is_guarded {
            bail!(
                "pipe.listen: other machines reach {listen}, and whoever does could register; set pipe.listen to a \
                 loopback address such as 127.0.0.1:8181, or say who may register with [[tokens]] or with \
                 pipe.client_ca, or else set pipe.insecure = true"
            );
        }
        let all = or_default(self.connections_max, "pipe-connections-max")?;
        Ok(PipeConfig {
            listen,
            max_line: or_default(self.max_line, "pipe-max-line")?.0,
            max_reply: or_default(self.max_reply, "pipe-max-reply")?.0,
            line_timeout: or_default(self.line_timeout, "pipe-line-timeout")?,
            idle_timeout: or_default(self.idle_timeout, "pipe-idle-timeout")?,
            connections: connections(all, self.address_connections_max),
            tls: tls("pipe", self.cert, self.key, self.client_ca)?,
        })
    }
}

impl ProxySection {
    fn complete(self) -> anyhow::Result<ProxyConfig> {
        let all = or_default(self.connections_max, "proxy-connections-max")?;
        let https = self.https.map(|address| address.0);
        let http3 = or_default(self.http3, "proxy-http3")?.0;
        if http3 && https.is_none() {
            bail!(
                "proxy.http3 is true and proxy.https is not set; write https = \"0.0.0.0:443\", whose UDP port HTTP/3 takes"
            );
        }
        if http3 && !cfg!(feature = "http3") {
            bail!(
                "proxy.http3: this program was built without HTTP/3; build it with the feature `http3`, or write false"
            );
        }
        Ok(ProxyConfig {
            http: or_default(self.http, "proxy-http")?.0,
            https,
            http3,
            https_port: self
                .https_port
                .and_then(|port| u16::try_from(port.0).ok())
                .or(https.map(|address| address.port())),
            tls_default: self.tls_default,
            https_redirect: or_default(self.https_redirect, "proxy-https-redirect")?.0,
            hsts: or_default(self.hsts, "proxy-hsts")?,
            workers: or_default(self.workers, "proxy-workers")?.0,
            trusted_proxies: networks(self.trusted_proxies.unwrap_or_default()),
            proxy_protocol: networks(self.proxy_protocol.unwrap_or_default()),
            unmatched: or_default(self.unmatched, "proxy-unmatched")?.0,
            error_details: or_default(self.error_details, "proxy-error-details")?.0,
            drain: or_default(self.drain, "proxy-drain")?,
            connections: connections(all, self.address_connections_max),
        })
    }
}

impl AccessSection {
    fn complete(self) -> anyhow::Result<AccessLogConfig> {
        let format = or_default(self.format, "log-access-format")?.0;
        Ok(AccessLogConfig { format, place: or_default(self.file, "log-access-file")?.0 })
    }
}

impl AcmeSection {
    /// Returns the configuration of the certificate authority: none if no key is set.
    fn complete(self, has_https: bool) -> anyhow::Result<Option<AcmeConfig>> {
        let domains = self.domains.unwrap_or_default();
        let Some(directory) = self.directory else {
            if domains.is_empty() {
                return Ok(None);
            }
            bail!(
                "acme.domains is set and acme.directory is not; write directory = \
                 \"https://acme-v02.api.letsencrypt.org/directory\" for Let's Encrypt"
            );
        };
        if domains.is_empty() {
            bail!(
                "acme.directory is set and acme.domains is not; write domains = [\"shop.example\"], or \
                 [\"*.shop.example\"] for each domain of a route below"
            );
        }
        if !has_https {
            bail!("[acme] is for proxy.https, which is not set; add https = \"0.0.0.0:443\" to [proxy]");
        }
        if !or_default(self.terms_accepted, "acme-terms-accepted")?.0 {
            bail!(
                "acme.terms_accepted: read the terms of {}; if you accept them, set terms_accepted = true",
                directory.0
            );
        }
        let external_account = match (self.eab_kid, self.eab_key) {
            (Some(kid), Some(key)) => Some((kid, key.0)),
            (None, None) => None,
            _ => bail!("acme.eab_kid and acme.eab_key belong together; set both or none"),
        };
        Ok(Some(AcmeConfig {
            directory: directory.0,
            domains,
            contact: self.contact.unwrap_or_default().into_iter().map(|contact| contact.0).collect(),
            external_account,
            ca: self.ca,
            dns_hook: self.dns_hook,
        }))
    }
}
