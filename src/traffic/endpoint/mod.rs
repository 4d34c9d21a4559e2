//! An endpoint: one active route of one session, compiled so that a request needs no further computation.
//!
//! Its changing state is its [`LiveState`], which outlives it. Invariants: an endpoint never changes; a change of the
//! session's configuration makes a new one. Routes without settings of their own share one [`RouteSettings`].

mod admin_state;
mod connect_backoff;
mod eligibility;
mod failure_warnings;
mod last_failure;
mod live_state;
mod request_labels;
mod status_label;

pub use admin_state::AdminState;
pub use connect_backoff::ConnectBackoff;
pub use eligibility::{Eligibility, MemberState, Weight};
pub use failure_warnings::FailureWarnings;
pub use last_failure::LastFailure;
pub use live_state::{AskedRoute, EndpointStats, InFlight, LiveState, RequestDurations, RequestRecord, RequestTotals};
pub use request_labels::{MethodLabel, ReasonCounts, StatusCounts};
pub use status_label::StatusLabel;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::domain::{
    BackendUrl, Config, HeaderKey, HealthCheck, InstanceName, Options, PageUrl, Route, RouteId, Scheme, ServiceName,
    SessionKey, Target, Time, path_behind,
};

use crate::traffic::breaker::EndpointBreaker;
use crate::traffic::health::{CheckKind, HealthState, SLOW_START};
use crate::traffic::limits::RateLimiter;
use crate::traffic::worker::WorkerId;

/// The defaults of all routes, from the configuration file.
#[derive(Clone, Debug, Default)]
pub struct RouteDefaults {
    /// The options of the protocol, as the file changes them.
    pub options: Options,
    /// The response headers.
    pub headers: Vec<(HeaderKey, Arc<str>)>,
    /// 128 random bits that clients do not know, for [`RateLimiter::new`]. Drawn at start, not from the file.
    pub seed: u128,
}

/// The settings of a route: the defaults, the session's `ALL` and the route's own, each over the one before.
#[derive(Debug)]
pub struct RouteSettings {
    /// Every option with its value.
    pub options: Options,
    /// The response headers to set; each name is unique.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl RouteSettings {
    /// Returns the settings of all routes of a session that have none of their own.
    pub(crate) fn shared(defaults: &RouteDefaults, config: &Config) -> Self {
        let mut settings = Self { options: config.options_over(&defaults.options, Target::All), headers: Vec::new() };
        settings.set_all(defaults.headers.iter().map(|(name, value)| (name, value)));
        settings.set_all(config.headers_for(Target::All));
        settings
    }

    /// Returns the settings of one route over those that its session shares; `None` if the route has none of its own.
    pub(crate) fn own(shared: &RouteSettings, config: &Config, id: RouteId) -> Option<Self> {
        let target = Target::Route(id);
        if config.options_for(target).next().is_none() && config.headers_for(target).next().is_none() {
            return None;
        }
        let options = config.options_over(&shared.options, target);
        let mut settings = Self { options, headers: shared.headers.clone() };
        settings.set_all(config.headers_for(target));
        Some(settings)
    }

    fn set_all<'a>(&mut self, headers: impl Iterator<Item = (&'a HeaderKey, &'a Arc<str>)>) {
        for (name, value) in headers {
            // Both were checked when they were staged or configured; an invalid one is left out.
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(&**value)) else {
                continue;
            };
            match self.headers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => self.headers.push((name, value)),
            }
        }
    }
}

/// The limits and checks of an endpoint. Each part stays the same over applies that do not change it.
#[derive(Clone, Debug, Default)]
pub struct EndpointPolicy {
    /// The check from `HEALTH_SET`; without it the default check of [`Options`] is made. Boxed because it is rare.
    pub health_check: Option<Box<HealthCheck>>,
    /// The breaker that is set for the route, or else for all routes of the session.
    pub breaker: Option<Arc<EndpointBreaker>>,
    /// The limiter of the route, or else the one that all routes of the session share.
    pub limiter: Option<Arc<RateLimiter>>,
    /// True if `limiter` belongs to the route alone.
    pub has_own_limiter: bool,
    /// The drain and maintenance of the session.
    pub admin: Arc<AdminState>,
    /// The instance that the session is of; `None` only in tests.
    pub owner: Option<Arc<RouteOwner>>,
}

/// The instance that a route belongs to.
#[derive(Debug)]
pub struct RouteOwner {
    /// The service.
    pub service: ServiceName,
    /// The instance of the service.
    pub instance: InstanceName,
    /// The limit on warnings about its backends. It stays as long as the session does.
    pub warnings: FailureWarnings,
}

