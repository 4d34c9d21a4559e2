//! Calls that settle what is staged, and say what it comes to.

use tonic::Status;

use crate::domain::{Sections, SessionId};
use crate::registry::commands::{ConfigApply, ConfigRollback};
use crate::registry::{Answer, Query, Reply};

use super::convert::{sections, session};
use super::proto::{
    ApplyConfigPartialRequest, ApplyConfigPartialResponse, ApplyConfigRequest, ApplyConfigResponse, DiffConfigRequest,
    DiffConfigResponse, GetConfigRequest, GetConfigResponse, RollbackConfigRequest, RollbackConfigResponse,
    ValidateConfigRequest, ValidateConfigResponse,
};
use super::state::GrpcState;
use super::status::fault;

pub(super) async fn validate_config(
    state: &GrpcState,
    request: ValidateConfigRequest,
) -> Result<ValidateConfigResponse, Status> {
    let query = Query::ConfigValidate(session(&request.session_id)?);
    let shown = state.ask(&query, |answer| match answer {
        Answer::Valid(warnings) => Ok(ValidateConfigResponse { warnings }),
        _ => Err(fault()),
    });
    shown.await
}

pub(super) async fn apply_config(
    state: &GrpcState,
    request: ApplyConfigRequest,
) -> Result<ApplyConfigResponse, Status> {
    let session = session(&request.session_id)?;
    let revision = apply(state, session, Sections::ALL, request.expected_revision).await?;
    Ok(ApplyConfigResponse { revision })
}

pub(super) async fn apply_config_partial(
    state: &GrpcState,
    request: ApplyConfigPartialRequest,
) -> Result<ApplyConfigPartialResponse, Status> {
    let session = session(&request.session_id)?;
    let revision = apply(state, session, sections(&request.sections)?, request.expected_revision).await?;
    Ok(ApplyConfigPartialResponse { revision })
}

async fn apply(
    state: &GrpcState,
    session: SessionId,
    sections: Sections,
    expected: Option<u64>,
) -> Result<u64, Status> {
    match state.execute(ConfigApply { session, sections, expected: expected.map(|revision| vec![revision]) }).await? {
        Reply::Applied(revision) => Ok(revision),
        _ => Err(fault()),
    }
}

pub(super) async fn rollback_config(
    state: &GrpcState,
    request: RollbackConfigRequest,
) -> Result<RollbackConfigResponse, Status> {
    state.done(ConfigRollback { session: session(&request.session_id)? }).await?;
    Ok(RollbackConfigResponse {})
}

pub(super) async fn diff_config(state: &GrpcState, request: DiffConfigRequest) -> Result<DiffConfigResponse, Status> {
    let query = Query::ConfigDiff(session(&request.session_id)?);
    let shown = state.ask(&query, |answer| match answer {
        Answer::Diff(view) => Ok(DiffConfigResponse::from(*view)),
        _ => Err(fault()),
    });
    shown.await
}

pub(super) async fn get_config(state: &GrpcState, request: GetConfigRequest) -> Result<GetConfigResponse, Status> {
    let query = Query::ConfigGet(session(&request.session_id)?);
    let shown = state.ask(&query, |answer| match answer {
        Answer::Config(view) => Ok(GetConfigResponse::from(*view)),
        _ => Err(fault()),
    });
    shown.await
}
