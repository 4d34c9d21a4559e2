//! A record of the audit, and its draft that a command decides on.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Edit, InstanceName, Owner, RouteId, ServiceName, Session, SessionKey, Target, Time};

use super::origin::Interface;
use super::words::words;

words! {
    /// A change of state.
    AuditAction is "What happened.", "action" {
        /// A session was opened.
        Registered = "registered",
        /// A client took its session up again.
        Reconnected = "reconnected",
        /// The connection of a session ended.
        Disconnected = "disconnected",
        /// A new registration of the instance took the place of a session.
        Replaced = "replaced",
        /// A session ended because nobody kept it alive.
        Expired = "expired",
        /// A session ended itself.
        Ended = "ended",
        /// An operator ended a session.
        Evicted = "evicted",
        /// Operators or a file removed an instance that they held.
        Removed = "removed",
        /// Staged changes became active.
        Applied = "applied",
        /// An earlier configuration was restored.
        Reverted = "reverted",
        /// An apply that waited for its confirmation was confirmed.
        Confirmed = "confirmed",
        /// Staged changes were dropped.
        RolledBack = "rolled_back",
        /// Staged changes were dropped because of their age.
        StagedExpired = "staged_expired",
        /// A drain began.
        DrainStarted = "drain_started",
        /// A drain reached 0 %.
        DrainCompleted = "drain_completed",
        /// A drain was cancelled.
        DrainCancelled = "drain_cancelled",
        /// Routes entered maintenance.
        MaintenanceEntered = "maintenance_entered",
        /// The page that is shown during maintenance answered.
        MaintenanceVerified = "maintenance_verified",
        /// Routes are to leave maintenance once their backends answer.
        MaintenanceLeaving = "maintenance_leaving",
        /// Routes left maintenance.
        MaintenanceLeft = "maintenance_left",
        /// A maintenance request had no success.
        MaintenanceFailed = "maintenance_failed",
        /// A circuit breaker was closed by hand.
        BreakerReset = "breaker_reset",
        /// The server read a changed configuration.
        ConfigReloaded = "config_reloaded",
        /// An operator got a backup of the store.
        BackupMade = "backup_made",
        /// The store was restored from a backup while no server ran.
        StoreRestored = "store_restored",
        /// The server began to serve.
        ServerStarted = "server_started",
        /// The server ended in good order.
        ServerStopped = "server_stopped",
    }
}

words! {
    /// The kind of an actor.
    ActorKind is "The kind of the actor.", "actor" {
        /// A session, for itself.
        Session = "session",
        /// An operator.
        Operator = "operator",
        /// The server itself.
        Server = "server",
    }
}

/// The actor: session, operator or server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Actor {
    /// The kind.
    pub kind: ActorKind,
    /// `service/instance` of a session, the name of an operator's token, or `server`.
    pub name: String,
}

impl Actor {
    /// Returns the server itself.
    pub fn server() -> Self {
        Self { kind: ActorKind::Server, name: "server".to_owned() }
    }

    /// Returns the session of an instance.
    pub fn session(service: &ServiceName, instance: &InstanceName) -> Self {
        Self { kind: ActorKind::Session, name: format!("{service}/{instance}") }
    }
}

/// Details of a change, in numbers and words. Each action has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct AuditDetails {
    /// Routes that were added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub routes_added: Option<u64>,
    /// Routes that were changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub routes_changed: Option<u64>,
    /// Routes that were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub routes_removed: Option<u64>,
    /// Response headers that were set or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub headers_changed: Option<u64>,
    /// Options that were set or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub options_changed: Option<u64>,
    /// Health checks that were set or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub health_checks_changed: Option<u64>,
    /// Rate limits that were set or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rate_limits_changed: Option<u64>,
    /// Circuit breakers that were set or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub circuit_breakers_changed: Option<u64>,
    /// Routes of the replaced session that ended with this apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub routes_replaced: Option<u64>,
    /// The number of the revision of the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub number: Option<u64>,
    /// The number of the revision that was restored; 0 for an empty configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reverted_to: Option<u64>,
    /// Active routes that the session had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub routes: Option<u64>,
    /// The targets: `ALL`, or route ids separated by commas, at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub target: Option<String>,
    /// The end of the drain, or of the time in which replaced routes still serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub until: Option<Time>,
    /// The reason in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// The keys of the configuration that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub keys: Option<String>,
    /// The name of the registration token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token_name: Option<String>,
    /// The lease of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lease: Option<String>,
    /// The version of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<String>,
    /// The holder of the instance: `the operators`, or `the file` with its name. Absent for a session with a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub owner: Option<String>,
}

