//! The audit for operators: a list of the changes of state.

use tonic::Status;

use crate::registry::audit::{ActorFilter, AuditAction, AuditFilter};
use crate::registry::queries::paging::ListRequest;

use super::convert::{instance_name, moment, service_name};
use super::proto::{ListAuditRequest, ListAuditResponse};
use super::state::CallState;

pub(super) async fn list_audit(state: &CallState, request: ListAuditRequest) -> Result<ListAuditResponse, Status> {
    let filter = AuditFilter {
        service: request.service_name.as_deref().map(service_name).transpose()?,
        instance: request.instance_name.as_deref().map(instance_name).transpose()?,
        action: request.action.as_deref().map(AuditAction::read).transpose()?,
        actor: request.actor.as_deref().map(ActorFilter::read).transpose()?,
        since: moment("since", request.since)?,
        until: moment("until", request.until)?,
    };
    let page = ListRequest::new(request.cursor, request.limit.map(u64::from))?;
    let paged = state.registry.audit(&page, filter).await?;
    let records = paged.items.into_iter().map(Into::into).collect();
    Ok(ListAuditResponse { records, next_cursor: paged.next_cursor })
}
