//! The export of all instances, and its import, as JSON documents.

use std::sync::Arc;

use tonic::{Response, Status};

use crate::domain::Error;
use crate::registry::exports::{ImportOutcome, ImportWishes, ImportedInstance, InstancesExport};

use super::proto::{self, ExportRequest, ExportResponse, ImportRequest, ImportResponse};
use super::state::CallState;

/// Exports all instances. The response keeps its permit until it is sent.
pub(super) async fn export(state: &CallState, _: ExportRequest) -> Result<Response<ExportResponse>, Status> {
    let permit = state.registry.permit_export()?;
    // Cannot fail: an export is texts and numbers.
    let written = state.registry.run_long_read(|| serde_json::to_string_pretty(&state.registry.export())).await;
    let mut response = Response::new(ExportResponse { document: written.unwrap_or_default() + "\n" });
    response.extensions_mut().insert(Arc::new(permit));
    Ok(response)
}

pub(super) async fn import(state: &CallState, request: ImportRequest) -> Result<ImportResponse, Status> {
    let export: InstancesExport = serde_json::from_str(&request.document)
        .map_err(|error| Error::invalid("document", format!("is no export: {error}")))?;
    let wishes = ImportWishes { dry_run: request.dry_run, partial: request.partial };
    let outcome = state.registry.import(state.origin.clone(), export, wishes).await?;
    let ImportOutcome { dry_run, created, changed, unchanged, refused, instances } = outcome;
    let instances = instances.into_iter().map(Into::into).collect();
    Ok(ImportResponse { dry_run, created, changed, unchanged, refused, instances })
}

impl From<ImportedInstance> for proto::ImportedInstance {
    fn from(imported: ImportedInstance) -> Self {
        let ImportedInstance { service_name, instance_name, outcome, changes_total, reason } = imported;
        Self {
            service_name: service_name.to_string(),
            instance_name: instance_name.to_string(),
            outcome: outcome.to_owned(),
            changes_total,
            reason,
        }
    }
}
