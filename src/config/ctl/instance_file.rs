//! The whole configuration of an instance in a file, TOML or JSON, as people write it for `apply --file`.
//!
//! The keys are those of `PUT /v1/services/{service}/instances/{instance}`. The server reads the values; here they are
//! texts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;

use crate::config::file;
use crate::config::values::Scalar;

/// The whole configuration of an instance. One with one route may have the keys of the route in place of `routes`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "docs/services.md explains the keys")]
pub struct InstanceFile {
    pub backend: Option<String>,
    pub domains: Option<Vec<String>>,
    pub path: Option<String>,
    pub priority: Option<i32>,
    pub routes: Option<Vec<RouteFile>>,
    pub headers: BTreeMap<String, String>,
    pub options: BTreeMap<String, Scalar>,
    pub health_check: Option<CheckFile>,
    pub rate_limit: Option<LimitFile>,
    pub circuit_breaker: Option<BreakerFile>,
    pub maintenance_port: u16,
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// A route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/services.md explains the keys")]
pub struct RouteFile {
    pub name: Option<String>,
    pub backend: String,
    pub domains: Vec<String>,
    pub path: Option<String>,
    #[serde(default)]
    pub priority: i32,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, Scalar>,
    pub health_check: Option<CheckFile>,
    pub rate_limit: Option<LimitFile>,
    pub circuit_breaker: Option<BreakerFile>,
}

/// A health check.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/services.md explains the keys")]
pub struct CheckFile {
    pub path: String,
    pub interval: Scalar,
    pub timeout: Scalar,
}

/// A rate limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/services.md explains the keys")]
pub struct LimitFile {
    pub requests: u32,
    pub window: Scalar,
}

/// A circuit breaker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/services.md explains the keys")]
pub struct BreakerFile {
    pub threshold: u32,
    pub timeout: Scalar,
    pub half_open_requests: u32,
}

impl InstanceFile {
    /// Reads a file: JSON if its name ends with `.json`, otherwise TOML.
    ///
    /// # Errors
    /// If it cannot be read or is wrong: the file, the line, and the keys that there are.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let read =
            if path.extension().is_some_and(|ending| ending == "json") { json(path)? } else { file::read(path)?.0 };
        read.of_one_form().with_context(|| path.display().to_string())
    }

    /// Returns the configuration with `routes` alone.
    fn of_one_form(mut self) -> anyhow::Result<Self> {
        let has_own = self.domains.is_some() || self.path.is_some() || self.priority.is_some();
        match (self.backend.take(), self.domains.take(), &self.routes) {
            (None, None, _) if !has_own => Ok(self),
            (Some(backend), Some(domains), None) => {
                let (path, priority) = (self.path.take(), self.priority.take().unwrap_or_default());
                self.routes = Some(vec![RouteFile {
                    name: None,
                    backend,
                    domains,
                    path,
                    priority,
                    headers: BTreeMap::new(),
                    options: BTreeMap::new(),
                    health_check: None,
                    rate_limit: None,
                    circuit_breaker: None,
                }]);
                Ok(self)
            }
            (_, _, None) => Err(anyhow!("a route has both `backend` and `domains`")),
            (_, _, Some(_)) => Err(anyhow!("give `routes`, or `backend` and `domains` of the only route, not both")),
        }
    }
}

fn json(path: &Path) -> anyhow::Result<InstanceFile> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| {
        let said = error.to_string();
        let words = said.split(" at line ").next().unwrap_or_default();
        anyhow!("{}:{}:{}: {words}", path.display(), error.line(), error.column())
    })
}
