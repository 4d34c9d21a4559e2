//! A session's configuration: six sections, each a persistent map.
//!
//! A copy is cheap, and comparing two copies takes time in proportion to their difference.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{Breaker, Error, HeaderKey, HealthCheck, OptionKey, Options, RateLimit, Route, RouteId, Target};

/// A part of a configuration that can be applied by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// Routes.
    Routes,
    /// Response headers.
    Headers,
    /// Options.
    Options,
    /// Health checks.
    Health,
    /// Rate limits.
    RateLimit,
    /// Circuit breakers.
    Circuit,
}

impl Section {
    /// All sections, in the protocol's order.
    pub const ALL: [Section; 6] =
        [Section::Routes, Section::Headers, Section::Options, Section::Health, Section::RateLimit, Section::Circuit];

    /// Returns the name on the wire, in payloads and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Section::Routes => "routes",
            Section::Headers => "headers",
            Section::Options => "options",
            Section::Health => "health",
            Section::RateLimit => "ratelimit",
            Section::Circuit => "circuit",
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A set of sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sections(u8);

impl Sections {
    /// Every section.
    pub const ALL: Sections = Sections(0b11_1111);

    /// Reads a comma-separated list of section names.
    ///
    /// # Errors
    /// `Invalid` for an unknown name or an empty list.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut sections = Sections::default();
        for name in super::listed(text) {
            let known = Section::ALL.into_iter().find(|section| section.name() == name);
            sections = sections
                | known.ok_or_else(|| {
                    let names = Section::ALL.map(Section::name).join(", ");
                    Error::invalid("scope", format!("`{}` is not one of {names}", super::time::shortened(name)))
                })?;
        }
        if sections == Sections::default() {
            return Err(Error::invalid("scope", "at least one is needed, such as routes"));
        }
        Ok(sections)
    }

    /// Returns true if the set contains `section`.
    pub fn contains(self, section: Section) -> bool {
        self.0 & (1 << section as u8) != 0
    }
}

impl BitOr<Section> for Sections {
    type Output = Sections;

    fn bitor(self, section: Section) -> Sections {
        Sections(self.0 | 1 << section as u8)
    }
}

/// The routes of a session and all settings for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The routes by id.
    pub routes: OrdMap<RouteId, Arc<Route>>,
    /// The response headers to set.
    pub headers: OrdMap<(Target, HeaderKey), Arc<str>>,
    /// The options as the caller gave them, known or unknown.
    pub options: OrdMap<(Target, OptionKey), Arc<str>>,
    /// The health checks that replace the default one.
    pub health: OrdMap<RouteId, HealthCheck>,
    /// Rate limits.
    pub limits: OrdMap<Target, RateLimit>,
    /// Circuit breakers.
    pub breakers: OrdMap<Target, Breaker>,
}

/// A new value of one entry; `None` removes the entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A route.
    Route(RouteId, Option<Arc<Route>>),
    /// A response header.
    Header(Target, HeaderKey, Option<Arc<str>>),
    /// An option.
    Option(Target, OptionKey, Option<Arc<str>>),
    /// A health check.
    Health(RouteId, Option<HealthCheck>),
    /// A rate limit.
    RateLimit(Target, Option<RateLimit>),
    /// A circuit breaker.
    Breaker(Target, Option<Breaker>),
}

impl Edit {
    /// Returns the route that the edit adds or changes, with its new value.
    pub fn new_route(&self) -> Option<&Route> {
        match self {
            Edit::Route(_, route) => route.as_deref(),
            _ => None,
        }
    }

    /// Returns the section that the edit changes.
    pub fn section(&self) -> Section {
        match self {
            Edit::Route(..) => Section::Routes,
            Edit::Header(..) => Section::Headers,
            Edit::Option(..) => Section::Options,
            Edit::Health(..) => Section::Health,
            Edit::RateLimit(..) => Section::RateLimit,
            Edit::Breaker(..) => Section::Circuit,
        }
    }

