//! The sections that exist only in the file: they have no flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::{Count, Network, OperatorToken};
use super::written::Written;

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
}
