//! Conversion of edits to rows of `active` or `staged` and back.
//!
//! Only this file knows the form of a setting in the database: [`edit`] reads the rows that [`row`] writes. Rows are
//! readable in a database shell: names as in the protocol, values as JSON or plain text.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::domain::{
    BackendUrl, Breaker, Edit, Error, HeaderKey, HealthCheck, HealthPath, Host, OptionKey, PathPrefix, RateLimit,
    Route, RouteId, RouteName, Section, SessionKey, Span, Target, header_value,
};

use super::value::Value;

/// The number of columns: session, section, route, name, value.
pub(super) const COLUMNS: usize = 5;

/// Returns the row of an edit. The columns before the value are its key.
pub(super) fn row(key: SessionKey, edit: &Edit) -> [Value; COLUMNS] {
    let route = edit.target().route().map_or(0, |id| i64::from(id.0));
    [
        Value::Int(key.0.cast_signed()),
        Value::Text(section_name(edit.section())),
        Value::Int(route),
        Value::Text(name(edit)),
        value(edit).map_or(Value::Null, Value::Text),
    ]
}

/// Returns a section's name without a copy for every row.
pub(super) fn section_name(section: Section) -> Arc<str> {
    static NAMES: LazyLock<[Arc<str>; 6]> = LazyLock::new(|| Section::ALL.map(|section| section.name().into()));
    // In bounds: the array has one name for each section, in the order of their numbers.
    Arc::clone(&NAMES[section as usize])
}

fn name(edit: &Edit) -> Arc<str> {
    static NONE: LazyLock<Arc<str>> = LazyLock::new(|| "".into());
    match edit {
        Edit::Header(_, name, _) => name.as_str().into(),
        Edit::Option(_, key, _) => key.as_str().into(),
        Edit::Route(..) | Edit::Health(..) | Edit::RateLimit(..) | Edit::Breaker(..) => Arc::clone(&NONE),
    }
}

fn value(edit: &Edit) -> Option<Arc<str>> {
    match edit {
        Edit::Route(_, route) => route.as_deref().map(|route| json(&RouteValue::of(route))),
        Edit::Header(_, _, text) | Edit::Option(_, _, text) => text.clone(),
        Edit::Health(_, check) => check.as_ref().map(|check| json(&HealthValue::of(check))),
        Edit::RateLimit(_, limit) => limit.map(|limit| json(&LimitValue::of(limit))),
        Edit::Breaker(_, breaker) => breaker.map(|breaker| json(&BreakerValue::of(breaker))),
    }
}

/// Writes plain data as JSON.
pub(super) fn json(value: &impl Serialize) -> Arc<str> {
    // Cannot fail: numbers, text and maps with text keys have a JSON form.
    serde_json::to_string(value).unwrap_or_default().into()
}

/// A row as it is read from the database.
pub(super) struct ConfigRow<'a> {
    pub(super) section: &'a str,
    pub(super) route: i64,
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
}

/// The reason why this version cannot read a row.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum BadRow {
    #[error("{0}")]
    Value(#[from] Error),
    #[error("{0}")]
    Json(String),
    #[error("there is no section of that name")]
    Section,
    #[error("{0} is not a number that can stand there")]
    Number(i64),
    #[error("an entry of this section is for one route")]
    NoRoute,
    #[error("an entry of this section has no name")]
    Named,
}

impl From<serde_json::Error> for BadRow {
    fn from(error: serde_json::Error) -> Self {
        BadRow::Json(error.to_string())
    }
}

/// Returns the edit that a row was made of.
pub(super) fn edit(row: &ConfigRow<'_>) -> Result<Edit, BadRow> {
    let section = Section::ALL.into_iter().find(|section| section.name() == row.section).ok_or(BadRow::Section)?;
    let target = target(row.route)?;
    let is_named = matches!(section, Section::Headers | Section::Options);
    if !is_named && !row.name.is_empty() {
        return Err(BadRow::Named);
    }
    let route = || target.route().ok_or(BadRow::NoRoute);
    Ok(match section {
        Section::Routes => {
            let id = route()?;
            Edit::Route(id, read(row.value, |value: RouteValue| value.route(id))?.map(Arc::new))
        }
        Section::Headers => Edit::Header(target, HeaderKey::parse(row.name)?, row.value.map(header_value).transpose()?),
        Section::Options => Edit::Option(target, OptionKey::parse(row.name)?, row.value.map(Arc::from)),
        Section::Health => Edit::Health(route()?, read(row.value, HealthValue::check)?),
        Section::RateLimit => Edit::RateLimit(target, read(row.value, |value: LimitValue| Ok(value.limit()))?),
        Section::Circuit => Edit::Breaker(target, read(row.value, |value: BreakerValue| Ok(value.breaker()))?),
    })
}

fn target(route: i64) -> Result<Target, BadRow> {
    match u32::try_from(route) {
        Ok(0) => Ok(Target::All),
        Ok(id) => Ok(Target::Route(RouteId(id))),
        Err(_) => Err(BadRow::Number(route)),
    }
}

