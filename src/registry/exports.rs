//! The export of all instances as one readable document, and the outcome of its import.
//!
//! A document has whole configurations and owners, and no session id. It has no time either, so that two exports of the same
//! state are the same text.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Catalog, Error, InstanceName, Kind, ServiceName};

use super::instance_config::InstanceConfig;
use super::instance_outcomes::{OwnedChangeKind, RefusedInstance, SetOutcome};

/// The version of the form of a document that this program writes, and the newest that it reads.
pub const EXPORT_FORMAT: u64 = 1;
/// The number of refused instances that one message lists.
const REFUSED_LISTED_MAX: usize = 20;

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

/// The wishes of an import.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportWishes {
    /// True to learn the outcome for each instance without changing anything.
    pub dry_run: bool,
    /// True to import what can be imported when some instances are refused.
    pub partial: bool,
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
    /// The number of instances that were refused and are as they were; 0 unless `dry_run` or `partial` is asked for.
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
    /// Returns the outcome for the instances of a document, whose sets were put.
    ///
    /// # Errors
    /// All refusals, if there are some and the other instances are not asked for.
    pub(crate) fn of(
        names: Vec<(ServiceName, InstanceName)>,
        outcomes: Vec<SetOutcome>,
        wishes: ImportWishes,
    ) -> Result<Self, Error> {
        let (mut changed, mut refused) = (HashMap::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok(changes) => changed.extend(changes.into_iter().map(|of| ((of.service, of.instance), of.kind))),
                Err(refusals) => refused.extend(refusals),
            }
        }
        if !refused.is_empty() && !wishes.partial && !wishes.dry_run {
            return Err(all_or_nothing(names.len(), &refused));
        }
        let mut outcome = Self { dry_run: wishes.dry_run, ..Self::default() };
        let mut reasons: HashMap<_, _> =
            refused.into_iter().map(|of| ((of.service, of.instance), of.error.to_string())).collect();
        for name in names {
            let reason = reasons.remove(&name);
            let change = changed.remove(&name).filter(|_| reason.is_none());
            outcome.add(name, change.as_ref(), reason);
        }
        Ok(outcome)
    }

    fn add(&mut self, name: (ServiceName, InstanceName), change: Option<&OwnedChangeKind>, reason: Option<String>) {
        let (outcome, changes_total) = match change {
            _ if reason.is_some() => ("refused", 0),
            Some(OwnedChangeKind::Created { total }) => ("created", *total),
            Some(OwnedChangeKind::Changed { total, .. }) => ("changed", *total),
            Some(OwnedChangeKind::Removed) | None => ("unchanged", 0),
        };
        *match outcome {
            "created" => &mut self.created,
            "changed" => &mut self.changed,
            "unchanged" => &mut self.unchanged,
            _ => &mut self.refused,
        } += 1;
        let (service_name, instance_name) = name;
        let changes_total = u64::try_from(changes_total).unwrap_or(u64::MAX);
        self.instances.push(ImportedInstance { service_name, instance_name, outcome, changes_total, reason });
    }
}

/// Returns the refusal of an import of so many instances, of which some are refused.
fn all_or_nothing(total: usize, refused: &[RefusedInstance]) -> Error {
    let is_conflict = refused.iter().any(|of| of.error.kind() == Kind::Conflict);
    let mut listed: Vec<String> = refused.iter().take(REFUSED_LISTED_MAX).map(|of| of.named().to_string()).collect();
    if let Some(more) = refused.len().checked_sub(listed.len()).filter(|more| *more > 0) {
        listed.push(format!("and {more} more"));
    }
    let (count, listed) = (refused.len(), listed.join("; "));
    let message = format!("nothing was imported, because {count} of {total} instances are refused: {listed}");
    Error::new(if is_conflict { Kind::Conflict } else { Kind::Refused }, message)
}
