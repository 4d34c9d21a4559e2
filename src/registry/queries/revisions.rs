//! Views of revisions: lists, one revision in full, and the changes from one configuration to another, entry by entry.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Catalog, Config, Error, InstanceName, ServiceName};

use crate::registry::config_changes::ConfigChange;
use crate::registry::revisions::RevisionView;

use super::configuration::{ConfigPart, part};
use super::paging::list_page;

list_page!(RevisionsPage of RevisionView);

/// A revision with its whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RevisionDetail)]
pub struct RevisionDetailView {
    /// The revision, as lists show it.
    #[serde(flatten)]
    pub revision: RevisionView,
    /// Its configuration.
    pub config: ConfigPart,
    /// The revision with which it is compared; `null` for the configuration that is active now.
    #[schema(required)]
    pub against: Option<u64>,
    /// The number of entries in which they differ.
    #[schema(value_type = u64)]
    pub diff_total: usize,
    /// The changes that lead from there to this revision, the first 1,000. Against the active configuration, these are the
    /// changes that a revert would make.
    pub diff: Vec<ConfigChange>,
}

/// Returns the view of a revision with `config`, compared with `base`.
pub(crate) fn detail(
    revision: RevisionView,
    config: &Config,
    against: Option<u64>,
    base: &Config,
) -> RevisionDetailView {
    let difference = base.difference(config);
    let (diff_total, diff) = (difference.edits().count(), ConfigChange::all(base, &difference));
    RevisionDetailView { revision, config: part(config), against, diff_total, diff }
}

/// Returns the configuration of an instance that traffic follows.
///
/// # Errors
/// `NotFound` when the instance has neither a session nor revisions.
pub(crate) fn present(catalog: &Catalog, service: &ServiceName, instance: &InstanceName) -> Result<Config, Error> {
    let Some(session) = catalog.of_instance(service, instance) else {
        let known = catalog.history_of(service, instance).map(|_| Config::default());
        return known.ok_or_else(|| Error::no_instance(service, instance));
    };
    // The replaced session serves until the first apply.
    let serving = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key));
    Ok(serving.unwrap_or(session).active.clone())
}
