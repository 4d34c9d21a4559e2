//! Active health checks: asks backends whether they are well, and tells endpoints and sessions what came of it.
//!
//! One task on the control runtime, so that checks cost the workers nothing. Which check is due, and whom its outcome concerns,
//! [`Checks`] decides; how one is made, [`ask`]; what failures and successes make of an endpoint, its health. What must hold: one
//! that is for nobody any more ends at once.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::{AbortHandle, Aborted, BoxFuture, abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ask::{Asking, Outcome, ask};
use super::report::{Report, Reports};
use super::tls::Tls;
use super::visit::Pauses;
use crate::domain::{Event, Time};
use crate::traffic::{CheckId, Checks, Endpoint, Finding, Table, Turn};
use crate::{chance, clock};

/// Checks the backends of all active routes.
#[derive(Debug)]
pub struct Checker {
    /// Which routes there are.
    pub table: Arc<ArcSwap<Table>>,
    /// Notified after the table was replaced.
    pub changed: Arc<Notify>,
    /// Networks that nothing may be connected to in.
    pub deny: Arc<[IpNet]>,
    /// Whose certificates are trusted.
    pub tls: Tls,
    /// Where sessions learn of it.
    pub reports: Reports,
}

/// After so many reports their reader gets a turn.
const REPORTS_AT_ONCE: usize = 256;

impl Checker {
    /// Checks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut checks = Checks::default();
        let mut under_way = UnderWay::default();
        let mut dice = Dice(chance::seed() | 1);
        let (deny, tls) = (Arc::clone(&self.deny), self.tls.without_resumption());
        let asking = Asking { deny, tls, pauses: Pauses::default() };
        self.follow(&mut checks, &mut under_way);
        loop {
            while let Some((id, inquiry)) = checks.begin(clock::now()) {
                under_way.begin(id, ask(inquiry, asking.clone()));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.changed.notified() => self.follow(&mut checks, &mut under_way),
                ended = under_way.ended() => {
                    for (id, outcome) in ended {
                        let now = clock::now();
                        self.tell(&checks.end(id, now, dice.roll()), &outcome, now).await;
                    }
                }
                () = until(checks.next_due()) => {}
            }
        }
    }

    fn follow(&self, checks: &mut Checks, under_way: &mut UnderWay) {
        checks.follow(&self.table.load(), clock::now()).into_iter().for_each(|gone| under_way.abandon(gone));
    }

    async fn tell(&self, endpoints: &[Arc<Endpoint>], outcome: &Outcome, now: Time) {
        let finding = match outcome {
            Ok(()) => Finding::Well,
            Err(reason) => Finding::Ill(reason),
        };
        for some in endpoints.chunks(REPORTS_AT_ONCE) {
            let mut told = false;
            for endpoint in some {
                let Some(turn) = endpoint.live.health.observe(finding, now) else { continue };
                self.report(endpoint, &turn);
                told = true;
            }
            if told {
                tokio::task::yield_now().await;
            }
        }
    }

    fn report(&self, endpoint: &Endpoint, turn: &Turn) {
        let (route, healthy, reason) = (endpoint.id(), turn.healthy, &*turn.reason);
        tracing::info!(%route, backend = %endpoint.backend(), healthy, reason, "a backend's health changed");
        let event = Event::BackendHealthChanged { route, healthy, reason: reason.to_owned() };
        self.reports.tell(Report { session: endpoint.session, route, event });
    }
}

/// The checks that have begun.
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

async fn until(due: Option<Time>) {
    match due {
        Some(due) => tokio::time::sleep(due.since(clock::now()).std()).await,
        None => std::future::pending().await,
    }
}
