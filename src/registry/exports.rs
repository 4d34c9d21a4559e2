//! The export of all instances as one readable document, and the outcome of its import.
//!
//! A document has whole configurations and owners, and no session id. It has no time either, so that two exports of the same
//! state are the same text.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Catalog, Error, InstanceName, ServiceName};

use super::instance_config::InstanceConfig;
use super::instance_outcomes::InstancePut;

/// The version of the form of a document that this program writes, and the newest that it reads.
pub const EXPORT_FORMAT: u64 = 1;

/// All instances with their active configurations, by service and name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an export")]
#[schema(example = json!({
    "format": 1,
    "instances": [{
        "service_name": "docs",
        "instance_name": "docs-1",
        "config": { "backend": "http://127.0.0.1:3005", "domains": ["docs.example"] },
    }],
}))]
pub struct InstancesExport {
    /// The version of the form of the document: 1.
    pub format: u64,
    /// The instances.
    pub instances: Vec<ExportedInstance>,
}

/// An instance in an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an instance with its configuration")]
pub struct ExportedInstance {
    /// The service.
    pub service_name: ServiceName,
    /// The instance.
    pub instance_name: InstanceName,
    /// The holder at the time of the export: `session`, `operator` or `file`. An import does not read it.
    #[serde(default)]
    pub owner: String,
    /// The configuration.
    pub config: InstanceConfig,
}

/// The outcome of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportOutcome {
    /// True if nothing was changed, because the caller asked for the changes only.
    pub dry_run: bool,
    /// The number of instances that are new.
    pub created: u64,
    /// The number of instances with another configuration than before.
    pub changed: u64,
    /// The number of instances that had this configuration already.
    pub unchanged: u64,
    /// The number of instances that were refused and are as they were.
    pub refused: u64,
    /// The instances, in the order of the document.
    pub instances: Vec<ImportedInstance>,
}

/// The outcome for an instance of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportedInstance {
    /// The service.
    pub service_name: ServiceName,
    /// The instance.
    pub instance_name: InstanceName,
    /// `created`, `changed`, `unchanged` or `refused`.
    pub outcome: &'static str,
    /// The number of entries that change.
    pub changes_total: u64,
    /// The reason of a refusal.
    #[schema(required)]
    pub reason: Option<String>,
}

impl InstancesExport {
    /// Returns all instances of a catalog.
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let instances = catalog.instances(None).map(|session| ExportedInstance {
            service_name: session.record.service.clone(),
            instance_name: session.record.instance.clone(),
            owner: session.record.owner.word().to_owned(),
            config: InstanceConfig::of(&session.record, &session.active),
        });
        Self { format: EXPORT_FORMAT, instances: instances.collect() }
    }

    /// Refuses a document of a later form.
    ///
    /// # Errors
    /// `Invalid`, with the format that this version reads.
    pub(crate) fn check_format(&self) -> Result<(), Error> {
        if self.format == EXPORT_FORMAT {
            return Ok(());
        }
        Err(Error::invalid("format", format!("is {}; this version reads format {EXPORT_FORMAT}", self.format)))
    }
}

impl ImportOutcome {
    /// Adds the outcome for an instance.
    pub(crate) fn add(&mut self, service: ServiceName, instance: InstanceName, put: Result<InstancePut, Error>) {
        let (outcome, changes_total, reason) = match put {
            Ok(put) if put.created => ("created", put.changes_total, None),
            Ok(put) if put.changes_total > 0 => ("changed", put.changes_total, None),
            Ok(_) => ("unchanged", 0, None),
            Err(error) => ("refused", 0, Some(error.to_string())),
        };
        *match outcome {
            "created" => &mut self.created,
            "changed" => &mut self.changed,
            "unchanged" => &mut self.unchanged,
            _ => &mut self.refused,
        } += 1;
        let changes_total = u64::try_from(changes_total).unwrap_or(u64::MAX);
        self.instances.push(ImportedInstance {
            service_name: service,
            instance_name: instance,
            outcome,
            changes_total,
            reason,
        });
    }
}
