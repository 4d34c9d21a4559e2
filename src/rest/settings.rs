//! Calls that stage settings of routes: headers, options, health checks, rate limits, breakers.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{HeaderKey, Options, Target};
use crate::json::settings::{CircuitBreaker, HealthCheck, RateLimit};
use crate::json::values::{HeaderText, OptionText};
use crate::registry::commands::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};

use super::caller::Caller;
use super::extract::{Body, Segments};
use super::problem::Problem;
use super::routes::RoutePath;
use super::state::RestState;
use super::values::OptionName;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(set_header, remove_header))
        .routes(routes!(set_option, remove_option))
        .routes(routes!(set_health_check, remove_health_check))
        .routes(routes!(set_rate_limit, remove_rate_limit))
        .routes(routes!(set_circuit_breaker, remove_circuit_breaker))
}

/// The target of a setting, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TargetPath {
    /// The routes that the setting is for.
    pub(super) target: Target,
}

/// A header, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct HeaderPath {
    /// The routes that the setting is for.
    pub(super) target: Target,
    /// The header.
    pub(super) name: HeaderKey,
}

/// An option, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OptionPath {
    /// The routes that the setting is for.
    pub(super) target: Target,
    /// The option.
    pub(super) key: OptionName,
}

/// A response header's value. It replaces the backend's value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct HeaderSetting {
    /// The value.
    pub(super) value: HeaderText,
}

/// An option's value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
pub(super) struct OptionSetting {
    /// The value.
    pub(super) value: OptionText,
}

/// Stages a response header
#[utoipa::path(put, path = "/v1/session/headers/{target}/{name}", operation_id = "setHeader", tag = "settings",
    security(("session" = [])), params(HeaderPath), request_body = HeaderSetting,
    responses(
        (status = 204, description = "The change is staged."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "The session has too many settings."),
    ))]
async fn set_header(
    caller: Caller,
    Segments(HeaderPath { target, name }): Segments<HeaderPath>,
    Body(HeaderSetting { value }): Body<HeaderSetting>,
) -> Result<StatusCode, Problem> {
    let session = caller.session.clone();
    caller.done(HeadersSet { session, target, name, value: value.0 }).await
}

/// Stages the removal of a response header
#[utoipa::path(delete, path = "/v1/session/headers/{target}/{name}", operation_id = "removeHeader", tag = "settings",
    security(("session" = [])), params(HeaderPath),
    responses((status = 204, description = "The removal is staged. A header that is not set is no error.")))]
async fn remove_header(
    caller: Caller,
    Segments(HeaderPath { target, name }): Segments<HeaderPath>,
) -> Result<StatusCode, Problem> {
    caller.done(HeadersRemove { session: caller.session.clone(), target, name }).await
}

/// Stages an option
#[utoipa::path(put, path = "/v1/session/options/{target}/{key}", operation_id = "setOption", tag = "settings",
    security(("session" = [])), params(OptionPath), request_body = OptionSetting,
    responses(
        (status = 204, description = "The change is staged."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "The session has too many settings."),
    ))]
async fn set_option(
    caller: Caller,
    Segments(OptionPath { target, key }): Segments<OptionPath>,
    Body(OptionSetting { value }): Body<OptionSetting>,
) -> Result<StatusCode, Problem> {
    // The registry checks the option again. Here the error can name the value.
    Options::default().set(key.0.as_str(), &value.0).map_err(|error| error.about("value"))?;
    caller.done(OptionsSet { session: caller.session.clone(), target, key: key.0, value: value.0 }).await
}

/// Stages the return of an option to its default
#[utoipa::path(delete, path = "/v1/session/options/{target}/{key}", operation_id = "removeOption", tag = "settings",
    security(("session" = [])), params(OptionPath),
    responses((status = 204, description = "The change is staged. An option that is not set is no error.")))]