    /// Returns the target that the edit is for.
    pub fn target(&self) -> Target {
        match self {
            Edit::Route(id, _) | Edit::Health(id, _) => Target::Route(*id),
            Edit::Header(target, ..)
            | Edit::Option(target, ..)
            | Edit::RateLimit(target, _)
            | Edit::Breaker(target, _) => *target,
        }
    }

    /// Returns true if the edit removes its entry.
    pub fn removes(&self) -> bool {
        match self {
            Edit::Route(_, value) => value.is_none(),
            Edit::Header(_, _, value) | Edit::Option(_, _, value) => value.is_none(),
            Edit::Health(_, value) => value.is_none(),
            Edit::RateLimit(_, value) => value.is_none(),
            Edit::Breaker(_, value) => value.is_none(),
        }
    }
}

/// The numbers of entries of a section that a difference adds, removes and modifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// New entries.
    pub added: usize,
    /// Removed entries.
    pub removed: usize,
    /// Entries with another value.
    pub modified: usize,
}

/// The edits that turn one configuration into another, at most one per entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Edits that add entries.
    pub added: Vec<Edit>,
    /// Edits that remove entries.
    pub removed: Vec<Edit>,
    /// Edits that change the value of entries.
    pub modified: Vec<Edit>,
}

impl Difference {
    /// Returns true if the two configurations are equal.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }

    /// Returns every edit, removals first.
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.removed.iter().chain(&self.modified).chain(&self.added)
    }

    /// Returns the numbers for one section.
    pub fn tally(&self, section: Section) -> Tally {
        let count = |edits: &[Edit]| edits.iter().filter(|edit| edit.section() == section).count();
        Tally { added: count(&self.added), removed: count(&self.removed), modified: count(&self.modified) }
    }

    fn compare<K: Ord, V: PartialEq>(
        &mut self,
        from: &OrdMap<K, V>,
        to: &OrdMap<K, V>,
        edit: impl Fn(&K, Option<&V>) -> Edit,
    ) {
        for item in from.diff(to) {
            match item {
                DiffItem::Add(key, value) => self.added.push(edit(key, Some(value))),
                DiffItem::Remove(key, _) => self.removed.push(edit(key, None)),
                DiffItem::Update { new: (key, value), .. } => self.modified.push(edit(key, Some(value))),
            }
        }
    }
}

