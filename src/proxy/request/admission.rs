//! Admission: the checks that a pool makes before one of its members is selected, and the fields that they add to the answer.
//!
//! It does not select the member; `traffic` does. Invariants: a pool without maintenance or a limit costs one check; a refused
//! request is counted once, for the member whose limit holds, else for the oldest.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{LOCATION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::clock;
use crate::domain::{PageUrl, SessionKey, Time};
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::Refusal;
use crate::traffic::{Endpoint, MethodLabel, NoEndpoint, Pool, RateDecision};

/// The fields and the page that go beside an answer.
#[derive(Default)]
pub(crate) struct ResponseExtras {
    /// The method of the request, for statistics.
    pub(crate) method: MethodLabel,
    /// The rate limit that holds for the client.
    limit: Option<AppliedLimit>,
    /// The page to show in place of the built-in one, and the session that named it. Boxed because it is rare.
    pub(crate) page: Option<Box<(SessionKey, PageUrl)>>,
    /// The target of a redirect.
    pub(crate) location: Option<HeaderValue>,
    /// The endpoint whose response fields a refusal has too.
    pub(crate) refused_for: Option<Arc<Endpoint>>,
}

/// A rate limit that was applied to a request.
struct AppliedLimit {
    decision: RateDecision,
    policy: HeaderValue,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Admits a request that arrived at `arrived` to a pool. Maintenance is not counted here, because the page's server may answer.
///
/// # Errors
/// The refusal.
pub(crate) fn admit(
    worker: &WorkerContext,
    pool: &Pool,
    client: IpAddr,
    arrived: Instant,
    extras: &mut ResponseExtras,
) -> Result<(), Refusal> {
    if pool.in_maintenance() {
        return Err(Refusal::Maintenance);
    }
    let Some(limiter) = pool.limiter() else { return Ok(()) };
    let decision = limiter.check(client, clock::micros_at(arrived));
    extras.limit = Some(AppliedLimit { decision, policy: limiter.policy().clone() });
    if decision.allowed {
        return Ok(());
    }
    let refusal = Refusal::Limited { secs: decision.next_secs };
    pool.limiting_member().into_iter().for_each(|member| count_refusal(worker, member, extras.method, refusal));
    Err(refusal)
}

impl ResponseExtras {
    /// Creates the extras of a request with this method.
    pub(crate) fn new(method: &Method) -> Self {
        Self { method: MethodLabel::of(method), ..Self::default() }
    }

    /// Counts a request that no member took, and notes the page of a pool in maintenance. Returns the refusal.
    pub(crate) fn refuse(&mut self, worker: &WorkerContext, pool: &Pool, refusal: Refusal) -> Refusal {
        pool.members().first().into_iter().for_each(|oldest| count_refusal(worker, oldest, self.method, refusal));
        if refusal == Refusal::Maintenance {
            self.page = pool.maintenance_page().map(|(member, page)| Box::new((member.session, page)));
        }
        refusal
    }

    /// Adds the fields that say the rate limit (draft-ietf-httpapi-ratelimit-headers-10).
    ///
    /// A refusal for a known route also gets the fields that are set for the route: without its CORS fields a page cannot
    /// even read the refusal.
    ///
    /// `is_secure` is true if the client speaks TLS.
    pub(crate) fn apply(self, fields: &mut HeaderMap, is_secure: bool) {
        if let Some(location) = self.location {
            fields.insert(LOCATION, location);
        }
        let hsts = self.refused_for.as_ref().and_then(|endpoint| endpoint.options().hsts.as_ref());
        if let Some(hsts) = hsts.filter(|_| is_secure) {
            fields.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        for (name, value) in self.refused_for.iter().flat_map(|endpoint| &endpoint.settings.headers) {
            fields.entry(name).or_insert_with(|| value.clone());
        }
        let Some(limit) = self.limit else { return };
        fields.insert(RATE_LIMIT, limit.decision.rate_limit());
        fields.insert(RATE_LIMIT_POLICY, limit.policy);
    }
}

/// Counts a request that was refused for an endpoint.
pub(crate) fn count_refusal(worker: &WorkerContext, endpoint: &Endpoint, method: MethodLabel, refusal: Refusal) {
    endpoint.live.record_refusal(worker.id, method, refusal.status().as_u16());
}

/// Returns the refusal of a request that no member can take at `now`.
pub(crate) fn refusal(none: NoEndpoint, now: Time) -> Refusal {
    match none {
        NoEndpoint::Maintenance => Refusal::Maintenance,
        NoEndpoint::BreakerOpen { retry_at } => Refusal::BreakerOpen { secs: whole_secs(retry_at, now) },
        NoEndpoint::Unhealthy => Refusal::Unhealthy,
        NoEndpoint::Drained => Refusal::Drained,
        NoEndpoint::Tried => Refusal::BadGateway,
    }
}

/// Returns the seconds until then, rounded up and at least 1.
fn whole_secs(until: Time, now: Time) -> u32 {
    u32::try_from(until.since(now).millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}
