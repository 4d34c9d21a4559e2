//! Active health checks: asks backends whether they are well, and tells endpoints and sessions what came of it.
//!
//! One task on the control runtime, so that checks cost the workers nothing. Which check is due, and whom its outcome concerns,
//! [`CheckSchedule`] decides; how one is made, `ask`; what failures and successes make of an endpoint, its health. What must hold: one
//! that is for nobody any more ends at once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::fast_path::{Knock, MOMENT, Sockets};
use super::probe::{Asking, Found, Ill, Outcome, ask, hear_out, knock, look};
use crate::connect::{AddressResolver, BackendTls, DnsCache};
use crate::domain::{Event, RouteId, SessionKey, Time};
use crate::lifecycle::{self, Heartbeat};
use crate::reports::{Report, Reports};
use crate::traffic::{
    CheckId, CheckSchedule, CheckTarget, Endpoint, HealthState, HealthTransition, ProbeResult, ProbeSpec, RoutingTable,
};
use crate::{clock, random, sockets};

/// Checks the backends of all active routes.
#[derive(Debug)]
pub struct Checker {
    /// Which routes there are.
    pub table: Arc<ArcSwap<RoutingTable>>,
    /// Notified after the table was replaced.
    pub changed: Arc<Notify>,
    /// What may be connected to.
    pub addresses: AddressResolver,
    /// Whose certificates are trusted.
    pub tls: BackendTls,
    /// Where sessions learn of it.
    pub reports: Reports,
    /// Shows that it still runs.
    pub heartbeat: Heartbeat,
}

/// The interval at which it shows that it still runs.
const BEAT: Duration = Duration::from_millis(500);
/// After so many reports their reader gets a turn.
const REPORTS_AT_ONCE: usize = 256;
/// More routes than this, with one check for all, are gathered beside the thread's other tasks.
const SUBJECTS_AT_ONCE: usize = 4_096;
/// After so many knocks the thread's other tasks get a turn.
const KNOCKS_AT_ONCE: usize = 16;
/// After so many changed endpoints the thread's other tasks get a turn.
const CHANGES_AT_ONCE: usize = 256;
/// Checks under way at once, where there are files for them.
const SLOTS_MAX: usize = 2048;
/// One file in so many is for a check.
const FILES_PER_SLOT: u64 = 8;

/// How many checks may be under way at once: each has a socket, and the proxy needs most of these.
fn slots() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / FILES_PER_SLOT).map_or(SLOTS_MAX, |slots| slots.clamp(KNOCKS_AT_ONCE, SLOTS_MAX))
}