impl Config {
    /// Applies one edit.
    pub fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Route(id, value) => put(&mut self.routes, *id, value.as_ref()),
            Edit::Header(target, name, value) => put(&mut self.headers, (*target, name.clone()), value.as_ref()),
            Edit::Option(target, key, value) => put(&mut self.options, (*target, key.clone()), value.as_ref()),
            Edit::Health(id, value) => put(&mut self.health, *id, value.as_ref()),
            Edit::RateLimit(target, value) => put(&mut self.limits, *target, value.as_ref()),
            Edit::Breaker(target, value) => put(&mut self.breakers, *target, value.as_ref()),
        }
    }

    /// Returns the circuit breaker of a route: its own, or else the one for all routes.
    pub fn breaker_of(&self, id: RouteId) -> Option<&Breaker> {
        self.breakers.get(&Target::Route(id)).or_else(|| self.breakers.get(&Target::All))
    }

    /// Returns the edits that turn this configuration into `to`. Takes time in proportion to the difference.
    pub fn difference(&self, to: &Config) -> Difference {
        let mut found = Difference::default();
        found.compare(&self.routes, &to.routes, |id, value| Edit::Route(*id, value.cloned()));
        found.compare(&self.headers, &to.headers, |(target, name), value| {
            Edit::Header(*target, name.clone(), value.cloned())
        });
        found.compare(&self.options, &to.options, |(target, key), value| {
            Edit::Option(*target, key.clone(), value.cloned())
        });
        found.compare(&self.health, &to.health, |id, value| Edit::Health(*id, value.cloned()));
        found.compare(&self.limits, &to.limits, |target, value| Edit::RateLimit(*target, value.copied()));
        found.compare(&self.breakers, &to.breakers, |target, value| Edit::Breaker(*target, value.copied()));
        found
    }

    /// Returns the edits that remove all settings of one route, but not the route itself.
    pub fn settings_of(&self, id: RouteId) -> Vec<Edit> {
        let target = Target::Route(id);
        let headers = self.headers_for(target).map(|(name, _)| Edit::Header(target, name.clone(), None));
        let options = self.options_for(target).map(|(key, _)| Edit::Option(target, key.clone(), None));
        let mut edits: Vec<Edit> = headers.chain(options).collect();
        edits.extend(self.health.contains_key(&id).then_some(Edit::Health(id, None)));
        edits.extend(self.limits.contains_key(&target).then_some(Edit::RateLimit(target, None)));
        edits.extend(self.breakers.contains_key(&target).then_some(Edit::Breaker(target, None)));
        edits
    }

    /// Returns the headers that are set for exactly this target.
    pub fn headers_for(&self, target: Target) -> impl Iterator<Item = (&HeaderKey, &Arc<str>)> {
        self.headers
            .range((target, HeaderKey::first())..)
            .take_while(move |((of, _), _)| *of == target)
            .map(|((_, name), value)| (name, value))
    }

    /// Returns the options that are set for exactly this target.
    pub fn options_for(&self, target: Target) -> impl Iterator<Item = (&OptionKey, &Arc<str>)> {
        self.options
            .range((target, OptionKey::first())..)
            .take_while(move |((of, _), _)| *of == target)
            .map(|((_, key), value)| (key, value))
    }

    /// Returns `base` with the options that are set for `target`.
    pub fn options_over(&self, base: &Options, target: Target) -> Options {
        let mut options = base.clone();
        for (key, value) in self.options_for(target) {
            // Values of known keys were checked when they were staged. A stored value that this version refuses has
            // no effect.
            let _ = options.set(key.as_str(), value);
        }
        options
    }

    /// Returns the number of entries without routes.
    pub fn settings_len(&self) -> usize {
        self.headers.len() + self.options.len() + self.health.len() + self.limits.len() + self.breakers.len()
    }
}

fn put<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, key: K, value: Option<&V>) {
    match value {
        Some(value) => map.insert(key, value.clone()),
        None => map.remove(&key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Span;

    fn limit(requests: u32) -> RateLimit {
        RateLimit { requests, window: Span::from_secs(1) }
    }

    #[test]
    fn a_difference_turns_one_configuration_into_the_other() {
        let mut active = Config::default();
        active.edit(&Edit::RateLimit(Target::All, Some(limit(1))));
        active.edit(&Edit::RateLimit(Target::Route(RouteId(1)), Some(limit(2))));
        let mut staged = active.clone();
        staged.edit(&Edit::RateLimit(Target::All, None));
        staged.edit(&Edit::RateLimit(Target::Route(RouteId(1)), Some(limit(3))));
        staged.edit(&Edit::Option(Target::All, OptionKey::parse("x").unwrap(), Some("y".into())));
        let difference = active.difference(&staged);
        assert_eq!(difference.tally(Section::RateLimit), Tally { added: 0, removed: 1, modified: 1 });
        assert_eq!(difference.tally(Section::Options), Tally { added: 1, removed: 0, modified: 0 });
        difference.edits().for_each(|edit| active.edit(edit));
        assert_eq!(active, staged);
    }

    #[test]
    fn setting_what_is_set_already_is_no_difference() {
        let mut active = Config::default();
        active.edit(&Edit::RateLimit(Target::All, Some(limit(1))));
        let mut staged = active.clone();
        staged.edit(&Edit::RateLimit(Target::All, Some(limit(2))));
        staged.edit(&Edit::RateLimit(Target::All, Some(limit(1))));
        assert!(active.difference(&staged).is_empty());
    }

    #[test]
    fn sections_are_read_by_name() {
        let sections = Sections::parse("routes, circuit").unwrap();
        assert!(sections.contains(Section::Routes) && sections.contains(Section::Circuit));
        assert!(!sections.contains(Section::Health));
        assert!(Sections::parse("").is_err() && Sections::parse("routes,x").is_err());
        assert!(Section::ALL.into_iter().all(|section| Sections::ALL.contains(section)));
    }
}
