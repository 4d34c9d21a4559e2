//! The task that makes active health checks and tells endpoints and sessions their results.
//!
//! It is one task on the control runtime, so that checks cost the proxy's workers nothing. [`CheckSchedule`] decides which check is
//! due and for which routes; [`ProbeClient`] makes one probe; the health of an endpoint decides what a result means.
//! Invariant: a check that no route needs any more ends at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::probe::{ProbeClient, ProbeFailure, ProbeOutcome};
use crate::connect::{AddressResolver, BackendTls};
use crate::domain::{Event, RouteId, SessionKey, Time};
use crate::lifecycle::{self, Heartbeat};
use crate::reports::{Report, Reports};
use crate::traffic::{
    CheckId, CheckSchedule, CheckTarget, Endpoint, HealthState, HealthTransition, ProbeResult, ProbeSpec, RoutingTable,
};
use crate::{clock, random, sockets};

/// The health checks of the backends of all active routes.
#[derive(Debug)]
pub struct Checker {
    /// The routes.
    pub table: Arc<ArcSwap<RoutingTable>>,
    /// Notified after the table was replaced.
    pub changed: Arc<Notify>,
    /// The addresses that may be connected to.
    pub addresses: AddressResolver,
    /// The certificates that are trusted.
    pub tls: BackendTls,
    /// The way of events to sessions.
    pub reports: Reports,
    /// Shows that the checker still runs.
    pub heartbeat: Heartbeat,
}

/// The interval of heartbeats.
const BEAT: Duration = Duration::from_millis(500);
/// Number of reports after which the thread's other tasks run.
const REPORTS_AT_ONCE: usize = 256;
/// Number of routes of one check above which they are gathered while the thread's other tasks run.
const TARGETS_AT_ONCE: usize = 4_096;
/// Number of probes that begin before the thread's other tasks run.
const PROBES_AT_ONCE: usize = 16;
/// Number of changed endpoints after which the thread's other tasks run.
const CHANGES_AT_ONCE: usize = 256;
/// Most probes at once, where there are file descriptors for them.
const SLOTS_MAX: usize = 2048;
/// Number of file descriptors of which one is for a probe.
const FILES_PER_SLOT: u64 = 8;

/// Returns the number of probes that may run at once: each has a socket, and the proxy needs most of the descriptors.
fn slots() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / FILES_PER_SLOT).map_or(SLOTS_MAX, |slots| slots.clamp(PROBES_AT_ONCE, SLOTS_MAX))
}

impl Checker {
    /// Makes checks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut state = CheckerState::new(self);
        state.update().await;
        let mut beat = tokio::time::interval(BEAT);
        loop {
            state.begin_due().await;
            let due = state.schedule.next_due();
            // In random order: a table that always changes must not keep checks from ending.
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => state.checker.heartbeat.beat(clock::now().0),
                () = state.checker.changed.notified() => state.update().await,
                ended = state.pending.ended() => {
                    for (id, outcome) in ended {
                        state.end(id, &outcome).await;
                    }
                }
                () = clock::until(due) => {}
            }
        }
    }

    /// Records the outcome of a probe at all its targets.
    async fn record(&self, spec: &ProbeSpec, targets: &[CheckTarget], outcome: &ProbeOutcome, now: Time) {
        let result = match outcome {
            Ok(()) => ProbeResult::Passed,
            Err(ProbeFailure::Backend(reason)) => ProbeResult::Failed(reason),
            Err(ProbeFailure::NoRoom) => return sockets::warn_used_up(),
        };
        let mut changed = 0;
        for some in targets.chunks(REPORTS_AT_ONCE) {
            let before = changed;
            changed += self.record_some(some, result, now);
            if changed > before || targets.len() > REPORTS_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
        if changed > 0 {
            // One line for all routes: hundreds of thousands may have this backend.
            let healthy = result == ProbeResult::Passed;
            let reason = if let ProbeResult::Failed(reason) = result { reason } else { "" };
            tracing::info!(backend = %spec.backend, routes = changed, healthy, reason, "a backend's health changed");
        }
    }

    /// Records a result at some targets. Returns the number of routes whose health changed.
    fn record_some(&self, targets: &[CheckTarget], result: ProbeResult<'_>, now: Time) -> usize {
        let (table, mut changed) = (self.table.load(), 0);
        for target in targets {
            let endpoint = table.endpoint(target.session, target.route);
            // Another apply may have replaced the backend in the meantime; the result is of no interest then.
            let Some(endpoint) = endpoint.filter(|now| Arc::ptr_eq(&now.live, &target.live)) else { continue };
            let health = &endpoint.live.health;
            let is_first_success = result == ProbeResult::Passed && health.state() == HealthState::Unchecked;
            if is_first_success && !table.has_established_sibling(endpoint, now) {
                health.assume_healthy(now);
            }
            if let Some(transition) = health.record(result, now) {
                self.report(endpoint, &transition);
                changed += 1;
            }
        }
        changed
    }

    fn report(&self, endpoint: &Arc<Endpoint>, transition: &HealthTransition) {
        let (route, healthy, reason) = (endpoint.id(), transition.healthy, transition.reason.to_string());
        let event = Event::BackendHealthChanged { route, healthy, reason };
        self.reports.push(Report::seen(endpoint, event));
    }
}