fn read<'a, V: Deserialize<'a>, T>(
    text: Option<&'a str>,
    build: impl FnOnce(V) -> Result<T, Error>,
) -> Result<Option<T>, BadRow> {
    let Some(text) = text else { return Ok(None) };
    Ok(Some(build(serde_json::from_str(text)?)?))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteValue<'a> {
    domains: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    backend: Cow<'a, str>,
    priority: i32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
}

impl<'a> RouteValue<'a> {
    fn of(route: &'a Route) -> Self {
        let domain = |host: &'a Host| match host {
            Host::Exact(name) => Cow::Borrowed(&**name),
            Host::Below(_) | Host::Any => Cow::Owned(host.to_string()),
        };
        Self {
            domains: route.domains.iter().map(domain).collect(),
            path: route.path.as_str().into(),
            backend: route.backend.as_str().into(),
            priority: route.priority,
            name: route.name.as_ref().map(|name| name.as_str().into()),
        }
    }

    fn route(self, id: RouteId) -> Result<Route, Error> {
        Ok(Route {
            id,
            name: self.name.map(|name| RouteName::restore(&name)).transpose()?,
            domains: Host::gather(self.domains.iter().map(|domain| &**domain))?,
            path: PathPrefix::stored(&self.path)?,
            backend: BackendUrl::parse(&self.backend)?,
            priority: self.priority,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthValue<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    interval_ms: u64,
    timeout_ms: u64,
}

impl<'a> HealthValue<'a> {
    fn of(check: &'a HealthCheck) -> Self {
        Self {
            path: check.path.as_str().into(),
            interval_ms: check.interval.millis(),
            timeout_ms: check.timeout.millis(),
        }
    }

    fn check(self) -> Result<HealthCheck, Error> {
        Ok(HealthCheck {
            path: HealthPath::parse(&self.path)?,
            interval: Span::from_millis(self.interval_ms),
            timeout: Span::from_millis(self.timeout_ms),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitValue {
    requests: u32,
    window_ms: u64,
}

impl LimitValue {
    fn of(limit: RateLimit) -> Self {
        Self { requests: limit.requests, window_ms: limit.window.millis() }
    }

    fn limit(self) -> RateLimit {
        RateLimit { requests: self.requests, window: Span::from_millis(self.window_ms) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakerValue {
    threshold: u32,
    timeout_ms: u64,
    half_open_requests: u32,
}

impl BreakerValue {
    fn of(breaker: Breaker) -> Self {
        Self {
            threshold: breaker.threshold,
            timeout_ms: breaker.timeout.millis(),
            half_open_requests: breaker.half_open_requests,
        }
    }

    fn breaker(self) -> Breaker {
        Breaker {
            threshold: self.threshold,
            timeout: Span::from_millis(self.timeout_ms),
            half_open_requests: self.half_open_requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    fn back(columns: &[Value; COLUMNS]) -> Result<Edit, BadRow> {
        let [_, Value::Text(section), Value::Int(route), Value::Text(name), value] = columns else {
            panic!("{columns:?}")
        };
        let value = if let Value::Text(text) = value { Some(&**text) } else { None };
        edit(&ConfigRow { section, route: *route, name, value })
    }

    proptest! {
        #[test]
        fn an_edit_comes_back_from_its_row(edit in samples::edit(1..u32::MAX)) {
            prop_assert_eq!(back(&row(SessionKey(7), &edit)), Ok(edit));
        }
    }

    #[test]
    fn a_row_that_means_nothing_is_refused() {
        let read = |section, route, name, value| edit(&ConfigRow { section, route, name, value });
        assert_eq!(read("rooutes", 1, "", None), Err(BadRow::Section));
        assert_eq!(read("routes", 0, "", None), Err(BadRow::NoRoute));
        assert_eq!(read("routes", -1, "", None), Err(BadRow::Number(-1)));
        assert_eq!(read("circuit", 0, "x", None), Err(BadRow::Named));
        assert!(matches!(read("headers", 0, "a b", Some("x")), Err(BadRow::Value(_))));
        assert!(matches!(read("routes", 1, "", Some("{}")), Err(BadRow::Json(_))));
        assert!(matches!(
            read("ratelimit", 1, "", Some(r#"{"requests":1,"window_ms":1,"x":1}"#)),
            Err(BadRow::Json(_))
        ));
    }

    #[test]
    fn a_route_is_written_so_that_people_can_read_it() {
        let route = samples::route(3, "a.example,*.b.example", "/api");
        let columns = row(SessionKey(7), &Edit::Route(route.id, Some(Arc::new(route))));
        let value =
            r#"{"domains":["a.example","*.b.example"],"path":"/api","backend":"http://10.0.0.7:8080","priority":0}"#;
        let expected = [Value::Int(7), Value::text("routes"), Value::Int(3), Value::text(""), Value::text(value)];
        assert_eq!(columns, expected);
    }
}
