//! An endpoint: one route of one session, with everything a request to it needs computed beforehand.
//!
//! Not what it does now: that is its [`LiveState`] state, which outlives it. What must hold: an endpoint never changes; a change of the
//! session's configuration makes a new one, and routes without settings of their own share one [`RouteSettings`].

mod admin_state;
mod connect_backoff;
mod eligibility;
mod live_state;

pub use admin_state::AdminState;
pub use connect_backoff::ConnectBackoff;
pub use eligibility::{Eligibility, MemberState, Weight};
pub use live_state::{EndpointStats, InFlight, LiveState, RequestRecord};

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::domain::{
    BackendUrl, Config, HeaderKey, HealthCheck, Options, PageUrl, Route, RouteId, Scheme, SessionKey, Target, Time,
    path_behind,
};

use crate::traffic::breaker::Breaker;
use crate::traffic::health::{CheckKind, HealthState, SLOW_START};
use crate::traffic::limits::RateLimiter;

/// What holds below every session's own settings. From the configuration file.
#[derive(Clone, Debug, Default)]
pub struct RouteDefaults {
    /// Options, those of the protocol changed by the file's.
    pub options: Options,
    /// Response headers.
    pub headers: Vec<(HeaderKey, Arc<str>)>,
    /// 128 random bits that clients do not know, for [`RateLimiter::new`]. The server's, not the file's.
    pub seed: u128,
}

/// What holds for a route once defaults, the session's `ALL` and the route's own settings are laid over each other.
#[derive(Debug)]
pub struct RouteSettings {
    /// Every option with its value.
    pub options: Options,
    /// Response headers to set, each name once.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl RouteSettings {
    /// For every route of a session that has none of its own.
    pub(crate) fn shared(defaults: &RouteDefaults, config: &Config) -> Self {
        let mut settings = Self { options: config.options_over(&defaults.options, Target::All), headers: Vec::new() };
        settings.set_all(defaults.headers.iter().map(|(name, value)| (name, value)));
        settings.set_all(config.headers_for(Target::All));
        settings
    }

    /// For one route, over what its session's routes share; `None` if it has nothing of its own.
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
            // Both were checked when they were staged or configured; what is no header after all is left out.
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

/// What may keep requests from an endpoint, beside its [`LiveState`] state. The parts outlive applies that do not touch them.
#[derive(Clone, Debug, Default)]
pub struct EndpointPolicy {
    /// From `HEALTH_SET`. Without it the default check of [`Options`] is made. Boxed: rare.
    pub health_check: Option<Box<HealthCheck>>,
    /// As the route has it set, or else all routes of the session.
    pub breaker: Option<Arc<Breaker>>,
    /// The route's own, or else the one that all routes of the session share.
    pub limiter: Option<Arc<RateLimiter>>,
    /// True if `limiter` is the route's own.
    pub has_own_limiter: bool,
    /// The session's drain and maintenance.
    pub admin: Arc<AdminState>,
}

/// Where requests of a route go, and how.
#[derive(Debug)]
pub struct Endpoint {
    /// Whose it is.
    pub session: SessionKey,
    /// The route.
    pub route: Arc<Route>,
    /// What is set for it.
    pub settings: Arc<RouteSettings>,
    /// What it does now. Survives applies while session, route id and backend stay the same.
    pub live: Arc<LiveState>,
    /// What may keep requests from it.
    pub policy: EndpointPolicy,
    /// A hash of the backend's scheme, host and port, and of whether its certificate is checked, so that pools need not
    /// read their text for each request.
    pub origin_hash: u64,
    // Only where the backend's own name is sent. Boxed: rare, and 100,000 endpoints should be small.
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

    /// The server of a maintenance page in its place: asked for by its own name and for the path that the client asks for, with the
    /// headers that are set for the route. It has no history, no policy, and its certificate must hold.
    #[must_use]
    pub fn maintenance_endpoint(&self, page: &PageUrl) -> Self {
        let Route { id, ref path, priority, .. } = *self.route;
        let route = Route { id, domains: Vec::new(), path: path.clone(), backend: page.origin().clone(), priority };
        let own = Options {
            preserve_host: false,
            strip_prefix: false,
            restore_prefix: false,
            tls_verify: true,
            ..self.options().clone()
        };
        let settings = RouteSettings { options: own, headers: self.settings.headers.clone() };
        Self::new(self.session, &Arc::new(route), settings.into(), EndpointPolicy::default(), Arc::default())
    }

    /// Which of its session's routes it is.
    pub fn id(&self) -> RouteId {
        self.route.id
    }

    /// `Host` of its health checks, as [`Options::check_host`].
    pub fn check_host(&self) -> Option<Arc<str>> {
        self.options().check_host(&self.route.domains)
    }

    /// Its backend.
    pub fn backend(&self) -> &BackendUrl {
        &self.route.backend
    }

    /// Every option with its value.
    pub fn options(&self) -> &Options {
        &self.settings.options
    }

    /// How its health is judged, and what follows from being ill.
    pub fn check(&self) -> CheckKind {
        if self.policy.health_check.is_some() { CheckKind::Explicit } else { CheckKind::Default }
    }

    /// Its circuit breaker, if it has one.
    pub fn breaker(&self) -> Option<&Arc<Breaker>> {
        self.policy.breaker.as_ref()
    }

    /// True if it is in maintenance.
    pub fn in_maintenance(&self) -> bool {
        self.policy.admin.in_maintenance(self.id())
    }

    /// True if it can take a request at `now`. With nothing set and nothing wrong, three atomic reads.
    pub fn eligibility(&self, now: Time) -> Eligibility {
        let (health, backoff) = (self.live.health.state(), &self.live.connect_backoff);
        let settled = match health {
            HealthState::Healthy { since } => since.is_none_or(|since| now.since(since) >= SLOW_START),
            HealthState::Unchecked | HealthState::Unhealthy => false,
        };
        if settled && backoff.is_clear() && self.policy.breaker.is_none() && !self.policy.admin.is_set() {
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

    /// What `Host` says to the backend, when it is not what the client said.
    pub fn authority(&self) -> Option<&HeaderValue> {
        self.authority.as_deref()
    }

    /// The prefix that its backend does not see.
    pub fn stripped(&self) -> Option<&str> {
        let prefix = self.route.path.as_str();
        (self.settings.options.strip_prefix && prefix != "/").then_some(prefix)
    }

    /// What to ask the backend for instead of `target` (path and query); `None` if the same.
    pub fn rewrite(&self, target: &str) -> Option<String> {
        let (base, strips) = (self.backend().base(), self.stripped().is_some());
        if (base.is_empty() && !strips) || target == "*" {
            return None;
        }
        // Exactly one slash between base and path, and never an empty path.
        if !strips {
            let slash = if target.starts_with('/') { "" } else { "/" };
            return Some(format!("{base}{slash}{target}"));
        }
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let rest = path_behind(path, self.route.path.segments()).trim_start_matches('/');
        Some(format!("{base}/{rest}{query}"))
    }
}

/// An endpoint never changes, so it is equal to itself alone: what differs between two tables is found by looking at addresses.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Endpoint {}

/// See [`Endpoint::origin_hash`]. The same in every thread of the process.
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
