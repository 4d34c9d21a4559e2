//! The difference between two configurations of an instance, entry by entry, in words for people.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Config, Difference, Edit, Host, Route, Target};

/// The largest number of entries that an answer lists.
pub const CHANGES_MAX: usize = 1_000;

/// An entry of a configuration that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfigChange {
    /// `added`, `removed` or `modified`.
    pub change: EntryChange,
    /// The section: `routes`, `headers`, `options`, `health`, `ratelimit` or `circuit`; `instance` for the maintenance
    /// port and the metadata.
    pub section: &'static str,
    /// The routes that it is for: `ALL` or a route id.
    pub target: String,
    /// The name of the header or option, `maintenance_port` or `metadata`; `null` in the other sections.
    #[schema(required)]
    pub name: Option<String>,
    /// The value before, in words; `null` if there was none.
    #[schema(required)]
    pub before: Option<String>,
    /// The value after, in words; `null` if there is none.
    #[schema(required)]
    pub after: Option<String>,
}

/// The way in which an entry changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryChange {
    /// The entry is new.
    Added,
    /// The entry goes.
    Removed,
    /// The entry gets another value.
    Modified,
}

impl EntryChange {
    /// Returns the word.
    pub const fn word(self) -> &'static str {
        match self {
            EntryChange::Added => "added",
            EntryChange::Removed => "removed",
            EntryChange::Modified => "modified",
        }
    }
}

impl ConfigChange {
    /// Returns the entries of a difference from `before`, removed ones first, at most [`CHANGES_MAX`].
    pub(crate) fn all(before: &Config, difference: &Difference) -> Vec<Self> {
        let of = |edits: &[Edit], change| {
            edits.iter().take(CHANGES_MAX).map(|edit| Self::of(before, edit, change)).collect::<Vec<_>>()
        };
        let mut all = of(&difference.removed, EntryChange::Removed);
        all.extend(of(&difference.modified, EntryChange::Modified));
        all.extend(of(&difference.added, EntryChange::Added));
        all.truncate(CHANGES_MAX);
        all
    }

    /// Returns the change of a value of the instance itself.
    pub(crate) fn of_instance(name: &str, before: String, after: String) -> Self {
        Self {
            change: EntryChange::Modified,
            section: "instance",
            target: Target::All.to_string(),
            name: Some(name.to_owned()),
            before: Some(before),
            after: Some(after),
        }
    }

    fn of(before: &Config, edit: &Edit, change: EntryChange) -> Self {
        Self {
            change,
            section: edit.section().name(),
            target: edit.target().to_string(),
            name: match edit {
                Edit::Header(_, name, _) => Some(name.to_string()),
                Edit::Option(_, key, _) => Some(key.to_string()),
                Edit::Route(..) | Edit::Health(..) | Edit::RateLimit(..) | Edit::Breaker(..) => None,
            },
            before: value(&present(before, edit)),
            after: value(edit),
        }
    }
}

/// Returns the edit that sets the entry to the value that it has in `config`.
fn present(config: &Config, edit: &Edit) -> Edit {
    match edit {
        Edit::Route(id, _) => Edit::Route(*id, config.routes.get(id).cloned()),
        Edit::Header(target, name, _) => {
            Edit::Header(*target, name.clone(), config.headers.get(&(*target, name.clone())).cloned())
        }
        Edit::Option(target, key, _) => {
            Edit::Option(*target, key.clone(), config.options.get(&(*target, key.clone())).cloned())
        }
        Edit::Health(id, _) => Edit::Health(*id, config.health.get(id).cloned()),
        Edit::RateLimit(target, _) => Edit::RateLimit(*target, config.limits.get(target).copied()),
        Edit::Breaker(target, _) => Edit::Breaker(*target, config.breakers.get(target).copied()),
    }
}

/// Returns the value that an edit sets, in words.
fn value(edit: &Edit) -> Option<String> {
    match edit {
        Edit::Route(_, value) => value.as_deref().map(route),
        Edit::Header(_, _, value) | Edit::Option(_, _, value) => value.as_deref().map(str::to_owned),
        Edit::Health(_, value) => {
            value.as_ref().map(|check| format!("{} every {}, timeout {}", check.path, check.interval, check.timeout))
        }
        Edit::RateLimit(_, value) => value.map(|limit| format!("{} per {}", limit.requests, limit.window)),
        Edit::Breaker(_, value) => value.map(|breaker| {
            let (threshold, timeout, trials) = (breaker.threshold, breaker.timeout, breaker.half_open_requests);
            format!("opens after {threshold} failures for {timeout}, closes after {trials} successes")
        }),
    }
}

/// The largest number of domains of one route that are named.
const DOMAINS_MAX: usize = 20;

fn route(route: &Route) -> String {
    let Route { id: _, name, domains, path, backend, priority } = route;
    let mut named = domains.iter().take(DOMAINS_MAX).map(Host::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = domains.len().checked_sub(DOMAINS_MAX).filter(|more| *more > 0) {
        named = format!("{named} and {more} more");
    }
    let priority = if *priority == 0 { String::new() } else { format!(" at priority {priority}") };
    let name = name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    format!("{name}{named} {path}{priority} to {backend}")
}
