//! What a pool asks of every request before one of its members is chosen: maintenance, then the rate limit.
//!
//! What it is not: the choice, which is `traffic`'s. What must hold: a pool without either costs a look; whoever is refused is
//! counted once, for the member whose limit it is, else for the oldest.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock;
use crate::domain::{PageUrl, SessionKey, Time};
use crate::proxy::listener::worker::Worker;
use crate::proxy::response::pages::Refusal;
use crate::traffic::{Endpoint, NoEndpoint, Pool, RateDecision};

/// What is said beside an answer or a refusal.
#[derive(Default)]
pub(crate) struct Aside {
    /// The limit that holds for the client, if any does.
    limited: Option<Limited>,
    /// What to show instead of the built-in page, and whose page it is.
    pub(crate) page: Option<(SessionKey, PageUrl)>,
    /// Whose response fields a refusal has too.
    pub(crate) refused_for: Option<Arc<Endpoint>>,
}

/// What a client is told of the limit that holds for it.
struct Limited {
    verdict: RateDecision,
    policy: HeaderValue,
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Lets a request that came at `came` in, or says why not. That a pool is in maintenance is not counted here: somebody may answer for it.
pub(crate) fn admit(
    worker: &Worker,
    pool: &Pool,
    client: IpAddr,
    came: Instant,
    aside: &mut Aside,
) -> Result<(), Refusal> {
    if pool.in_maintenance() {
        return Err(Refusal::Maintenance);
    }
    let Some(limiter) = pool.limiter() else { return Ok(()) };
    let verdict = limiter.check(client, clock::micros_at(came));
    aside.limited = Some(Limited { verdict, policy: limiter.policy().clone() });
    if verdict.allowed {
        return Ok(());
    }
    let refusal = Refusal::Limited { secs: verdict.next_secs };
    pool.limiting_member().into_iter().for_each(|member| count(worker, member, refusal));
    Err(refusal)
}

impl Aside {
    /// Counts a request that no member took, and takes down the page of a pool that refuses for its maintenance.
    pub(crate) fn refusing(&mut self, worker: &Worker, pool: &Pool, refusal: Refusal) -> Refusal {
        pool.members().first().into_iter().for_each(|oldest| count(worker, oldest, refusal));
        if refusal == Refusal::Maintenance {
            self.page = pool.maintenance_page().map(|(member, page)| (member.session, page));
        }
        refusal
    }

    /// Says what limit holds in a response's fields (draft-ietf-httpapi-ratelimit-headers-10).
    ///
    /// A refusal for a known route also has the fields that are set for the route, beside its own: without those for CORS a page
    /// cannot even read that it was refused.
    pub(crate) fn tell(self, fields: &mut HeaderMap) {
        for (name, value) in self.refused_for.iter().flat_map(|endpoint| &endpoint.settings.headers) {
            fields.entry(name).or_insert_with(|| value.clone());
        }
        let Some(limited) = self.limited else { return };
        fields.insert(RATE_LIMIT, limited.verdict.rate_limit());
        fields.insert(RATE_LIMIT_POLICY, limited.policy);
    }
}

/// Counts a request that was refused for an endpoint and sent to none.
pub(crate) fn count(worker: &Worker, endpoint: &Endpoint, refusal: Refusal) {
    endpoint.live.record_refusal(worker.id, refusal.status().as_u16());
}

/// The refusal of a request that no member can take at `now`.
pub(crate) fn refusal(nobody: NoEndpoint, now: Time) -> Refusal {
    match nobody {
        NoEndpoint::Maintenance => Refusal::Maintenance,
        NoEndpoint::BreakerOpen { retry_at } => Refusal::BreakerOpen { secs: whole_secs(retry_at, now) },
        NoEndpoint::Unhealthy => Refusal::Unhealthy,
        NoEndpoint::Drained => Refusal::Drained,
        NoEndpoint::Tried => Refusal::BadGateway,
    }
}

/// Rounded up, and at least 1.
fn whole_secs(until: Time, now: Time) -> u32 {
    u32::try_from(until.since(now).millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}
