//! The outcomes of commands for instances that operators or files hold.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Error, InstanceName, ServiceName};

use super::config_changes::ConfigChange;

/// The outcome of a put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InstancePut {
    /// The revision of the instance; 0 for a dry run that would create it. A put that changes nothing makes none.
    pub revision: u64,
    /// True if the instance is new.
    pub created: bool,
    /// True if nothing was changed, because the caller asked for the changes only.
    pub dry_run: bool,
    /// The number of entries that change.
    #[schema(value_type = u64)]
    pub changes_total: usize,
    /// The entries that change, the first 1,000.
    pub changes: Vec<ConfigChange>,
}

/// The outcome for instances that are put together: their changes, or the refusals for which none of them is put.
pub type SetOutcome = Result<Vec<OwnedChange>, Vec<RefusedInstance>>;

/// An instance that is refused, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedInstance {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The reason.
    pub error: Error,
}

impl RefusedInstance {
    /// Returns the reason with the instance before it: `shop/shop-1: routes[0].backend: …`.
    pub fn named(&self) -> Error {
        self.error.clone().within(&format!("{}/{}", self.service, self.instance))
    }
}

/// A change of an instance of a file, or of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedChange {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The way in which it changed.
    pub kind: OwnedChangeKind,
}

/// The way in which an instance changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedChangeKind {
    /// It is new.
    Created {
        /// The number of its entries.
        total: usize,
    },
    /// It has another configuration.
    Changed {
        /// Its revision now.
        revision: u64,
        /// The number of entries that changed.
        total: usize,
        /// The entries, at most 1,000.
        changes: Vec<ConfigChange>,
    },
    /// The file does not list it any more.
    Removed,
}
