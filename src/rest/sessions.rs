//! Calls that open, bind and end sessions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{InstanceName, Lease, Metadata, Secret, ServiceName, Subject};
use crate::json::numbers::Port;
use crate::json::values::present;
use crate::registry::Reconnected;
use crate::registry::calls::{Ping, SessionInfo};
use crate::registry::commands::{ClientShutdown, Reconnect, Register};
use crate::registry::queries::session::SessionView;

use super::caller::{Bearer, Caller, CameFrom, etag, json};
use super::extract::Body;
use super::problem::Problem;
use super::state::RestState;
use super::values::ETag;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(get, end))
        .routes(routes!(reconnect))
        .routes(routes!(ping))
}

/// An instance that opens a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({
    "service_name": "shop",
    "instance_name": "shop-1",
    "maintenance_port": 9001,
    "metadata": { "version": "1.4" },
}))]
pub(super) struct Registration {
    /// The service.
    pub(super) service_name: ServiceName,
    /// The instance.
    pub(super) instance_name: InstanceName,
    /// A value that operators see.
    #[serde(default)]
    pub(super) maintenance_port: Port,
    /// A value that operators see.
    #[serde(default)]
    pub(super) metadata: Metadata,
    /// The registration token, if the server requires one.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, write_only)]
    pub(super) token: Option<String>,
    /// The time that the session lives without a sign of life: a duration from 1s on, or `permanent`. The grace period
    /// of the server if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) lease: Option<Lease>,
}

/// A session that was opened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    /// The bearer token of all further requests. Keep it secret.
    #[schema(min_length = 1, example = "shop-1-1795323231906-6f1d3a5b7c9e0f1a2b3c4d5e6f708192")]
    pub(super) session_id: String,
}

/// Opens a session for an instance
///
/// It replaces an older session of the instance: that session's id stops working at once, but its routes serve until
/// the first apply of the new session or the end of the grace period.
#[utoipa::path(post, path = "/v1/sessions", operation_id = "register", tag = "sessions", request_body = Registration,
    security(()),
    responses(
        (status = 201, description = "The session is open.", body = Registered),
        (status = 403, description = "The registration token is missing, or does not allow the registration."),
        (status = 409, description = "Operators or a configuration file hold the instance."),
        (status = 429, description = "There are too many sessions."),
    ))]
async fn register(
    State(state): State<RestState>,
    CameFrom(call_origin, origin): CameFrom,
    Body(new): Body<Registration>,
) -> Result<Response, Problem> {
    let command = Register {
        service: new.service_name,
        instance: new.instance_name,
        maintenance_port: new.maintenance_port.0,
        metadata: new.metadata,
        nonce: (state.settings.nonce)(),
        connection: None,
        token: new.token.as_deref().map(Secret::new),
        origin,
        lease: new.lease,
    };
    let id = state.registry.call(call_origin, command).await?;
    Ok(json(StatusCode::CREATED, &Registered { session_id: id.reveal().to_owned() }))
}

/// Shows the session
#[utoipa::path(get, path = "/v1/session", operation_id = "getSession", tag = "sessions", security(("session" = [])),
    responses(
        (status = 200, description = "The session.", body = SessionView, headers(("ETag" = ETag, description = "The revision."))),
    ))]
async fn get(caller: Caller) -> Result<Response, Problem> {
    let revision = etag(caller.revision()?);
    let shown = caller.ask(SessionInfo(caller.session.clone())).await?;
    Ok(([(ETAG, revision)], shown).into_response())
}

/// Ends the session
///
/// Its routes are gone at once; requests in flight finish.
#[utoipa::path(delete, path = "/v1/session", operation_id = "endSession", tag = "sessions", security(("session" = [])),
    responses((status = 204, description = "The session has ended.")))]
async fn end(caller: Caller) -> Result<StatusCode, Problem> {
    caller.done(ClientShutdown { subject: Subject::Session(caller.session.clone()), connection: None }).await
}

/// Reconnects the session
///
/// Tells a restarted client that the session still exists.
#[utoipa::path(post, path = "/v1/session/reconnect", operation_id = "reconnect", tag = "sessions", security(("session" = [])),
    responses(
        (status = 204, description = "The session exists, with all its routes and settings."),
        (status = 410, description = "The session has ended or never existed: register again."),
    ))]
async fn reconnect(
    State(state): State<RestState>,
    CameFrom(origin, _): CameFrom,
    Bearer(session): Bearer,
) -> Result<StatusCode, Problem> {
    let command = Reconnect { session, connection: None };
    match state.registry.call(origin, command).await? {
        Reconnected::Gone => Err(Problem::gone()),
        Reconnected::Bound => Ok(StatusCode::NO_CONTENT),
    }
}

/// Keeps the session alive
///
/// Every call of a session keeps it alive. Without a call and without an open stream of its events, the session ends
/// after the grace period.
#[utoipa::path(post, path = "/v1/session/ping", operation_id = "ping", tag = "sessions", security(("session" = [])),
    responses((status = 204, description = "The session is alive.")))]
async fn ping(caller: Caller) -> Result<Response, Problem> {
    caller.ask_as(Ping(caller.session.clone()), |()| StatusCode::NO_CONTENT.into_response()).await
}
