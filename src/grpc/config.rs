//! Calls that apply, drop or describe staged changes.

use tonic::Status;

use crate::domain::{Sections, Subject};
use crate::registry::commands::{ConfigApply, ConfigRollback};

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
    let revision = apply(state, session.into(), Sections::ALL, request.expected_revision).await?;
    Ok(ApplyConfigResponse { revision })
}

pub(super) async fn apply_config_partial(
    state: &CallState,
    request: ApplyConfigPartialRequest,
) -> Result<ApplyConfigPartialResponse, Status> {
    let session = session(&request.session_id)?;
    let revision = apply(state, session.into(), sections(&request.sections)?, request.expected_revision).await?;
    Ok(ApplyConfigPartialResponse { revision })
}

pub(super) async fn apply(
    state: &CallState,
    subject: Subject,
    sections: Sections,
    expected: Option<u64>,
) -> Result<u64, Status> {
    let revision =
        state.call(ConfigApply { subject, sections, expected: expected.map(|revision| vec![revision]) }).await?;
    Ok(revision)
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
