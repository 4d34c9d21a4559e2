//! Taps: bounded views of requests as they end.
//!
//! Workers put requests into the queue of a tap, and its reader looks into it now and then; so no worker wakes anybody. Invariants: a
//! reader that is slow or away costs each request one comparison; what it did not get is counted.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::locks::lock;
use crate::domain::{Error, InstanceName, Kind, RouteId, ServiceName, Time};
use crate::json::requests::RequestView;

/// The most taps at once.
pub const TAPS_MAX: usize = 16;
/// The most requests that wait in one tap.
const WAITING_MAX: usize = 512;
/// The milliseconds over which the rate of a tap is counted.
const RATE_MILLIS: u64 = 1000;
/// The time after which a reader looks into its tap again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The requests that a reader wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFilter {
    /// Only those for a route of this service.
    pub service: Option<ServiceName>,
    /// Only those for a route of this instance.
    pub instance: Option<(ServiceName, InstanceName)>,
    /// Only those for the route with this id.
    pub route: Option<RouteId>,
    /// Only those for this host, without its port.
    pub host: Option<String>,
    /// Only those whose path begins with this text.
    pub path: Option<String>,
    /// Only those with at least this status.
    pub status_min: u16,
}

/// The limits of a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapLimits {
    /// The share of the requests to show, in percent.
    pub percent: u8,
    /// The most requests in a second, of all workers together.
    pub per_second_max: u32,
}

/// Too many taps are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{TAPS_MAX} taps are open, which is the most at once; close one")]
pub struct TapsFull;

impl From<TapsFull> for Error {
    fn from(full: TapsFull) -> Self {
        Self::new(Kind::Limited, full.to_string())
    }
}

/// The open taps.
#[derive(Debug, Default)]
pub(super) struct Taps {
    are_open: AtomicBool,
    all: ArcSwap<Vec<Arc<TapQueue>>>,
    // Held while taps are opened and closed.
    changing: Mutex<()>,
}

/// The queue of one tap.
#[derive(Debug)]
pub(super) struct TapQueue {
    filter: RequestFilter,
    limits: TapLimits,
    waiting: Mutex<WaitingRequests>,
}

#[derive(Debug, Default)]
struct WaitingRequests {
    requests: VecDeque<Arc<RequestView<'static>>>,
    skipped: u64,
    /// The second that is counted, and the requests in it.
    second: u64,
    in_second: u32,
}

/// An open tap. It closes when it is dropped.
#[derive(Debug)]
pub struct Tap {
    queue: Arc<TapQueue>,
    taps: Arc<Taps>,
}

impl Tap {
    /// Returns the requests that ended since the last call, the oldest first, and the number of those that were left out.
    pub fn take(&self) -> (Vec<Arc<RequestView<'static>>>, u64) {
        let mut waiting = lock(&self.queue.waiting);
        (waiting.requests.drain(..).collect(), std::mem::take(&mut waiting.skipped))
    }

