//! Calls that apply, drop or describe staged changes.

use tonic::Status;

use crate::domain::{ApplyReason, ConfirmationId, Sections, Subject};
use crate::registry::apply_options;
use crate::registry::commands::{AppliedView, ConfigApply, ConfigCancel, ConfigConfirm, ConfigRollback};

use crate::registry::calls::{ConfigDiff, ConfigGet, ConfigValidate};

use super::convert::{sections, session, span};
use super::proto::{
    ApplyConfigPartialRequest, ApplyConfigPartialResponse, ApplyConfigRequest, ApplyConfigResponse,
    CancelConfigRequest, CancelConfigResponse, ConfirmConfigRequest, ConfirmConfigResponse, DiffConfigRequest,
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
    let wishes = ApplyWishes {
        expected: request.expected_revision,
        reason: request.reason,
        confirm_within: request.confirm_within,
        guard: request.guard,
    };
    let AppliedView { revision, number, confirmation } = apply(state, session.into(), Sections::ALL, wishes).await?;
    Ok(ApplyConfigResponse { revision, number, confirmation: confirmation.map(Into::into) })
}

pub(super) async fn apply_config_partial(
    state: &CallState,
    request: ApplyConfigPartialRequest,
) -> Result<ApplyConfigPartialResponse, Status> {
    let session = session(&request.session_id)?;
    let wishes = ApplyWishes {
        expected: request.expected_revision,
        reason: request.reason,
        confirm_within: request.confirm_within,
        guard: request.guard,
    };
    let sections = sections(&request.sections)?;
    let AppliedView { revision, number, confirmation } = apply(state, session.into(), sections, wishes).await?;
    Ok(ApplyConfigPartialResponse { revision, number, confirmation: confirmation.map(Into::into) })
}

/// The wishes of an apply.
pub(super) struct ApplyWishes {
    /// The revision that the caller has read.
    pub(super) expected: Option<u64>,
    /// The reason.
    pub(super) reason: Option<String>,
    /// The time within which the apply must be confirmed.
    pub(super) confirm_within: Option<prost_types::Duration>,
    /// True for a guard.
    pub(super) guard: bool,
}

pub(super) async fn apply(
    state: &CallState,
    subject: Subject,
    sections: Sections,
    wishes: ApplyWishes,
) -> Result<AppliedView, Status> {
    let ApplyWishes { expected, reason, confirm_within, guard } = wishes;
    let expected = expected.map(|revision| vec![revision]);
    let reason = reason.as_deref().map(ApplyReason::parse).transpose()?;
    let within = confirm_within.map(|within| span("confirm_within", Some(within))).transpose()?;
    let confirm = apply_options::confirm(within, guard, state.nonce())?;
    let command = ConfigApply { subject, sections, expected, reason, confirm };
    Ok(state.registry.apply(state.origin.clone(), command).await?)
}

pub(super) async fn confirm_config(
    state: &CallState,
    request: ConfirmConfigRequest,
) -> Result<ConfirmConfigResponse, Status> {
    state.call(ConfigConfirm { id: ConfirmationId::restore(&request.confirmation_id) }).await?;
    Ok(ConfirmConfigResponse {})
}

pub(super) async fn cancel_config(
    state: &CallState,
    request: CancelConfigRequest,
) -> Result<CancelConfigResponse, Status> {
    state.call(ConfigCancel { id: ConfirmationId::restore(&request.confirmation_id) }).await?;
    Ok(CancelConfigResponse {})
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