async fn remove_option(
    caller: Caller,
    Segments(OptionPath { target, key }): Segments<OptionPath>,
) -> Result<StatusCode, Problem> {
    caller.done(OptionsRemove { session: caller.session.clone(), target, key: key.0 }).await
}

/// Stages a route's health check
#[utoipa::path(put, path = "/v1/session/health-checks/{route_id}", operation_id = "setHealthCheck", tag = "settings",
    security(("session" = [])), params(RoutePath), request_body = HealthCheck,
    responses(
        (status = 204, description = "The change is staged."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "The session has too many settings."),
    ))]
async fn set_health_check(
    caller: Caller,
    Segments(RoutePath { route_id }): Segments<RoutePath>,
    Body(check): Body<HealthCheck>,
) -> Result<StatusCode, Problem> {
    caller.done(HealthSet { session: caller.session.clone(), id: route_id, check: check.into() }).await
}

/// Stages the return of a route to the default health check
#[utoipa::path(delete, path = "/v1/session/health-checks/{route_id}", operation_id = "removeHealthCheck",
    tag = "settings", security(("session" = [])), params(RoutePath),
    responses((status = 204, description = "The change is staged. A route without a health check of its own is no error.")))]
async fn remove_health_check(
    caller: Caller,
    Segments(RoutePath { route_id }): Segments<RoutePath>,
) -> Result<StatusCode, Problem> {
    caller.done(HealthRemove { session: caller.session.clone(), id: route_id }).await
}

/// Stages a rate limit
#[utoipa::path(put, path = "/v1/session/rate-limits/{target}", operation_id = "setRateLimit", tag = "settings",
    security(("session" = [])), params(TargetPath), request_body = RateLimit,
    responses(
        (status = 204, description = "The change is staged."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "The session has too many settings."),
    ))]
async fn set_rate_limit(
    caller: Caller,
    Segments(TargetPath { target }): Segments<TargetPath>,
    Body(limit): Body<RateLimit>,
) -> Result<StatusCode, Problem> {
    caller.done(RatelimitSet { session: caller.session.clone(), target, limit: limit.into() }).await
}

/// Stages the removal of a rate limit
#[utoipa::path(delete, path = "/v1/session/rate-limits/{target}", operation_id = "removeRateLimit", tag = "settings",
    security(("session" = [])), params(TargetPath),
    responses((status = 204, description = "The removal is staged. A target without a rate limit is no error.")))]
async fn remove_rate_limit(
    caller: Caller,
    Segments(TargetPath { target }): Segments<TargetPath>,
) -> Result<StatusCode, Problem> {
    caller.done(RatelimitRemove { session: caller.session.clone(), target }).await
}

/// Stages a circuit breaker
#[utoipa::path(put, path = "/v1/session/circuit-breakers/{target}", operation_id = "setCircuitBreaker",
    tag = "settings", security(("session" = [])), params(TargetPath), request_body = CircuitBreaker,
    responses(
        (status = 204, description = "The change is staged."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "The session has too many settings."),
    ))]
async fn set_circuit_breaker(
    caller: Caller,
    Segments(TargetPath { target }): Segments<TargetPath>,
    Body(breaker): Body<CircuitBreaker>,
) -> Result<StatusCode, Problem> {
    caller.done(CircuitBreakerSet { session: caller.session.clone(), target, breaker: breaker.into() }).await
}

/// Stages the removal of a circuit breaker
#[utoipa::path(delete, path = "/v1/session/circuit-breakers/{target}", operation_id = "removeCircuitBreaker",
    tag = "settings", security(("session" = [])), params(TargetPath),
    responses((status = 204, description = "The removal is staged. A target without a circuit breaker is no error.")))]
async fn remove_circuit_breaker(
    caller: Caller,
    Segments(TargetPath { target }): Segments<TargetPath>,
) -> Result<StatusCode, Problem> {
    caller.done(CircuitBreakerRemove { session: caller.session.clone(), target }).await
}