impl Checker {
    /// Checks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut round = Round::new(self);
        round.follow().await;
        let mut beat = tokio::time::interval(BEAT);
        loop {
            round.begin().await;
            let (due, moment) = (round.checks.next_due(), round.knocks.front().map(|visit| visit.look_at));
            // In no order: a table that always changes must not keep checks from ending.
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => round.checker.heartbeat.beat(clock::now().0),
                () = round.checker.changed.notified() => round.follow().await,
                ended = round.under_way.ended() => {
                    for (id, outcome) in ended {
                        round.end(id, &outcome).await;
                    }
                }
                () = at(moment) => round.look().await,
                () = clock::until(due) => {}
            }
        }
    }

    async fn tell(&self, inquiry: &ProbeSpec, subjects: &[CheckTarget], outcome: &Outcome, now: Time) {
        let finding = match outcome {
            Ok(()) => ProbeResult::Passed,
            Err(Ill::Backend(reason)) => ProbeResult::Failed(reason),
            Err(Ill::NoRoom) => return sockets::warn_used_up(),
        };
        let mut turned = 0;
        for some in subjects.chunks(REPORTS_AT_ONCE) {
            let so_far = turned;
            turned += self.tell_some(some, finding, now);
            if turned > so_far || subjects.len() > REPORTS_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
        if turned > 0 {
            // One line for all of them: hundreds of thousands of routes may have this backend.
            let healthy = finding == ProbeResult::Passed;
            let reason = if let ProbeResult::Failed(reason) = finding { reason } else { "" };
            tracing::info!(backend = %inquiry.backend, routes = turned, healthy, reason, "a backend's health changed");
        }
    }

    /// Gives the number of routes whose health changed.
    fn tell_some(&self, subjects: &[CheckTarget], finding: ProbeResult<'_>, now: Time) -> usize {
        let (table, mut turned) = (self.table.load(), 0);
        for subject in subjects {
            let endpoint = table.endpoint(subject.session, subject.route);
            // Another apply may have come meanwhile: then nobody asks about this backend any more.
            let Some(endpoint) = endpoint.filter(|now| Arc::ptr_eq(&now.live, &subject.live)) else { continue };
            let health = &endpoint.live.health;
            let is_first_success = finding == ProbeResult::Passed && health.state() == HealthState::Unchecked;
            if is_first_success && !table.has_established_sibling(endpoint, now) {
                health.assume_healthy(now);
            }
            if let Some(turn) = health.record(finding, now) {
                self.report(endpoint, &turn);
                turned += 1;
            }
        }
        turned
    }

    fn report(&self, endpoint: &Arc<Endpoint>, turn: &HealthTransition) {
        let (route, healthy, reason) = (endpoint.id(), turn.healthy, turn.reason.to_string());
        let event = Event::BackendHealthChanged { route, healthy, reason };
        self.reports.tell(Report::seen(endpoint, event));
    }
}

/// All that a checker has in hand.
struct Round {
    checker: Checker,
    /// The table's, as last followed.
    endpoints: OrdMap<(SessionKey, RouteId), Arc<Endpoint>>,
    checks: CheckSchedule,
    /// In the order in which they are to be looked at.
    knocks: VecDeque<Visit>,
    sockets: Sockets,
    under_way: UnderWay,
    asking: Asking,
    dice: Dice,
}

/// A check that was begun by knocking.
struct Visit {
    id: CheckId,
    inquiry: Arc<ProbeSpec>,
    knock: Knock,
    look_at: Instant,
    end: Instant,
}

impl Round {
    fn new(checker: Checker) -> Self {
        let (addresses, tls) = (checker.addresses.clone(), checker.tls.without_resumption());
        let asking = Asking { addresses, tls, names: DnsCache::default() };
        Self {
            checker,
            endpoints: OrdMap::new(),
            checks: CheckSchedule::new(slots()),
            knocks: VecDeque::new(),
            sockets: Sockets::default(),
            under_way: UnderWay::default(),
            asking,
            dice: Dice(random::seed() | 1),
        }
    }

