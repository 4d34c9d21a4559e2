//! Operators' calls about the configurations of an instance. They are no activity of the instance.

use std::sync::Arc;

use tonic::{Response, Status};

use crate::domain::{Sections, Subject};
use crate::registry::commands::{AppliedView, ConfigRollback};

use super::config::{ApplyWishes, apply};
use super::convert::sections;
use super::operator::subject;
use super::proto::{
    ApplyInstanceConfigRequest, ApplyInstanceConfigResponse, DiffInstanceConfigRequest, DiffInstanceConfigResponse,
    GetInstanceConfigRequest, GetInstanceConfigResponse, RollbackInstanceConfigRequest, RollbackInstanceConfigResponse,
    ValidateInstanceConfigRequest, ValidateInstanceConfigResponse,
};
use super::state::CallState;

pub(super) async fn get_instance_config(
    state: &CallState,
    request: GetInstanceConfigRequest,
) -> Result<Response<GetInstanceConfigResponse>, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    large(state, &subject, || Ok(state.registry.config_of(&subject)?.into())).await
}

pub(super) async fn diff_instance_config(
    state: &CallState,
    request: DiffInstanceConfigRequest,
) -> Result<Response<DiffInstanceConfigResponse>, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    large(state, &subject, || Ok(state.registry.diff_of(&subject)?.into())).await
}

/// Answers a query whose answer grows with the session. The response keeps the permit until it is sent.
pub(super) async fn large<T>(
    state: &CallState,
    subject: &Subject,
    read: impl FnOnce() -> Result<T, Status>,
) -> Result<Response<T>, Status> {
    let permit = state.registry.permit_large_read_of(subject)?;
    let mut response = Response::new(state.registry.run_long_read(read).await?);
    permit.into_iter().for_each(|permit| drop(response.extensions_mut().insert(Arc::new(permit))));
    Ok(response)
}

pub(super) async fn validate_instance_config(
    state: &CallState,
    request: ValidateInstanceConfigRequest,
) -> Result<ValidateInstanceConfigResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    let warnings = state.registry.run_long_read(|| state.registry.validate_of(&subject)).await?;
    Ok(ValidateInstanceConfigResponse { warnings })
}

pub(super) async fn apply_instance_config(
    state: &CallState,
    request: ApplyInstanceConfigRequest,
) -> Result<ApplyInstanceConfigResponse, Status> {
    let subject = subject(&request.service_name, &request.instance_name)?;
    let sections = if request.sections.is_empty() { Sections::ALL } else { sections(&request.sections)? };
    let wishes = ApplyWishes {
        expected: request.expected_revision,
        reason: request.reason,
        confirm_within: request.confirm_within,
        guard: request.guard,
    };
    let AppliedView { revision, number, confirmation } = apply(state, subject, sections, wishes).await?;
    Ok(ApplyInstanceConfigResponse { revision, number, confirmation: confirmation.map(Into::into) })
}

pub(super) async fn rollback_instance_config(
    state: &CallState,
    request: RollbackInstanceConfigRequest,
) -> Result<RollbackInstanceConfigResponse, Status> {
    state.call(ConfigRollback { subject: subject(&request.service_name, &request.instance_name)? }).await?;
    Ok(RollbackInstanceConfigResponse {})
}
