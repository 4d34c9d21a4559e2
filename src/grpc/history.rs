//! The revisions of an instance, for its session and for operators.

use std::sync::Arc;

use tonic::{Response, Status};

use crate::domain::{ApplyReason, Error, Subject};
use crate::registry::RevertRequest;
use crate::registry::commands::AppliedView;
use crate::registry::queries::paging::ListRequest;
use crate::registry::queries::revisions::RevisionsPage;

use super::convert::session;
use super::operator::subject;
use super::proto::{
    GetConfigRevisionRequest, GetConfigRevisionResponse, GetInstanceRevisionRequest, GetInstanceRevisionResponse,
    ListConfigHistoryRequest, ListConfigHistoryResponse, ListInstanceHistoryRequest, ListInstanceHistoryResponse,
    RevertConfigRequest, RevertConfigResponse, RevertInstanceRequest, RevertInstanceResponse, RevisionDetail,
};
use super::state::CallState;

pub(super) async fn list_config_history(
    state: &CallState,
    request: ListConfigHistoryRequest,
) -> Result<ListConfigHistoryResponse, Status> {
    let of = session(&request.session_id)?.into();
    let RevisionsPage { items, next_cursor } = list(state, &of, request.cursor, request.limit).await?;
    Ok(ListConfigHistoryResponse { revisions: items.into_iter().map(Into::into).collect(), next_cursor })
}

pub(super) async fn list_instance_history(
    state: &CallState,
    request: ListInstanceHistoryRequest,
) -> Result<ListInstanceHistoryResponse, Status> {
    let of = subject(&request.service_name, &request.instance_name)?;
    let RevisionsPage { items, next_cursor } = list(state, &of, request.cursor, request.limit).await?;
    Ok(ListInstanceHistoryResponse { revisions: items.into_iter().map(Into::into).collect(), next_cursor })
}

async fn list(
    state: &CallState,
    of: &Subject,
    cursor: Option<String>,
    limit: Option<u32>,
) -> Result<RevisionsPage, Error> {
    state.registry.revisions(of, &ListRequest::new(cursor, limit.map(u64::from))?).await
}

pub(super) async fn get_config_revision(
    state: &CallState,
    request: GetConfigRevisionRequest,
) -> Result<GetConfigRevisionResponse, Status> {
    let detail = detail(state, &session(&request.session_id)?.into(), request.number, request.against).await?;
    Ok(GetConfigRevisionResponse { detail: Some(detail) })
}

pub(super) async fn get_instance_revision(
    state: &CallState,
    request: GetInstanceRevisionRequest,
) -> Result<Response<GetInstanceRevisionResponse>, Status> {
    let of = subject(&request.service_name, &request.instance_name)?;
    let permit = state.registry.permit_revision_read(&of)?;
    let detail = detail(state, &of, request.number, request.against).await?;
    let mut response = Response::new(GetInstanceRevisionResponse { detail: Some(detail) });
    // The response keeps the permit until it is sent.
    permit.into_iter().for_each(|permit| drop(response.extensions_mut().insert(Arc::new(permit))));
    Ok(response)
}

async fn detail(state: &CallState, of: &Subject, number: u64, against: Option<u64>) -> Result<RevisionDetail, Error> {
    let view = state.registry.revision(of, number, against).await?;
    Ok(state.registry.run_long_read(|| view.into()).await)
}

pub(super) async fn revert_config(
    state: &CallState,
    request: RevertConfigRequest,
) -> Result<RevertConfigResponse, Status> {
    let RevertConfigRequest { session_id, number, expected_revision, reason } = request;
    let subject = session(&session_id)?.into();
    let AppliedView { revision, number, confirmation: _ } =
        revert(state, subject, number, expected_revision, reason).await?;
    Ok(RevertConfigResponse { revision, number: number.unwrap_or_default() })
}

pub(super) async fn revert_instance(
    state: &CallState,
    request: RevertInstanceRequest,
) -> Result<RevertInstanceResponse, Status> {
    let RevertInstanceRequest { service_name, instance_name, number, expected_revision, reason } = request;
    let subject = subject(&service_name, &instance_name)?;
    let AppliedView { revision, number, confirmation: _ } =
        revert(state, subject, number, expected_revision, reason).await?;
    Ok(RevertInstanceResponse { revision, number: number.unwrap_or_default() })
}

async fn revert(
    state: &CallState,
    subject: Subject,
    number: u64,
    expected: Option<u64>,
    reason: Option<String>,
) -> Result<AppliedView, Error> {
    let expected = expected.map(|revision| vec![revision]);
    let reason = reason.as_deref().map(ApplyReason::parse).transpose()?;
    state.registry.revert(state.origin.clone(), RevertRequest { subject, number, expected, reason }).await
}
