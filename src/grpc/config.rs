//! Calls that settle what is staged, and say what it comes to.

use tonic::Status;

use crate::domain::{Sections, SessionId};
use crate::registry::config::{ConfigApply, ConfigRollback};
use crate::registry::{Answer, Query, Reply};

use super::convert::{sections, session};
use super::door::Door;
use super::proto::{
    ApplyConfigPartialRequest, ApplyConfigPartialResponse, ApplyConfigRequest, ApplyConfigResponse, DiffConfigRequest,
    DiffConfigResponse, GetConfigRequest, GetConfigResponse, RollbackConfigRequest, RollbackConfigResponse,
    ValidateConfigRequest, ValidateConfigResponse,
};
use super::status::fault;

pub(super) async fn validate_config(
    door: &Door,
    request: ValidateConfigRequest,
) -> Result<ValidateConfigResponse, Status> {
    let query = Query::ConfigValidate(session(&request.session_id)?);
    let shown = door.ask(&query, |answer| match answer {
        Answer::Valid(warnings) => Ok(ValidateConfigResponse { warnings }),
        _ => Err(fault()),
    });
    shown.await
}

pub(super) async fn apply_config(door: &Door, request: ApplyConfigRequest) -> Result<ApplyConfigResponse, Status> {
    let session = session(&request.session_id)?;
    let revision = apply(door, session, Sections::ALL, request.expected_revision).await?;
    Ok(ApplyConfigResponse { revision })
}

pub(super) async fn apply_config_partial(
    door: &Door,
    request: ApplyConfigPartialRequest,
) -> Result<ApplyConfigPartialResponse, Status> {
    let session = session(&request.session_id)?;
    let revision = apply(door, session, sections(&request.sections)?, request.expected_revision).await?;
    Ok(ApplyConfigPartialResponse { revision })
}

async fn apply(door: &Door, session: SessionId, sections: Sections, expected: Option<u64>) -> Result<u64, Status> {
    match door.execute(ConfigApply { session, sections, expected: expected.map(|revision| vec![revision]) }).await? {
        Reply::Applied(revision) => Ok(revision),
        _ => Err(fault()),
    }
}

pub(super) async fn rollback_config(
    door: &Door,
    request: RollbackConfigRequest,
) -> Result<RollbackConfigResponse, Status> {
    door.done(ConfigRollback { session: session(&request.session_id)? }).await?;
    Ok(RollbackConfigResponse {})
}

pub(super) async fn diff_config(door: &Door, request: DiffConfigRequest) -> Result<DiffConfigResponse, Status> {
    let query = Query::ConfigDiff(session(&request.session_id)?);
    let shown = door.ask(&query, |answer| match answer {
        Answer::Diff(view) => Ok(DiffConfigResponse::from(*view)),
        _ => Err(fault()),
    });
    shown.await
}

pub(super) async fn get_config(door: &Door, request: GetConfigRequest) -> Result<GetConfigResponse, Status> {
    let query = Query::ConfigGet(session(&request.session_id)?);
    let shown = door.ask(&query, |answer| match answer {
        Answer::Config(view) => Ok(GetConfigResponse::from(*view)),
        _ => Err(fault()),
    });
    shown.await
}