    /// The same, but waits for something to return: for the time `silence` at most, and not once `stops` returns true.
    pub async fn next_within(
        &self,
        silence: Duration,
        stops: impl Fn() -> bool,
    ) -> (Vec<Arc<RequestView<'static>>>, u64) {
        let mut waited = Duration::ZERO;
        loop {
            let (requests, skipped) = self.take();
            if !requests.is_empty() || skipped > 0 || waited >= silence || stops() {
                return (requests, skipped);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.taps.change(|all| all.retain(|queue| !Arc::ptr_eq(queue, &self.queue)));
    }
}

impl Taps {
    pub(super) fn is_empty(&self) -> bool {
        !self.are_open.load(Ordering::Relaxed)
    }

    pub(super) fn open(taps: &Arc<Self>, filter: RequestFilter, limits: TapLimits) -> Result<Tap, TapsFull> {
        let queue = Arc::new(TapQueue { filter, limits, waiting: Mutex::default() });
        let is_added = taps.change(|all| {
            let has_room = all.len() < TAPS_MAX;
            all.extend(has_room.then(|| Arc::clone(&queue)));
            has_room
        });
        if is_added { Ok(Tap { queue, taps: Arc::clone(taps) }) } else { Err(TapsFull) }
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Vec<Arc<TapQueue>>) -> T) -> T {
        let _changing = lock(&self.changing);
        let mut all = Vec::clone(&self.all.load());
        let result = edit(&mut all);
        self.are_open.store(!all.is_empty(), Ordering::Relaxed);
        self.all.store(Arc::new(all));
        result
    }

    /// Returns the taps that take a request now.
    pub(super) fn takers(&self, request: &RequestView<'_>) -> Vec<Arc<TapQueue>> {
        if self.is_empty() {
            return Vec::new();
        }
        self.all.load().iter().filter(|tap| tap.wants(request)).cloned().collect()
    }
}

impl TapQueue {
    /// Returns true if the tap shows this request, which is counted then.
    fn wants(&self, request: &RequestView<'_>) -> bool {
        self.filter.wants(request) && self.is_sampled(&request.id) && self.has_room(ended(request))
    }

    /// Returns true if the request belongs to the share. It depends on the id alone, so that two taps show the same requests.
    fn is_sampled(&self, id: &str) -> bool {
        if self.limits.percent >= 100 {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish() % 100 < u64::from(self.limits.percent)
    }

    /// Returns true if one more request may be put in at `now`, which is counted.
    fn has_room(&self, now: Time) -> bool {
        let mut waiting = lock(&self.waiting);
        let second = now.0 / RATE_MILLIS;
        if waiting.second != second {
            (waiting.second, waiting.in_second) = (second, 0);
        }
        let has_room = waiting.requests.len() < WAITING_MAX && waiting.in_second < self.limits.per_second_max;
        waiting.in_second += u32::from(has_room);
        waiting.skipped += u64::from(!has_room);
        has_room
    }

    pub(super) fn push(&self, request: &Arc<RequestView<'static>>) {
        lock(&self.waiting).requests.push_back(Arc::clone(request));
    }
}

impl RequestFilter {
    /// Returns true if the reader wants this request.
    pub fn wants(&self, request: &RequestView<'_>) -> bool {
        let is_of = |service: &ServiceName| request.service_name.as_deref() == Some(service.as_str());
        let is_by = |instance: &InstanceName| request.instance_name.as_deref() == Some(instance.as_str());
        request.status >= self.status_min
            && self.service.as_ref().is_none_or(is_of)
            && self.instance.as_ref().is_none_or(|(service, instance)| is_of(service) && is_by(instance))
            && self.route.is_none_or(|route| request.route_id == Some(route))
            && self.host.as_ref().is_none_or(|host| without_port(&request.host).eq_ignore_ascii_case(host))
            && self.path.as_ref().is_none_or(|path| request.path.starts_with(path.as_str()))
    }
}

/// Returns the time at which a request ended. Taps count by it: requests that begin at different times end in any order.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of milliseconds")]
fn ended(request: &RequestView<'_>) -> Time {
    Time(request.time.0.saturating_add(request.duration_ms as u64))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_log::query_mask::QueryMask;
    use crate::request_log::samples::bare;

    #[test]
    fn the_rate_of_a_tap_is_of_requests_as_they_end() {
        let taps = Arc::new(Taps::default());
        let limits = TapLimits { percent: 100, per_second_max: 1 };
        let tap = Taps::open(&taps, RequestFilter::default(), limits).unwrap();
        // All end in the same second; every other one has begun long before.
        let taken = (0..20_u64).filter(|number| {
            let began = 5000 - number % 2 * 4000;
            let request = RequestView {
                time: Time(began),
                duration_ms: if began == 5000 { 1.0 } else { 4001.0 },
                ..bare("").view(&QueryMask::default())
            };
            !taps.takers(&request).is_empty()
        });
        assert_eq!(taken.count(), 1);
        assert_eq!(tap.take().1, 19);
    }
}
