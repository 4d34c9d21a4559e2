//! The audit for operators: a list of the changes of state.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{InstanceName, ServiceName, Time};
use crate::json::numbers::Digits;
use crate::json::values::present;
use crate::registry::audit::{AuditAction, AuditFilter, AuditPage};

use super::caller::json;
use super::extract::UrlQuery;
use super::operator::Operator;
use super::overview::page;
use super::problem::Problem;
use super::state::RestState;
use super::values::ActorText;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(list_audit))
}

/// The parameters of the audit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// The maximum number of entries.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
    pub(super) limit: Option<Digits>,
    /// The `next_cursor` of the page before; empty or left out for the first page.
    #[serde(default)]
    #[param(nullable = false)]
    pub(super) cursor: Option<String>,
    /// Only changes of this service.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) service: Option<ServiceName>,
    /// Only changes of instances with this name.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) instance: Option<InstanceName>,
    /// Only this action.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) action: Option<AuditAction>,
    /// Only changes by these actors: `session`, `operator` or `server`, or one of them with a name, such as
    /// `operator:ann` or `session:shop/shop-1`.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) actor: Option<ActorText>,
    /// Only changes from this time on.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, value_type = Option<String>, format = DateTime)]
    pub(super) since: Option<Time>,
    /// Only changes up to this time.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, value_type = Option<String>, format = DateTime)]
    pub(super) until: Option<Time>,
}

/// Lists the changes of state, the latest first
///
/// A page may have fewer entries than `limit`, also none; the list ends where `next_cursor` is `null`.
#[utoipa::path(get, path = "/v1/audit", operation_id = "listAudit", tag = "operators",
    security(("operator" = [])), params(AuditQuery),
    responses((status = 200, description = "A page of the list.", body = AuditPage)))]
async fn list_audit(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(asked): UrlQuery<AuditQuery>,
) -> Result<Response, Problem> {
    let AuditQuery { limit, cursor, service, instance, action, actor, since, until } = asked;
    let filter = AuditFilter { service, instance, action, actor: actor.map(|actor| actor.0), since, until };
    Ok(json(StatusCode::OK, &state.registry.audit(&page(limit, cursor)?, filter).await?))
}
