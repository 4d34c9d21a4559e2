//! Responses about the server itself: its certificates, and the reload of its configuration.

use serde::Deserialize;
use utoipa::ToSchema;

/// The certificates of the server.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CertificateList {
    /// Those of files in the order of the configuration, then those of ACME.
    pub items: Vec<Certificate>,
}

/// A certificate that the server uses or wants.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Certificate {
    /// The names for which it is used.
    pub names: Vec<String>,
    /// The port that shows it: `proxy`, `pipe` or `api`.
    pub port: String,
    /// The way it comes here: `files` or `acme`.
    pub source: String,
    /// The file of its chain.
    #[schema(required)]
    pub file: Option<String>,
    /// `valid`, `expires_soon`, `expired`, `not_yet_valid`, or `pending` while there is none.
    pub state: String,
    /// The first moment at which it is valid.
    #[schema(required, format = DateTime)]
    pub not_before: Option<String>,
    /// The last moment at which it is valid.
    #[schema(required, format = DateTime)]
    pub not_after: Option<String>,
    /// The distinguished name of its issuer.
    #[schema(required)]
    pub issuer: Option<String>,
    /// Its serial number in hexadecimal.
    #[schema(required)]
    pub serial: Option<String>,
    /// The reason why the last attempt to renew it failed; `null` after a success.
    #[schema(required)]
    pub last_error: Option<String>,
    /// The time of the next attempt, if one is planned.
    #[schema(required, format = DateTime)]
    pub next_attempt: Option<String>,
}

/// The outcome of a reload.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Reloaded {
    /// The keys with new values that are in force.
    pub changed: Vec<String>,
    /// The keys whose new values need a restart.
    pub needs_restart: Vec<String>,
}