/// The largest number of route ids that a record names.
const TARGETS_MAX: usize = 20;

impl AuditDetails {
    /// Returns the numbers of an apply of `edits` to the active configuration of a session.
    pub fn of_apply(session: &Session, edits: &[Edit]) -> Self {
        let mut counts = [0_u64; 8];
        for edit in edits {
            let at = match edit {
                Edit::Route(_, None) => 2,
                Edit::Route(id, Some(_)) => usize::from(session.active.routes.contains_key(id)),
                Edit::Header(..) => 3,
                Edit::Option(..) => 4,
                Edit::Health(..) => 5,
                Edit::RateLimit(..) => 6,
                Edit::Breaker(..) => 7,
            };
            // In bounds: the numbers above are below 8.
            counts[at] += 1;
        }
        let [added, changed, removed, headers, options, health, limits, breakers] =
            counts.map(|count| Some(count).filter(|count| *count > 0));
        Self {
            routes_added: added,
            routes_changed: changed,
            routes_removed: removed,
            headers_changed: headers,
            options_changed: options,
            health_checks_changed: health,
            rate_limits_changed: limits,
            circuit_breakers_changed: breakers,
            ..Self::default()
        }
    }

    /// Returns the number of active routes of a session.
    pub fn of_routes(session: &Session) -> Self {
        Self { routes: Some(count(session.active.routes.len())), ..Self::default() }
    }

    /// Returns the targets of a request.
    pub fn of_targets(targets: &[Target]) -> Self {
        let mut words: Vec<String> = targets.iter().take(TARGETS_MAX).map(Target::to_string).collect();
        if let Some(more) = targets.len().checked_sub(TARGETS_MAX).filter(|more| *more > 0) {
            words.push(format!("and {more} more"));
        }
        Self { target: Some(words.join(",")), ..Self::default() }
    }

    /// Returns one route as the target.
    pub fn of_route(id: RouteId) -> Self {
        Self { target: Some(id.to_string()), ..Self::default() }
    }

    /// Returns a reason in words.
    pub fn of_reason(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::default() }
    }

    /// Adds the lease of the session.
    #[must_use]
    pub fn lease(self, lease: String) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Adds the owner of the instance, unless it is a client.
    #[must_use]
    pub fn held_by(self, owner: &Owner) -> Self {
        Self { owner: owner.is_permanent().then(|| owner.to_string()), ..self }
    }

    /// Adds the time until which something lasts.
    #[must_use]
    pub fn until(self, time: Time) -> Self {
        Self { until: Some(time), ..self }
    }
}

/// Converts a number of things.
pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A record in the making: the part that the command knows.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditDraft {
    /// The session that changed; `None` for the server.
    pub key: Option<SessionKey>,
    /// The action.
    pub action: AuditAction,
    /// The details.
    pub details: AuditDetails,
}

/// A record of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AuditRecord {
    /// The number of the record. Numbers rise, also across restarts.
    pub sequence: u64,
    /// The time by the system clock.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// The action.
    pub action: AuditAction,
    /// The service; `null` for the server.
    #[schema(required)]
    pub service_name: Option<ServiceName>,
    /// The instance; `null` for the server.
    #[schema(required)]
    pub instance_name: Option<InstanceName>,
    /// The actor.
    pub actor: Actor,
    /// The way that the call came.
    pub interface: Interface,
    /// The client's address, as trusted proxies tell it; `null` for the server itself.
    #[schema(value_type = Option<String>, required)]
    pub address: Option<IpAddr>,
    /// The revision of the session after the change; `null` for the server.
    #[schema(required)]
    pub revision: Option<u64>,
    /// Details of the change.
    pub details: AuditDetails,
}
