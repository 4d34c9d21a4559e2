//! The server itself as operators see it: its certificates, and the reload of its configuration.

use std::collections::BTreeMap;
use std::sync::Mutex;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use crate::domain::Time;

use super::audit::CallOrigin;

/// The number of requests for a reload that may wait.
const REQUESTS_MAX: usize = 4;

/// A certificate that the server uses or wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Certificate)]
pub struct CertificateView {
    /// The names for which it is used.
    pub names: Vec<String>,
    /// The port that shows it: `proxy`, `pipe` or `api`.
    pub port: &'static str,
    /// The way it comes here: `files` or `acme`.
    pub source: &'static str,
    /// The file of its chain.
    #[schema(required)]
    pub file: Option<String>,
    /// `valid`, `expires_soon`, `expired`, `not_yet_valid`, or `pending` while there is none.
    pub state: &'static str,
    /// The first moment at which it is valid.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub not_before: Option<Time>,
    /// The last moment at which it is valid.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub not_after: Option<Time>,
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
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub next_attempt: Option<Time>,
}

/// The certificates of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CertificateList)]
pub struct CertificatesView {
    /// Those of files in the order of the configuration, then those of ACME.
    pub items: Vec<CertificateView>,
}

/// The outcome of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Reloaded)]
pub struct ReloadView {
    /// The keys with new values that are in force.
    pub changed: Vec<String>,
    /// The keys whose new values need a restart.
    pub needs_restart: Vec<String>,
    /// The faults of files of services. They keep their last good version; all other files are in force.
    pub problems: Vec<FileProblem>,
}

/// A fault in a file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileProblem {
    /// The file or folder.
    pub file: String,
    /// The line, from 1; `null` if it concerns the whole file.
    #[schema(required)]
    pub line: Option<u64>,
    /// The fault, and what to do.
    pub message: String,
}

/// A request to reload the configuration.
#[derive(Debug)]
pub struct ReloadRequest {
    /// The origin of the call.
    pub origin: CallOrigin,
    /// The channel for the answer. An error says what is wrong with the configuration.
    pub answer: oneshot::Sender<Result<ReloadView, String>>,
}

/// The state of the server around the registry.
pub(crate) struct ServerState {
    /// The certificates of each source.
    pub(super) certificates: ArcSwap<BTreeMap<&'static str, Vec<CertificateView>>>,
    /// The faults of each source.
    pub(super) problems: ArcSwap<BTreeMap<&'static str, Vec<FileProblem>>>,
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
    pub(super) requests: Mutex<Option<mpsc::Receiver<ReloadRequest>>>,
}

impl Default for ServerState {
    fn default() -> Self {
        let (reloads, requests) = mpsc::channel(REQUESTS_MAX);
        Self {
            certificates: ArcSwap::default(),
            problems: ArcSwap::default(),
            reloads,
            requests: Mutex::new(Some(requests)),
        }
    }
}
