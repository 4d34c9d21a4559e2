//! The complete and checked configuration, as plain values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;

use super::choices::{AccessFormat, AccessPlace, CollectorSpeaks, LogFormat, Unmatched};
use super::file_sections::FileSections;
use super::source::Source;
use super::values::Hidden;
use super::written::Written;

/// The configuration of the server.
#[derive(Debug)]
pub struct ServerConfig {
    /// The pipe.
    pub pipe: PipeConfig,
    /// The port of gRPC and REST.
    pub api: ApiConfig,
    /// The proxy.
    pub proxy: ProxyConfig,
    /// The certificates of the proxy.
    pub certificates: Vec<CertificateConfig>,
    /// The registration tokens. If there are none, clients register without a token.
    pub tokens: Vec<TokenConfig>,
    /// The tokens of operators that have names.
    pub operators: Vec<OperatorConfig>,
    /// The folder with further files of services.
    pub services_folder: Option<ServicesFolder>,
    /// The bounds of the audit.
    pub audit: AuditConfig,
    /// The URL of the database.
    pub store_url: String,
    /// The time to wait for the database while another server has it; `None` if the start is refused then.
    pub store_wait: Option<Written>,
    /// The bounds of sessions.
    pub sessions: SessionBounds,
    /// The budget in bytes for data that peers send incomplete or do not read; `None` for a part of the machine's
    /// memory.
    pub memory: Option<usize>,
    /// Networks that the server never connects to for a client.
    pub deny: Vec<IpNet>,
    /// A file of certificates that are trusted for backends in addition to those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate authority; `None` to obtain no certificates.
    pub acme: Option<AcmeConfig>,
    /// Response headers for every route. The headers of a session override them.
    pub default_headers: BTreeMap<String, Written>,
    /// Options for every route. The options of a session override them.
    pub default_options: BTreeMap<String, Written>,
    /// The filter of the log.
    pub log_filter: String,
    /// The form of log lines; `None` for the form that suits the destination.
    pub log_format: Option<LogFormat>,
    /// The parameters of queries whose values are hidden.
    pub mask_query: Vec<String>,
    /// The signals for collectors.
    pub telemetry: TelemetryConfig,
    /// The access log, if there is one.
    pub access_log: Option<AccessLogConfig>,
    /// The values of all keys as they were given.
    pub(super) written: FileSections,
    /// The file and the variables that gave them.
    pub(super) source: Source,
}

/// The signals for collectors of OpenTelemetry.
#[derive(Debug)]
pub struct TelemetryConfig {
    /// The collector that gets spans, if one does.
    pub traces: Option<CollectorConfig>,
    /// The collector that gets log records, if one does.
    pub logs: Option<CollectorConfig>,
    /// The collector that gets metrics, if one does.
    pub metrics: Option<CollectorConfig>,
    /// The time between two messages with metrics.
    pub metrics_interval: Written,
    /// The longest time for one message, where a collector has none of its own.
    pub timeout: Written,
    /// The choice of the requests that get spans.
    pub sampling: SamplingConfig,
    /// The attributes of the resource, each once; the name of the service is among them.
    pub resource: Vec<(String, String)>,
    /// Sentences on the variables of OpenTelemetry that are left out, for the log.
    pub notes: Vec<String>,
}

/// The collector of one signal.
#[derive(Debug)]
pub struct CollectorConfig {
    /// The URL of the signal. Over gRPC, only its host and port count.
    pub url: Uri,
    /// Its protocol.
    pub protocol: CollectorSpeaks,
    /// The fields of each message.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The longest time for one message, if it has one of its own.
    pub timeout: Option<Duration>,
}

/// The choice of the requests that get spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingConfig {
    /// The share of them, from 0 to 1.
    pub ratio: f64,
    /// True if a trusted peer that has decided is followed.
    pub follows_parent: bool,
}

/// The configuration of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The form of a line.
    pub format: AccessFormat,
    /// The place that it is written to.
    pub place: AccessPlace,
}

/// The configuration of the pipe.
#[derive(Debug)]
pub struct PipeConfig {
    /// The address that it listens on.
    pub listen: SocketAddr,
    /// The longest command line, in bytes.
    pub max_line: usize,
    /// The longest reply line that is not compressed, in bytes.
    pub max_reply: usize,
    /// The time within which a line must be complete once it has begun.
    pub line_timeout: Written,
    /// The time that a connection without session may stay silent.
    pub idle_timeout: Written,
    /// The bounds of its connections.
    pub connections: ConnectionsConfig,
    /// Its files for TLS, if it speaks TLS.
    pub tls: Option<TlsFiles>,
}

