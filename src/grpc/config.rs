//! Calls that apply, drop or describe staged changes.

use tonic::Status;

use crate::domain::{ApplyReason, Sections, Subject};
use crate::registry::commands::{AppliedView, ConfigApply, ConfigRollback};

use crate::registry::calls::{ConfigDiff, ConfigGet, ConfigValidate};

use super::convert::{sections, session};
use super::proto::{
    ApplyConfigPartialRequest, ApplyConfigPartialResponse, ApplyConfigRequest, ApplyConfigResponse, DiffConfigRequest,
    DiffConfigResponse, GetConfigRequest, GetConfigResponse, RollbackConfigRequest, RollbackConfigResponse,
    ValidateConfigRequest, ValidateConfigResponse,
};
use super::state::CallState;

pub(super) async fn validate_config(
    state: &CallState,
    request: ValidateConfigRequest,
) -> Result<ValidateConfigResponse, Status> {
    state.ask(ConfigValidate(session(&request.session_id)?), |warnings| ValidateConfigResponse { warnings }).await
}

pub(super) async fn apply_config(
    state: &CallState,
    request: ApplyConfigRequest,
) -> Result<ApplyConfigResponse, Status> {
    let session = session(&request.session_id)?;
    let (expected, reason) = (request.expected_revision, request.reason);
    let AppliedView { revision, number } = apply(state, session.into(), Sections::ALL, expected, reason).await?;
    Ok(ApplyConfigResponse { revision, number })
}

pub(super) async fn apply_config_partial(
    state: &CallState,
    request: ApplyConfigPartialRequest,
) -> Result<ApplyConfigPartialResponse, Status> {
    let session = session(&request.session_id)?;
    let (sections, expected) = (sections(&request.sections)?, request.expected_revision);
    let AppliedView { revision, number } = apply(state, session.into(), sections, expected, request.reason).await?;
    Ok(ApplyConfigPartialResponse { revision, number })
}

pub(super) async fn apply(
    state: &CallState,
    subject: Subject,
    sections: Sections,
    expected: Option<u64>,
    reason: Option<String>,
) -> Result<AppliedView, Status> {
    let expected = expected.map(|revision| vec![revision]);
    let reason = reason.as_deref().map(ApplyReason::parse).transpose()?;
    Ok(state.call(ConfigApply { subject, sections, expected, reason }).await?)
}

pub(super) async fn rollback_config(
    state: &CallState,
    request: RollbackConfigRequest,
) -> Result<RollbackConfigResponse, Status> {
    state.call(ConfigRollback { subject: session(&request.session_id)?.into() }).await?;
    Ok(RollbackConfigResponse {})
}

pub(super) async fn diff_config(state: &CallState, request: DiffConfigRequest) -> Result<DiffConfigResponse, Status> {
    state.ask(ConfigDiff(session(&request.session_id)?), |view| DiffConfigResponse::from(*view)).await
}

pub(super) async fn get_config(state: &CallState, request: GetConfigRequest) -> Result<GetConfigResponse, Status> {
    state.ask(ConfigGet(session(&request.session_id)?), |view| GetConfigResponse::from(*view)).await
}