/// One active route of one session.
#[derive(Debug)]
pub struct Endpoint {
    /// The session that the route belongs to.
    pub session: SessionKey,
    /// The route.
    pub route: Arc<Route>,
    /// The options and response headers of the route.
    pub settings: Arc<RouteSettings>,
    /// The live state. It stays over applies while session, route id and backend stay the same.
    pub live: Arc<LiveState>,
    /// The limits and checks of the route.
    pub policy: EndpointPolicy,
    /// A hash of the backend's scheme, host and port, and of the check of its certificate. With it connection pools need not
    /// read their text for each request.
    pub origin_hash: u64,
    // Set only where the backend's own name is sent. Boxed because it is rare and 100,000 endpoints should be small.
    authority: Option<Box<HeaderValue>>,
}

impl Endpoint {
    pub(crate) fn new(
        session: SessionKey,
        route: &Arc<Route>,
        settings: Arc<RouteSettings>,
        policy: EndpointPolicy,
        live: Arc<LiveState>,
    ) -> Self {
        let own_name = || HeaderValue::try_from(route.backend.authority()).ok().map(Box::new);
        let authority = if settings.options.preserve_host { None } else { own_name() };
        let origin_hash = origin_hash(&route.backend, settings.options.tls_verify);
        Self { session, route: Arc::clone(route), settings, live, policy, origin_hash, authority }
    }

    /// Returns an endpoint for the server of a maintenance page. It is asked by its own name for the client's path, and its
    /// certificate must be valid; the response headers of the route stay, statistics and policy are empty.
    #[must_use]
    pub fn maintenance_endpoint(&self, page: &PageUrl) -> Self {
        let Route { id, ref path, priority, .. } = *self.route;
        let backend = page.origin().clone();
        let route = Route { id, name: None, domains: Vec::new(), path: path.clone(), backend, priority };
        let own = Options {
            preserve_host: false,
            strip_prefix: false,
            restore_prefix: false,
            tls_verify: true,
            ..self.options().clone()
        };
        let settings = RouteSettings { options: own, headers: self.settings.headers.clone() };
        let policy = EndpointPolicy { owner: self.policy.owner.clone(), ..EndpointPolicy::default() };
        Self::new(self.session, &Arc::new(route), settings.into(), policy, Arc::default())
    }

    /// Returns the id of the route within its session.
    pub fn id(&self) -> RouteId {
        self.route.id
    }

    /// Counts a request that is sent to it as in flight until the returned guard is dropped.
    pub fn begin_request(&self, worker: WorkerId) -> InFlight {
        self.live.begin_request_to(self, worker)
    }

    /// Returns the `Host` of its health checks, as [`Options::check_host`] does.
    pub fn check_host(&self) -> Option<Arc<str>> {
        self.options().check_host(&self.route.domains)
    }

    /// Returns the instance that the route belongs to.
    pub fn owner(&self) -> Option<&RouteOwner> {
        self.policy.owner.as_deref()
    }

    /// Returns the backend.
    pub fn backend(&self) -> &BackendUrl {
        &self.route.backend
    }

    /// Returns every option with its value.
    pub fn options(&self) -> &Options {
        &self.settings.options
    }

    /// Returns the kind of its health check.
    pub fn check(&self) -> CheckKind {
        if self.policy.health_check.is_some() { CheckKind::Explicit } else { CheckKind::Default }
    }

    /// Returns the circuit breaker, if it has one.
    pub fn breaker(&self) -> Option<&Arc<EndpointBreaker>> {
        self.policy.breaker.as_ref()
    }

    /// Returns true if the route is in maintenance.
    pub fn in_maintenance(&self) -> bool {
        self.policy.admin.in_maintenance(self.id())
    }

    /// Returns the eligibility at `now`. Costs three atomic reads if nothing is set and nothing is wrong.
    pub fn eligibility(&self, now: Time) -> Eligibility {
        let (health, backoff) = (self.live.health.state(), &self.live.connect_backoff);
        let is_established = match health {
            HealthState::Healthy { since } => since.is_none_or(|since| now.since(since) >= SLOW_START),
            HealthState::Unchecked | HealthState::Unhealthy => false,
        };
        if is_established && backoff.is_clear() && self.policy.breaker.is_none() && !self.policy.admin.is_set() {
            return Eligibility::Ready(Weight::FULL);
        }
        let candidate = MemberState {
            maintenance: self.in_maintenance(),
            drain: self.policy.admin.drain(),
            health,
            excludes_unhealthy: self.check().excludes_unhealthy(),
            refused_until: self.breaker().and_then(|breaker| breaker.refused_until(now)),
        };
        match candidate.eligibility(now) {
            Eligibility::Ready(weight) | Eligibility::Unchecked(weight) if backoff.is_backing_off(now) => {
                Eligibility::Degraded(weight)
            }
            standing => standing,
        }
    }

    /// Returns the value of `Host` for the backend; `None` to keep the client's.
    pub fn authority(&self) -> Option<&HeaderValue> {
        self.authority.as_deref()
    }