/// The configuration of the port of gRPC and REST.
#[derive(Debug)]
pub struct ApiConfig {
    /// The address that it listens on.
    pub listen: SocketAddr,
    /// The bearer tokens of operators that have no name. Without any token, operators are answered on loopback only.
    pub operator_tokens: Vec<Hidden<String>>,
    /// More host names that requests may use while neither TLS nor registration tokens protect the port.
    pub hosts: Vec<Written>,
    /// The domain under which the proxy serves the dashboard and the calls of operators, if it does.
    pub publish: Option<Written>,
    /// The largest request body or message, in bytes.
    pub max_body: usize,
    /// The bounds of its connections.
    pub connections: ConnectionsConfig,
    /// The largest number of open event streams.
    pub streams_max: usize,
    /// Origins of pages that may call it from a browser.
    pub cors: Vec<String>,
    /// Its files for TLS, if it speaks TLS.
    pub tls: Option<TlsFiles>,
}

/// The configuration of the proxy.
#[derive(Debug)]
pub struct ProxyConfig {
    /// The address that it listens on.
    pub http: SocketAddr,
    /// The address that it listens on for TLS, if it does.
    pub https: Option<SocketAddr>,
    /// True if it speaks HTTP/3 on the UDP port of that address.
    pub http3: bool,
    /// The port of TLS that clients use, if it speaks TLS.
    pub https_port: Option<u16>,
    /// The name of the certificate for clients that ask for no name or an unknown one.
    pub tls_default: Option<Written>,
    /// The number of worker threads; 0 means one per core.
    pub workers: usize,
    /// True if requests over http are redirected to https, for routes that do not say otherwise.
    pub https_redirect: bool,
    /// `Strict-Transport-Security` for routes that do not say otherwise.
    pub hsts: Written,
    /// Networks of peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks of peers that begin each connection with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
    /// The treatment of a request that no route matches.
    pub unmatched: Unmatched,
    /// True if clients learn why a backend failed their request.
    pub error_details: bool,
    /// The bounds of its client connections.
    pub connections: ConnectionsConfig,
    /// The time over which long streams are asked to end before a stop.
    pub drain: Written,
}

/// A certificate of the proxy.
#[derive(Debug)]
pub struct CertificateConfig {
    /// Its files.
    pub files: TlsFiles,
    /// The names for which it is served; if there are none, its own.
    pub domains: Vec<Written>,
}

/// A registration token.
#[derive(Debug)]
pub struct TokenConfig {
    /// Its name, for logs and refusals.
    pub name: Written,
    /// The SHA-256 fingerprint of its secret.
    pub sha256: Written,
    /// The services that may register with it: names, or beginnings of names followed by `*`.
    pub services: Vec<Written>,
    /// The domains of routes.
    pub domains: Vec<Written>,
    /// The prefixes that paths of routes must have.
    pub path_prefixes: Vec<Written>,
    /// The networks that backends must be in.
    pub backends: Vec<IpNet>,
    /// The largest number of routes of one session.
    pub max_routes: Option<usize>,
    /// The largest number of sessions at the same time.
    pub max_sessions: Option<usize>,
    /// The longest lease of a session.
    pub lease_max: Option<Written>,
}

/// The token of an operator, with a name.
#[derive(Debug)]
pub struct OperatorConfig {
    /// Its name, for the audit.
    pub name: Written,
    /// The bearer token.
    pub token: Hidden<String>,
}

/// The bounds of the audit.
#[derive(Debug)]
pub struct AuditConfig {
    /// The time that a record is kept.
    pub keep: Written,
    /// The number of records that are kept.
    pub records_max: usize,
}

/// The bounds of a port's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionsConfig {
    /// The largest number of connections.
    pub all: usize,
    /// The largest number of connections of one client address.
    pub of_address: usize,
}

/// A folder with files of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicesFolder {
    /// The path.
    pub path: PathBuf,
    /// True if the configuration names it; it must exist then.
    pub is_given: bool,
}

/// The bounds of sessions.
#[derive(Debug)]
pub struct SessionBounds {
    /// The lease of a session that asks for none: the time that it lives without connection and command.
    pub grace: Written,
    /// The longest lease that a session may ask for.
    pub lease_max: Written,
    /// The time that untouched staged changes live.
    pub staged_ttl: Written,
    /// The largest number of sessions.
    pub sessions_max: usize,
    /// The largest number of sessions of one client address; `None` for no limit.
    pub sessions_per_address_max: Option<usize>,
    /// The largest number of routes of one session.
    pub routes_max: usize,
}

/// The files for the TLS of an interface. Each field has the name of its key in the section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The section of the configuration.
    pub section: &'static str,
    /// The certificate chain as PEM, the certificate of the interface first.
    pub cert: PathBuf,
    /// The private key of the first certificate, as PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, as PEM; `None` if clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// The configuration of the certificate authority. Its terms are accepted.
#[derive(Debug)]
pub struct AcmeConfig {
    /// The URL of the directory.
    pub directory: String,
    /// The domains that may get certificates.
    pub domains: Vec<Written>,
    /// The contacts of the account, as URLs.
    pub contact: Vec<String>,
    /// The key identifier and the key of an account outside of ACME.
    pub external_account: Option<(String, Hidden<Vec<u8>>)>,
    /// A file of certificates that are trusted for the directory in addition to those of the system.
    pub ca: Option<PathBuf>,
    /// The program that sets TXT records.
    pub dns_hook: Option<PathBuf>,
}