    /// Takes in what has changed in the table since the last time.
    async fn follow(&mut self) {
        let new = self.checker.table.load().endpoints().clone();
        let old = std::mem::replace(&mut self.endpoints, new.clone());
        let mut gone = HashSet::new();
        for (change, followed) in old.diff(&new).zip(1..) {
            let (old, new) = match change {
                DiffItem::Add(_, new) => (None, Some(&**new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(&**old), Some(&**new)),
                DiffItem::Remove(_, old) => (Some(&**old), None),
            };
            gone.extend(self.checks.update(old, new, clock::now()));
            yield_after(CHANGES_AT_ONCE, followed).await;
        }
        if !gone.is_empty() {
            gone.iter().for_each(|gone| self.under_way.abandon(*gone));
            self.knocks.retain(|visit| !gone.contains(&visit.id));
        }
    }

    /// Begins what is due.
    async fn begin(&mut self) {
        while self.checks.line_up_due(clock::now()) {
            tokio::task::yield_now().await;
        }
        for begun in 1.. {
            let now = clock::instant();
            let Some((id, inquiry)) = self.checks.begin(clock::at(now)) else { return };
            let end = now + inquiry.timeout.std();
            match knock(&inquiry, &self.asking, &mut self.sockets) {
                Some(knock) => self.knocks.push_back(Visit { id, inquiry, knock, look_at: now + MOMENT, end }),
                None => self.ask(id, inquiry, end),
            }
            yield_after(KNOCKS_AT_ONCE, begun).await;
        }
    }

    /// Looks where it was knocked a moment ago, or almost: who knocked together is looked at together.
    async fn look(&mut self) {
        let now = clock::instant();
        for looked in 1.. {
            let Some(visit) = self.knocks.pop_front_if(|visit| visit.look_at <= now + MOMENT / 2) else { return };
            let Visit { id, inquiry, knock, end, .. } = visit;
            match look(&inquiry, knock, &mut self.sockets) {
                Found::Outcome(outcome) => self.end(id, &outcome).await,
                Found::Sent(knock) => {
                    self.knocks.push_back(Visit { id, inquiry, knock, look_at: now + MOMENT, end });
                }
                Found::Part(knock, read) => self.under_way.begin(id, hear_out(inquiry, knock, read, end)),
                Found::Nobody => self.ask(id, inquiry, end),
            }
            yield_after(KNOCKS_AT_ONCE, looked).await;
        }
    }

    /// Makes a check from the connection on, unless it is for nobody any more.
    fn ask(&mut self, id: CheckId, inquiry: Arc<ProbeSpec>, end: Instant) {
        if let Some(asker) = self.checks.session_of(id) {
            self.under_way.begin(id, ask(inquiry, asker, self.asking.clone(), end));
        }
    }

    async fn end(&mut self, id: CheckId, outcome: &Outcome) {
        let (now, chance) = (clock::now(), self.dice.roll());
        // To gather very many, and to let them go, takes as long as the pings of others may.
        let many = self.checks.targets(id) > SUBJECTS_AT_ONCE;
        let ended = in_time(many, || self.checks.end(id, now, chance));
        if let Some((inquiry, subjects)) = ended {
            self.checker.tell(&inquiry, &subjects, outcome, now).await;
            in_time(many, || drop(subjects));
        }
    }
}

/// Does what takes long for `many` beside the thread's other tasks.
fn in_time<T>(many: bool, work: impl FnOnce() -> T) -> T {
    if many { lifecycle::at_length(work) } else { work() }
}

/// Lets the thread's other tasks have a turn after every so many.
async fn yield_after(so_many: usize, done: usize) {
    if done.is_multiple_of(so_many) {
        tokio::task::yield_now().await;
    }
}

/// The checks that take longer than a moment.
#[derive(Default)]
struct UnderWay {
    checks: FuturesUnordered<BoxFuture<'static, (CheckId, Result<Outcome, Aborted>)>>,
    handles: HashMap<CheckId, AbortHandle>,
}

impl UnderWay {
    fn begin(&mut self, id: CheckId, check: impl Future<Output = Outcome> + Send + 'static) {
        let (check, handle) = abortable(check);
        self.handles.insert(id, handle);
        self.checks.push(Box::pin(check.map(move |ended| (id, ended))));
    }

    fn abandon(&mut self, id: CheckId) {
        self.handles.remove(&id).iter().for_each(AbortHandle::abort);
    }

    /// Waits for one to end and takes what else has. Never ends when none is under way.
    async fn ended(&mut self) -> Vec<(CheckId, Outcome)> {
        let mut ended = Vec::new();
        while ended.is_empty() {
            let Some(first) = self.checks.next().await else { return std::future::pending().await };
            ended.extend(self.outcome(first));
            while let Some(Some(more)) = self.checks.next().now_or_never() {
                ended.extend(self.outcome(more));
            }
        }
        ended
    }

    fn outcome(&mut self, (id, ended): (CheckId, Result<Outcome, Aborted>)) -> Option<(CheckId, Outcome)> {
        let outcome = ended.ok()?;
        self.handles.remove(&id);
        Some((id, outcome))
    }
}

/// Xorshift, seeded once: it only spreads checks.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
