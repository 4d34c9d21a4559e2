//! The nouns of the registry and the changes that can happen to them.
//!
//! Every value is valid once it is built, and nothing checks it again. Invariants: no IO, no clock, no randomness
//! and no `async` in this module; time and random bits are arguments.

mod catalog;
mod change;
mod checks;
mod claim;
mod config;
mod confirmation;
mod error;
mod event;
mod fairness;
mod grpc_status;
mod history;
mod host;
mod lease;
mod lines;
mod names;
mod nearest;
mod operations;
mod options;
mod origin;
mod owner;
mod path;
mod reach;
mod registration_token;
mod route;
mod secret;
mod session;
mod settings;
mod spelling;
mod time;
mod url;

pub use catalog::Catalog;
pub use change::Change;
pub use checks::{CheckMethod, StatusRanges};
pub use claim::{Claim, Claimants};
pub use config::{Config, Difference, Edit, Section, Sections, Tally};
pub use confirmation::{ConfirmWithin, Confirmation, ConfirmationId, Failures, Guard};
pub use error::{Error, Kind};
pub use event::{Event, EventInstance, EventKind, EventRecord, Topics};
pub use fairness::may_take_another;
pub use grpc_status::grpc_status_name;
pub use history::{ApplyReason, HistoryMark, REVISIONS_MAX};
pub use host::{Host, listed};
pub use lease::{Lease, LeaseBound};
pub use lines::breaks_line;
pub use names::{
    ConnectionId, HIDDEN, InstanceName, Metadata, OperatorName, RouteId, RouteName, ServiceName, SessionId, SessionKey,
    Subject, Target, TokenName, is_hidden,
};
pub use nearest::{letters_apart, nearest};
pub use operations::{Drain, Maintenance, MaintenanceEntry, Pending, PendingKind, Ticket};
pub use options::{LoadBalancing, OptionSpec, Options};
pub use origin::Origin;
pub use owner::Owner;
pub use path::{HealthPath, PathPrefix};
pub use reach::{Forbidden, OffLimits};
pub use registration_token::RegistrationToken;
pub use route::Route;
pub use secret::{Fingerprint, Secret};
pub use session::{LastActivity, Session, SessionRecord, Staged};
pub use settings::{
    Breaker, BreakerState, HeaderKey, HealthCheck, OptionKey, RateLimit, VALUE_BYTES_MAX, acting_timeout, count,
    header_value,
};
pub use spelling::{AboveRoot, RequestPath, path_behind};
pub use time::{Span, Time};
pub use url::{BackendUrl, PageUrl, Scheme};
