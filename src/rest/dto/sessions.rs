//! Requests and responses about sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::numbers::Port;
use super::values::present;
use super::values::{About, Instance, Service};

/// An instance that opens a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({
    "service_name": "shop",
    "instance_name": "shop-1",
    "maintenance_port": 9001,
    "metadata": { "version": "1.4" },
}))]
pub struct Registration {
    /// The service.
    pub service_name: Service,
    /// The instance.
    pub instance_name: Instance,
    /// A value that operators see.
    #[serde(default)]
    pub maintenance_port: Port,
    /// A value that operators see.
    #[serde(default)]
    pub metadata: About,
    /// The registration token, if the server requires one.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false, write_only)]
    pub token: Option<String>,
}

/// A session that was opened.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    /// The bearer token of all further requests. Keep it secret.
    #[schema(min_length = 1, example = "shop-1-1795323231906-6f1d3a5b7c9e0f1a2b3c4d5e6f708192")]
    pub session_id: String,
}

/// A session.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct Session {
    /// The caller's bearer token.
    #[schema(min_length = 1)]
    pub session_id: String,
    pub service_name: Service,
    pub instance_name: Instance,
    pub maintenance_port: Port,
    #[schema(format = DateTime)]
    pub connected_at: String,
    #[schema(minimum = 0)]
    pub uptime_seconds: u64,
    #[schema(format = DateTime)]
    pub last_activity: String,
    #[schema(minimum = 0)]
    pub routes_active: u64,
    /// The number of routes that the next apply adds, changes or removes.
    #[schema(minimum = 0)]
    pub routes_staged: u64,
    /// The time of the last apply; `null` before the first.
    #[schema(required, format = DateTime)]
    pub last_apply: Option<String>,
    /// The number of applies that changed something; the `ETag` of the session's configuration.
    #[schema(minimum = 0)]
    pub revision: u64,
    pub metadata: serde_json::Map<String, serde_json::Value>,
}
