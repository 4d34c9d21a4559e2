//! All sections of the file, with those that exist only there: they have no flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::sections::{
    AcmeSection, ApiSection, AuditSection, BackendsSection, LimitsSection, LogSection, PipeSection, ProxySection,
    SessionSection, StoreSection, TelemetrySection,
};
use super::values::{Count, Network, OperatorToken};
use super::written::Written;

/// The sections of the file. Unknown keys are refused.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileSections {
    #[command(flatten)]
    pub(super) pipe: PipeSection,
    #[command(flatten)]
    pub(super) api: ApiSection,
    #[command(flatten)]
    pub(super) proxy: ProxySection,
    #[command(flatten)]
    pub(super) store: StoreSection,
    #[command(flatten)]
    pub(super) session: SessionSection,
    #[command(flatten)]
    pub(super) limits: LimitsSection,
    #[command(flatten)]
    pub(super) backends: BackendsSection,
    #[command(flatten)]
    pub(super) acme: AcmeSection,
    #[command(flatten)]
    pub(super) log: LogSection,
    #[command(flatten)]
    pub(super) telemetry: TelemetrySection,
    #[command(flatten)]
    pub(super) audit: AuditSection,
    #[arg(skip)]
    pub(super) defaults: DefaultsSection,
    #[arg(skip)]
    pub(super) tokens: Vec<TokenSection>,
    #[arg(skip)]
    pub(super) operators: Vec<OperatorSection>,
    #[arg(skip)]
    pub(super) tls: Vec<TlsSection>,
    /// The services. Another part reads them.
    #[arg(skip)]
    pub(super) services: Vec<toml::Table>,
}

/// The settings of routes that set none themselves.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultsSection {
    pub(super) headers: BTreeMap<String, Written>,
    pub(super) options: BTreeMap<String, Written>,
}

/// A certificate of the proxy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSection {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    #[serde(default)]
    pub(super) domains: Vec<Written>,
    pub(super) client_ca: Option<PathBuf>,
}

/// The token of an operator, with a name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperatorSection {
    pub(super) name: Written,
    pub(super) token: OperatorToken,
}

/// A registration token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenSection {
    pub(super) name: Written,
    pub(super) sha256: Written,
    #[serde(default)]
    pub(super) services: Vec<Written>,
    #[serde(default)]
    pub(super) domains: Vec<Written>,
    #[serde(default)]
    pub(super) path_prefixes: Vec<Written>,
    #[serde(default)]
    pub(super) backends: Vec<Network>,
    pub(super) max_routes: Option<Count>,
    pub(super) max_sessions: Option<Count>,
    pub(super) lease_max: Option<Written>,
}