    /// Returns the prefix that is removed before the backend sees the path, if any.
    pub fn stripped(&self) -> Option<&str> {
        let prefix = self.route.path.as_str();
        (self.settings.options.strip_prefix && prefix != "/").then_some(prefix)
    }

    /// Returns the target for the backend in place of `target` (path and query); `None` if it stays the same.
    pub fn rewrite(&self, target: &str) -> Option<String> {
        let (base, strips) = (self.backend().base(), self.stripped().is_some());
        if (base.is_empty() && !strips) || target == "*" {
            return None;
        }
        // There is exactly one slash between base and path, and the path is never empty.
        if !strips {
            let slash = if target.starts_with('/') { "" } else { "/" };
            return Some(format!("{base}{slash}{target}"));
        }
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let rest = path_behind(path, self.route.path.segments()).trim_start_matches('/');
        Some(format!("{base}/{rest}{query}"))
    }
}

/// Compares by address, because an endpoint never changes. The difference of two tables is found by this.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Endpoint {}

/// Returns the [`Endpoint::origin_hash`] of a backend; `verify` says if its certificate is checked. The same in every thread
/// of the process.
pub fn origin_hash(backend: &BackendUrl, verify: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    let checked = verify && backend.scheme() == Scheme::Https;
    (backend.scheme(), backend.host(), backend.port(), checked).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Edit, Host, OptionKey, PathPrefix};

    fn endpoint(path: &str, backend: &str, strip: bool) -> Endpoint {
        let route = Arc::new(Route {
            id: RouteId(1),
            name: None,
            domains: vec![Host::Any],
            path: PathPrefix::parse(path).unwrap(),
            backend: BackendUrl::parse(backend).unwrap(),
            priority: 0,
        });
        let options = Options { strip_prefix: strip, ..Options::default() };
        let settings = RouteSettings { options, headers: Vec::new() };
        Endpoint::new(SessionKey(1), &route, settings.into(), EndpointPolicy::default(), Arc::default())
    }

    #[test]
    fn base_and_path_meet_in_one_slash() {
        let rewrite = |path, backend, strip, target| endpoint(path, backend, strip).rewrite(target);
        assert_eq!(rewrite("/", "http://b", false, "/x?q"), None);
        assert_eq!(rewrite("/", "http://b", true, "/x"), None);
        assert_eq!(rewrite("/api", "http://b/app/", false, "/api/x?q"), Some("/app/api/x?q".into()));
        assert_eq!(rewrite("/api", "http://b", true, "/api/x"), Some("/x".into()));
        assert_eq!(rewrite("/api", "http://b", true, "/api"), Some("/".into()));
        assert_eq!(rewrite("/api", "http://b", true, "/api?q=1"), Some("/?q=1".into()));
        assert_eq!(rewrite("/api", "http://b/app", true, "/api"), Some("/app/".into()));
        assert_eq!(rewrite("/", "http://b/app", false, "*"), None);
        assert_eq!(rewrite("/api", "http://b", true, "/%61pi//evil.example/x?a/b"), Some("/evil.example/x?a/b".into()));
        assert_eq!(rewrite("/api/v1", "http://b/app", true, "//api//v1//"), Some("/app/".into()));
    }

    #[test]
    fn a_routes_own_setting_beats_all_which_beats_the_defaults() {
        let header = |text| HeaderKey::parse(text).unwrap();
        let mut config = Config::default();
        let own = Target::Route(RouteId(1));
        let key = OptionKey::parse("retries").unwrap();
        config.edit(&Edit::Header(Target::All, header("x-a"), Some("all".into())));
        config.edit(&Edit::Header(Target::All, header("x-b"), Some("all".into())));
        config.edit(&Edit::Header(own, header("x-b"), Some("own".into())));
        config.edit(&Edit::Option(Target::All, key.clone(), Some("3".into())));
        let defaults = RouteDefaults {
            options: Options { retries: 2, compression: true, ..Options::default() },
            headers: vec![(header("x-a"), "default".into()), (header("x-c"), "default".into())],
            ..RouteDefaults::default()
        };
        let shared = RouteSettings::shared(&defaults, &config);
        let route = RouteSettings::own(&shared, &config, RouteId(1)).unwrap();
        let value = |settings: &RouteSettings, name: &str| {
            settings.headers.iter().find(|(known, _)| known == name).unwrap().1.clone()
        };
        assert_eq!((value(&route, "x-a"), value(&route, "x-b"), value(&route, "x-c")), {
            let of = HeaderValue::from_static;
            (of("all"), of("own"), of("default"))
        });
        assert_eq!(value(&shared, "x-b"), "all");
        assert_eq!((route.options.retries, route.options.compression), (3, true));
        assert!(
            RouteSettings::own(&shared, &config, RouteId(2)).is_none(),
            "without settings of its own a route shares"
        );
    }
}