/// The state of a running checker.
struct CheckerState {
    checker: Checker,
    /// The endpoints of the table when it was last read.
    endpoints: OrdMap<(SessionKey, RouteId), Arc<Endpoint>>,
    schedule: CheckSchedule,
    pending: PendingProbes,
    client: ProbeClient,
    jitter: Jitter,
}

impl CheckerState {
    fn new(checker: Checker) -> Self {
        let client = ProbeClient::new(&checker.addresses, &checker.tls);
        Self {
            checker,
            endpoints: OrdMap::new(),
            schedule: CheckSchedule::new(slots()),
            pending: PendingProbes::default(),
            client,
            jitter: Jitter(random::seed() | 1),
        }
    }

    /// Takes over what has changed in the table since the last time.
    async fn update(&mut self) {
        let new = self.checker.table.load().endpoints().clone();
        let old = std::mem::replace(&mut self.endpoints, new.clone());
        let mut cancelled = HashSet::new();
        for (change, count) in old.diff(&new).zip(1..) {
            let (old, new) = match change {
                DiffItem::Add(_, new) => (None, Some(&**new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(&**old), Some(&**new)),
                DiffItem::Remove(_, old) => (Some(&**old), None),
            };
            cancelled.extend(self.schedule.update(old, new, clock::now()));
            yield_sometimes(CHANGES_AT_ONCE, count).await;
        }
        cancelled.into_iter().for_each(|id| self.pending.cancel(id));
    }

    /// Begins the probes that are due.
    async fn begin_due(&mut self) {
        while self.schedule.line_up_due(clock::now()) {
            tokio::task::yield_now().await;
        }
        for count in 1.. {
            let now = clock::instant();
            let Some((id, spec)) = self.schedule.begin(clock::at(now)) else { return };
            let end = now + spec.timeout.std();
            if let Some(session) = self.schedule.session_of(id) {
                self.pending.begin(id, self.client.clone().run(spec, session, end));
            }
            yield_sometimes(PROBES_AT_ONCE, count).await;
        }
    }

    /// Ends a check with the outcome of its probe.
    async fn end(&mut self, id: CheckId, outcome: &ProbeOutcome) {
        let (now, random) = (clock::now(), self.jitter.next());
        let many = self.schedule.targets(id) > TARGETS_AT_ONCE;
        let ended = run_blocking_if(many, || self.schedule.end(id, now, random));
        if let Some((spec, targets)) = ended {
            self.checker.record(&spec, &targets, outcome, now).await;
            run_blocking_if(many, || drop(targets));
        }
    }
}

/// Runs `work`; when it takes `long`, the thread's other tasks run on another thread meanwhile.
fn run_blocking_if<T>(long: bool, work: impl FnOnce() -> T) -> T {
    if long { lifecycle::run_blocking(work) } else { work() }
}

/// Lets the thread's other tasks run each time that `count` is a multiple of `every`.
async fn yield_sometimes(every: usize, count: usize) {
    if count.is_multiple_of(every) {
        tokio::task::yield_now().await;
    }
}

/// The probes that run.
#[derive(Default)]
struct PendingProbes {
    probes: FuturesUnordered<BoxFuture<'static, (CheckId, Result<ProbeOutcome, Aborted>)>>,
    handles: HashMap<CheckId, AbortHandle>,
}

impl PendingProbes {
    fn begin(&mut self, id: CheckId, probe: impl Future<Output = ProbeOutcome> + Send + 'static) {
        let (probe, handle) = abortable(probe);
        self.handles.insert(id, handle);
        self.probes.push(Box::pin(probe.map(move |ended| (id, ended))));
    }

    fn cancel(&mut self, id: CheckId) {
        self.handles.remove(&id).iter().for_each(AbortHandle::abort);
    }

    /// Waits until a probe has ended and returns all that have. Never returns when no probe runs.
    async fn ended(&mut self) -> Vec<(CheckId, ProbeOutcome)> {
        let mut ended = Vec::new();
        while ended.is_empty() {
            let Some(first) = self.probes.next().await else { return std::future::pending().await };
            ended.extend(self.remove(first));
            while let Some(Some(more)) = self.probes.next().now_or_never() {
                ended.extend(self.remove(more));
            }
        }
        ended
    }

    /// Returns the outcome of a probe that has ended, unless it was cancelled.
    fn remove(&mut self, (id, ended): (CheckId, Result<ProbeOutcome, Aborted>)) -> Option<(CheckId, ProbeOutcome)> {
        let outcome = ended.ok()?;
        self.handles.remove(&id);
        Some((id, outcome))
    }
}

/// A sequence of numbers that spreads checks over time: xorshift, seeded once.
struct Jitter(u64);

impl Jitter {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
