//! Selectors of routes for maintenance: their syntax, and the routes of a session that they select.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use crate::domain::{Error, Host, Kind, PathPrefix, Route, Session, Target};

use super::session_edit::no_route;

/// A selector of routes for maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSelector {
    /// `ALL`, or a route id.
    Target(Target),
    /// The routes with this path.
    Path(PathPrefix),
    /// The routes with this domain.
    Domain(Host),
}

impl TargetSelector {
    /// The largest number of selectors in one request.
    pub const LIST_MAX: usize = 1024;

    /// Parses a list of selectors separated by commas, such as `ALL`, `r1`, `/admin` or `shop.example`.
    ///
    /// # Errors
    /// `Invalid` for anything else, and for more than [`TargetSelector::LIST_MAX`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        Self::parse_each(text.split(',').map(str::trim))
    }

    /// Parses selectors as [`TargetSelector::parse_list`] does, but from separate words, in which a path may contain a
    /// comma.
    ///
    /// # Errors
    /// `Invalid` if one of them is wrong, if there is none, or if there are more than [`TargetSelector::LIST_MAX`].
    pub fn parse_each<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, Error> {
        let places: Vec<Self> =
            words.into_iter().take(Self::LIST_MAX + 1).map(Self::parse).collect::<Result<_, Error>>()?;
        match places.len() {
            0 => Err(Error::invalid("target", "at least one is needed; ALL is every route")),
            1..=Self::LIST_MAX => Ok(places),
            _ => Err(Error::invalid("target", format!("at most {} at once", Self::LIST_MAX))),
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        if let Ok(target) = text.parse() {
            return Ok(TargetSelector::Target(target));
        }
        if text.starts_with('/') {
            return PathPrefix::parse(text).map(TargetSelector::Path).map_err(|error| error.about("target"));
        }
        Host::parse(text)
            .map(TargetSelector::Domain)
            .map_err(|_| Error::invalid("target", "must be ALL, a route id such as r1, a path or a domain"))
    }
}

/// Returns the routes of a session that selectors select, active or staged; only `ALL` if one of the selectors is that.
/// It reads each route once, for any number of selectors.
///
/// # Errors
/// `NotFound` for the first selector that selects no route.
pub(crate) fn resolve(session: &Session, places: &[TargetSelector]) -> Result<Vec<Target>, Error> {
    let mut wanted = SelectorMatches::of(places);
    let mut targets = wanted.targets.clone();
    if !(wanted.paths.is_empty() && wanted.domains.is_empty()) {
        let routes = session.active.routes.values().chain(session.edited().routes.values());
        targets.extend(routes.filter(|route| wanted.meets(route)).map(|route| Target::Route(route.id)));
    }
    places.iter().try_for_each(|place| wanted.check(session, place))?;
    if targets.contains(&Target::All) {
        return Ok(vec![Target::All]);
    }
    Ok(targets.into_iter().collect())
}

/// The selectors, each with a mark that a route matched it.
struct SelectorMatches<'a> {
    targets: BTreeSet<Target>,
    paths: HashMap<&'a PathPrefix, bool>,
    domains: HashMap<&'a Host, bool>,
}

impl<'a> SelectorMatches<'a> {
    fn of(places: &'a [TargetSelector]) -> Self {
        let mut wanted = Self { targets: BTreeSet::new(), paths: HashMap::new(), domains: HashMap::new() };
        for place in places {
            match place {
                TargetSelector::Target(target) => drop(wanted.targets.insert(*target)),
                TargetSelector::Path(path) => drop(wanted.paths.insert(path, false)),
                TargetSelector::Domain(host) => drop(wanted.domains.insert(host, false)),
            }
        }
        wanted
    }

    fn meets(&mut self, route: &'a Route) -> bool {
        let by_path = self.paths.get_mut(&route.path).map(|met| *met = true).is_some();
        let domains = route.domains.iter();
        let by_domain = domains.filter(|host| self.domains.get_mut(host).map(|met| *met = true).is_some()).count();
        by_path || by_domain > 0
    }

    fn check(&self, session: &Session, place: &TargetSelector) -> Result<(), Error> {
        let met = |met: Option<&bool>| met == Some(&true);
        let nobody = |shown: &dyn Display| Error::new(Kind::NotFound, format!("no route of this session has {shown}"));
        match place {
            TargetSelector::Target(Target::Route(id)) if session.route(*id).is_none() => Err(no_route(*id)),
            TargetSelector::Path(path) if !met(self.paths.get(path)) => Err(nobody(path)),
            TargetSelector::Domain(host) if !met(self.domains.get(host)) => Err(nobody(host)),
            TargetSelector::Target(_) | TargetSelector::Path(_) | TargetSelector::Domain(_) => Ok(()),
        }
    }
}
